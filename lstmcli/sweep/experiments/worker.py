"""A process that makes trials, one after the other: `python -m lstmcli.sweep.experiments.worker FOLDER`.

It reads the names of trials from standard input, a line each, and writes a trial's name to standard output
when that trial is over, however it ended. What a trial says goes to a log of its own. When standard input
is closed there is nothing more to do; a trial that is being made then is stopped, so that nothing outlives
the process which began it.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from pathlib import Path
from queue import SimpleQueue

from lstmcli.core.errors import LstmError
from lstmcli.core.terminal import make_console_expendable, sanitize
from lstmcli.sweep.experiments.conduct import log_of
from lstmcli.sweep.experiments.grid import Plan, load_plan, one_trial


def main(folder: Path) -> int:
    """The exit code: 0, or that of whoever asked it to stop."""
    make_console_expendable()  # a log that cannot be written costs no trial
    names: SimpleQueue[str | None] = SimpleQueue()
    busy = threading.Event()
    threading.Thread(target=_read, args=(names, busy), daemon=True).start()
    told = os.fdopen(os.dup(1), "w")
    plan = load_plan(folder)
    while (name := names.get()) is not None:
        busy.set()
        code = _make(folder, plan, name)
        busy.clear()
        if code >= 128:
            return code
        print(name, file=told, flush=True)
    return 0


def _read(names: SimpleQueue[str | None], busy: threading.Event) -> None:
    for line in sys.stdin:
        names.put(line.strip())
    names.put(None)
    if busy.is_set():
        os.kill(os.getpid(), signal.SIGTERM)


def _make(folder: Path, plan: Plan, name: str) -> int:
    """One trial; everything it says, and what went wrong, goes to its log."""
    from lstmcli.sweep.experiments.trial import run_trial

    log = os.open(log_of(folder, name), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    for descriptor in (1, 2):
        os.dup2(log, descriptor)
    os.close(log)
    try:
        run_trial(folder, plan, one_trial(plan, name))
    except LstmError as error:
        print(sanitize(f"error: {error}"), file=sys.stderr, flush=True)
        return error.exit_code
    except Exception:  # a bug in one trial (a user's cell, say) must not cost the others
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
