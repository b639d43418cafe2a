"""What every section of a config is: frozen, strict, and documented where its settings are defined."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Probability = Annotated[float, Field(ge=0.0, lt=1.0)]
PositiveInt = Annotated[int, Field(ge=1)]
PositiveFloat = Annotated[float, Field(gt=0.0)]


class Misfit(ValueError):
    """A rule between settings of several sections is broken; it carries the dotted name of the one at fault."""

    def __init__(self, setting: str, text: str):
        super().__init__(text)
        self.path = tuple(setting.split("."))


class Section(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        protected_namespaces=(),
    )
