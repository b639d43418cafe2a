"""The names of TensorBoard's event files, which are the order in which it reads them."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

_NAME = re.compile(r"(events\.out\.tfevents\.)(\d{10,})(\..+)", re.ASCII)


def make_room(folder: Path, now: float | None = None) -> None:
    """Let a file that is begun now be the last one, however soon it follows and whatever the clock says.

    A name holds the second in which its file was begun, then host and process. Of two files of one second
    the process id would decide, and a clock that was set back would put the newer one first. So older files
    from this second on are renamed to earlier ones, in their order; their content is not touched.
    """
    limit = int(time.time() if now is None else now) - 1
    for match in filter(None, map(_NAME.fullmatch, sorted(os.listdir(folder), reverse=True))):
        if int(match[2]) <= limit:
            return
        os.rename(folder / match[0], folder / f"{match[1]}{limit:010d}{match[3]}")
        limit -= 1
