"""One trial of a search: `python -P -m lstmcli.sweep.tuning.trial FOLDER NAME` trains the config
FOLDER/configs/NAME.yaml as the run FOLDER/NAME. It ends when its standard input is closed, so that nothing
outlives the search."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

from lstmcli.config.load import load_config
from lstmcli.core.errors import LstmError
from lstmcli.core.terminal import make_console_expendable, sanitize
from lstmcli.run.execute import Job, execute


def run_trial(folder: Path, name: str) -> None:
    """Train the run of a trial to its end. LstmError: it came to nothing."""
    execute(Job(load_config(folder / "configs" / f"{name}.yaml"), name, name, folder))


def main(folder: str, name: str) -> int:
    """The exit code of a trial's process; what went wrong is said on standard error."""
    make_console_expendable()  # a log that cannot be written costs no trial
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        run_trial(Path(folder), name)
    except LstmError as error:
        print(f"error: {sanitize(str(error))}", file=sys.stderr, flush=True)
        return error.exit_code
    return 0


def _end_with_parent() -> None:
    """Standard input is a pipe that the parent holds open and writes nothing to: its end is the end."""
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
