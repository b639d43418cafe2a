"""TensorBoard: scalars, samples, hyper-parameters, and a page that is readable at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lstmcli.config.schema import Config
from lstmcli.pictures import figure_bytes


class TensorBoard:
    """One event file per start of a run; what lies past the step resumed from is purged."""

    def __init__(self, folder: Path, config: Config, cells: list[Any], step: int):
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(folder), purge_step=step + 1 if step else None)
        if step == 0:
            self._writer.add_custom_scalars(_layout(cells, config.data.kind))
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

    def close(self) -> None:
        self._writer.close()


LOSSES: dict[str, dict[str, Any]] = {
    "text": {
        "Nats per symbol": ["Multiline", ["train/loss", "val/loss"]],
        "Bits per symbol": ["Multiline", ["train/bpc", "val/bpc"]],
    },
    "series": {
        "Loss": ["Multiline", ["train/loss", "val/loss"]],
        "Errors of the point forecast, on the z-scored scale": [
            "Multiline",
            ["val/scaled_mse", "val/scaled_mae"],
        ],
        "Share of values inside the interval": ["Multiline", ["val/coverage"]],
    },
}


def _layout(cells: list[Any], kind: str) -> dict[str, Any]:
    """The Custom Scalars page: losses first, then how training goes, then each layer's gates."""
    unit = "tokens" if kind == "text" else "windows"
    page: dict[str, Any] = {
        "Loss": LOSSES[kind],
        "Training": {
            "Learning rate": ["Multiline", ["train/learning_rate"]],
            "Gradient norm before clipping": ["Multiline", ["train/gradient_norm"]],
            f"{'Symbols' if kind == 'text' else 'Windows'} per second": [
                "Multiline",
                [f"speed/{unit}_per_second"],
            ],
        },
    }
    for number, cell in enumerate(cells):
        gates = tuple(getattr(cell, "gates", ()))
        at = f"gates/layer{number}"
        charts: dict[str, Any] = {
            "Mean activation": ["Multiline", [f"{at}/{g}/mean" for g in gates]],
            "Share shut (below 0.1)": ["Multiline", [f"{at}/{g}/low" for g in gates]],
            "Share wide open (above 0.9)": ["Multiline", [f"{at}/{g}/high" for g in gates]],
        }
        if "forget" in gates:
            tags = [f"{at}/forget/timescale_{p}" for p in ("p50", "p10", "p90")]
            charts["Forget timescale in steps: median, p10 to p90"] = ["Margin", tags]
        if "cell" in cell.state:
            charts["Norm of the cell state"] = ["Multiline", [f"{at}/cell_state/norm"]]
        page[f"Layer {number}: gates"] = charts
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
