"""The config of a run: its settings (schema), how a file becomes one (load), what editors see.

Names are imported when they are first used, so that a command that needs no config does not pay
for pydantic.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

# Not lazy: module and function share a name, and the function must be what the package shows.
from lstmcli.config.json_schema import json_schema

if TYPE_CHECKING:
    from lstmcli.config.load import dump_config, load_config, parse_config
    from lstmcli.config.schema import Config

__all__ = ["Config", "dump_config", "json_schema", "load_config", "parse_config"]

_LAZY = {"Config": "schema", "dump_config": "load", "load_config": "load", "parse_config": "load"}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
