"""`lstm`, and `python -m lstmcli`, also under torchrun. Ctrl-C while modules are imported ends the process at
once: libraries do not expect it there.
"""

import os
import signal
import sys


def main() -> None:
    """The command `lstm`."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupted)
    from lstmcli.cli.app import main as run

    try:
        run()
    except KeyboardInterrupt:
        os.write(2, b"interrupted\n")
        sys.exit(130)
    finally:  # nothing is left to be saved while Python takes itself apart
        if signal.getsignal(signal.SIGINT) is _interrupted:
            signal.signal(signal.SIGINT, signal.SIG_DFL)


def _interrupted(number, frame):  # type: ignore[no-untyped-def]
    """Quietly out of an import; anywhere else as Python does it."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            os.write(2, b"interrupted\n")
            os._exit(130)
        frame = frame.f_back
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
