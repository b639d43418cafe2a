"""The recipes that come with the tool, by name, and the files that they need.

In a clone they lie at the top level, `configs/` and `data/`; the build of a wheel copies both into the
package, as `lstmcli/shipped/`. A name means the same in both, from any folder.
"""

from __future__ import annotations

import difflib
import glob
import os
from pathlib import Path
from typing import Any

from lstmcli.core.errors import ConfigError

SUFFIXES = (".yaml", ".yml")
EXPERIMENTS = Path("configs/experiments")
_PACKAGE = Path(__file__).resolve().parents[1]
_NAMES_OF_FILES = (("data", "path"), ("data", "val_path"), ("data", "test_path"), ("model", "cell"))


def shipped() -> Path:
    """The folder that holds the shipped `configs/` and `data/`."""
    inside = _PACKAGE / "shipped"
    return inside if inside.is_dir() else _PACKAGE.parent


def recipe_names(folder: str = "configs") -> list[str]:
    """The shipped recipes, or experiments, by name."""
    return sorted(path.stem for path in (shipped() / folder).glob("*.yaml"))


def find_recipe(text: str | os.PathLike[str]) -> str:
    """The path of a config: of the file that `text` names, or else of the shipped recipe of that name.

    A folder does not hide a recipe: `data/` or `shakespeare/` often lies where one works. What is neither,
    but ends in .yaml, has a folder in it or cannot be a name, is returned as it is, since whoever opens it
    says best what is wrong. ConfigError: a name that no recipe has, or a shipped recipe's file where there is
    none.
    """
    text = os.fspath(text)
    path, names = Path(text), recipe_names()
    if os.path.exists(text) and not (os.path.isdir(text) and text in names):
        return text
    if text in names:
        return str(shipped() / "configs" / f"{text}.yaml")
    if path.suffix in SUFFIXES and path.stem in names:
        raise ConfigError(
            f"there is no file {text}", f"the recipe of this name is at hand without a path: {path.stem}"
        )
    if path.suffix or len(path.parts) != 1 or not text.isprintable():
        return text
    raise ConfigError(f"there is no file and no recipe {text!r}", suggestion(text))


def suggestion(name: str) -> str:
    """The recipes that were perhaps meant."""
    near = difflib.get_close_matches(name, recipe_names(), n=3)
    return f"did you mean {' or '.join(near)}?" if near else f"recipes: {', '.join(recipe_names())}"


def point_to_shipped(tree: Any, where: str | os.PathLike[str]) -> None:
    """Let a shipped recipe's sections name the files that came with it, whatever the current folder is.

    Only what lies beside the recipe is changed, and only where the current folder gives another file: a
    clone's own `data/co2.csv` stays as it is written. Users' configs, which lie elsewhere, keep their paths.
    """
    if not isinstance(tree, dict) or not _is_shipped(where):
        return
    for section, name in _NAMES_OF_FILES:
        inside = tree.get(section)
        if isinstance(inside, dict) and isinstance(inside.get(name), str):
            inside[name] = _in_place(inside[name])
        if isinstance(tree.get(f"{section}.{name}"), str):  # as an experiment's variant names it
            tree[f"{section}.{name}"] = _in_place(tree[f"{section}.{name}"])


def point_beside(tree: Any, where: str | os.PathLike[str]) -> None:
    """Let a config's relative paths mean files beside it; what is not there is looked for in the current
    folder, as `data.path=FILE` on the command line is."""
    folder = os.path.dirname(where)
    if not folder or not isinstance(tree, dict) or os.path.abspath(folder) == os.getcwd():
        return
    for section, name in _NAMES_OF_FILES:
        inside = found if isinstance(found := tree.get(section), dict) else {}
        given = inside.get(name)
        if isinstance(given, list):
            inside[name] = [_beside(each, folder) if isinstance(each, str) else each for each in given]
        elif isinstance(given, str):
            file, colon, rest = given.partition(":") if section == "model" else (given, "", "")
            inside[name] = f"{_beside(file, folder)}{colon}{rest}"


def _beside(value: str, folder: str) -> str:
    """A path or pattern beside the config, if it leads to something there."""
    found = os.path.join(folder, value)
    if os.path.isabs(value) or value.startswith("~") or not value:
        return value
    return found if os.path.lexists(found) or glob.glob(found, recursive=True) else value


def _is_shipped(where: str | os.PathLike[str]) -> bool:
    return Path(where).resolve().is_relative_to(shipped() / "configs")


def _in_place(value: str) -> str:
    """A path, or the FILE.py of FILE.py:Class, where it lies among the shipped files."""
    file, colon, inside = value.partition(":")
    beside = shipped() / file
    if not beside.is_file() or (os.path.exists(file) and os.path.samefile(file, beside)):
        return value
    return f"{beside}{colon}{inside}"
