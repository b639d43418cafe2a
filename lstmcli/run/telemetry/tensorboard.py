"""TensorBoard: scalars, samples, hyper-parameters, and a page that is readable at once; and the names of its
event files, which are the order in which it reads them."""

from __future__ import annotations

import os
import re
import threading
import time
from functools import cache
from pathlib import Path
from typing import Any

from lstmcli.config.schema import Config
from lstmcli.core.files import sync_file
from lstmcli.core.pictures import figure_bytes
from lstmcli.run.kind import Kind, kind_of


class TensorBoard:
    """One event file per start of a run; of the earlier ones what is logged from `purge_step` on counts
    no longer."""

    def __init__(self, folder: Path, config: Config, cells: list[Any], purge_step: int | None = None):
        from torch.utils.tensorboard import SummaryWriter

        self._folder = folder
        make_room(folder)
        quiet_writers()
        # A new run's file begins a session, too: TensorBoard without its quick loader takes the first start
        # that it finds for the run's own, and would purge nothing at the first resume.
        self._writer: Any = SummaryWriter(str(folder), purge_step=purge_step or 0)
        if not purge_step:
            self._writer.add_custom_scalars(_layout(cells, kind_of(config)))
            _write_hyperparameters(self._writer, config)

    def scalars(self, step: int, values: dict[str, float]) -> None:
        for tag, value in values.items():
            self._writer.add_scalar(tag, value, step)

    def text(self, step: int, tag: str, text: str) -> None:
        # Four spaces make it code, so that every line break and space of the sample is shown.
        self._writer.add_text(tag, "\n".join("    " + line for line in text.split("\n")), step)

    def figure(self, step: int, tag: str, figure: Any) -> None:
        import io

        import numpy as np
        from PIL import Image

        picture = np.asarray(Image.open(io.BytesIO(figure_bytes(figure, "png", 100))).convert("RGB"))
        self._writer.add_image(tag, picture, step, dataformats="HWC")

    def flush(self) -> None:
        self._writer.flush()

    def sync(self) -> None:
        """What is logged outlives a power cut from here on. (The file of this start is the last by name.)"""
        self._writer.flush()
        sync_file(max(self._folder.glob("events.out.tfevents.*")))

    def close(self) -> None:
        self._writer.close()


@cache
def quiet_writers() -> None:
    """A writer's thread that dies of a full disk prints no traceback: the next call raises its error again,
    and that is told once."""
    before = threading.excepthook

    def hook(died: threading.ExceptHookArgs) -> None:
        writes = type(died.thread).__name__ == "_AsyncWriterThread"
        if not (writes and isinstance(died.exc_value, OSError)):
            before(died)

    threading.excepthook = hook


def _layout(cells: list[Any], kind: Kind[Any]) -> dict[str, Any]:
    """The Custom Scalars page: losses first, then how training goes, then each layer's gates."""
    read, unit = kind.counts
    page: dict[str, Any] = {
        "Loss": dict(kind.charts),
        "Training": {
            "Learning rate": ["Multiline", ["train/learning_rate"]],
            "Gradient norm before clipping": ["Multiline", ["train/gradient_norm"]],
            f"{read} per second": ["Multiline", [f"speed/{unit}_per_second"]],
        },
    }
    for number, cell in enumerate(cells):
        gates = tuple(getattr(cell, "gates", ()))
        at = f"gates/layer{number}"
        # Patterns: a free cell's gates are known when it runs.
        charts: dict[str, Any] = {
            "Mean activation": ["Multiline", [f"{at}/[^/]+/mean"]],
            "Share shut (below 0.1)": ["Multiline", [f"{at}/[^/]+/low"]],
            "Share wide open (above 0.9)": ["Multiline", [f"{at}/[^/]+/high"]],
            "Spread of activations that go below 0": ["Multiline", [f"{at}/[^/]+/std"]],
        }
        if "forget" in gates:
            tags = [f"{at}/forget/timescale_{p}" for p in ("p50", "p10", "p90")]
            charts["Forget timescale in steps: median, p10 to p90"] = ["Margin", tags]
        if "cell" in cell.state:
            charts["Norm of the cell state"] = ["Multiline", [f"{at}/cell_state/norm"]]
        charts["Steps after which the gradient has halved"] = [
            "Multiline", [f"gradients/layer{number}/half_life"]
        ]  # fmt: skip
        page[f"Layer {number}: gates and gradients"] = charts
    return page


def _write_hyperparameters(writer: Any, config: Config) -> None:
    """Into this event file: `add_hparams` would make a run of its own."""
    from torch.utils.tensorboard.summary import hparams

    flat = {
        f"{section}.{key}": value
        for section, values in config.model_dump().items()
        if isinstance(values, dict)
        for key, value in values.items()
        if isinstance(value, (bool, int, float, str))
    }
    for summary in hparams(flat | {"seed": config.seed}, {"val/loss": 0.0}):  # type: ignore[no-untyped-call]
        writer.file_writer.add_summary(summary)


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
