"""The house by its imports: no circle among files, and no import from a lower floor to a higher one.

    python tests/test_architecture.py     prints every import that breaks a rule

What only a type checker reads (`if TYPE_CHECKING:`) loads nothing and is left out of both rules.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "lstmcli"
FLOORS = (
    "core",
    "config",
    "cells",
    "engine",
    "nn",
    "run",
    "kinds",
    "inspect",
    "sweep",
    "benchmark",
    "api",
    "cli",
)
"""Parts of the package, from the lowest to the highest; a part may import its own and lower ones."""

Imports = dict[str, set[str]]  # modules by name, without the package's


def modules(root: Path = ROOT) -> dict[str, Path]:
    """Every file of the package by its module's name; the package itself is the empty name."""
    found = {}
    for path in sorted((root / PACKAGE).rglob("*.py")):
        parts = path.relative_to(root / PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(files: dict[str, Path], checking: bool = False) -> Imports:
    """What each module imports of the package, at its top or inside a function.

    checking: also what stands under `if TYPE_CHECKING:`.
    """
    return {
        name: {
            target
            for node in _statements(ast.parse(path.read_text(encoding="utf-8")), checking)
            for target in _targets(node, name, path, files)
        }
        - {name}
        for name, path in files.items()
    }


def _statements(node: ast.AST, checking: bool) -> Iterator[ast.Import | ast.ImportFrom]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.Import, ast.ImportFrom)):
            yield child
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for statement in child.body if checking else child.orelse:
                yield from _statements(ast.Module([statement], []), checking)
        else:
            yield from _statements(child, checking)


def _targets(node: ast.Import | ast.ImportFrom, name: str, path: Path, files: dict[str, Path]) -> set[str]:
    if isinstance(node, ast.Import):
        wanted = [alias.name for alias in node.names]
    else:
        base = node.module or ""
        if node.level:  # relative to the package that the file lies in
            parts = [PACKAGE, *name.split(".")] if name else [PACKAGE]
            here = parts if path.stem == "__init__" else parts[:-1]
            base = ".".join([*here[: len(here) - node.level + 1], *([base] if base else [])])
        wanted = [f"{base}.{alias.name}" for alias in node.names]
    found = set()
    for full in wanted:
        if full != PACKAGE and not full.startswith(f"{PACKAGE}."):
            continue
        inside = full[len(PACKAGE) + 1 :]
        while inside not in files:  # a name that the module defines
            inside = inside.rpartition(".")[0]
        found.add(inside)
    return found


def circles(graph: Imports) -> list[list[str]]:
    """Groups of modules that reach each other (Tarjan's strongly connected components)."""
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        number[name] = low[name] = len(number)
        stack.append(name)
        for target in sorted(graph[name]):
            if target not in number:
                visit(target)
                low[name] = min(low[name], low[target])
            elif target in stack:
                low[name] = min(low[name], number[target])
        if low[name] == number[name]:
            group = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(group) > 1:
                found.append(sorted(group))

    for name in sorted(graph):
        if name not in number:
            visit(name)
    return found


def upward(graph: Imports, floors: tuple[str, ...] = FLOORS) -> list[str]:
    """Imports from a lower floor to a higher one, and modules whose part has no floor."""
    found = []
    for name, targets in sorted(graph.items()):
        for target in sorted(targets):
            here, there = name.partition(".")[0], target.partition(".")[0]
            if here in floors and there in floors and floors.index(here) < floors.index(there):
                found.append(f"{name} -> {target}")
    return found


def unplaced(graph: Imports, floors: tuple[str, ...] = FLOORS) -> list[str]:
    """Top-level parts that stand on no floor: a new folder must be given one."""
    return sorted({name.partition(".")[0] for name in graph} - {*floors, "", "__main__", "version"})


def test_no_circle_among_files():
    assert circles(imports(modules())) == []


def test_no_import_goes_up():
    assert upward(imports(modules())) == []


def test_every_part_stands_on_a_floor():
    assert unplaced(imports(modules())) == []


ASKS_FOR_A_KIND = re.compile(
    r"isinstance\([^\n]*\b(Text|Series|LabelledText|LabelledSeries|Synthetic)(Config|Source|Table|Data)\b"
    r"|isinstance\([^\n]*\b(Run|SeriesRun|ClassifierRun|SyntheticRun)\b"
    r"|\b(data\.kind|config\.kind|learned)\s*(==|!=|in\b|not in\b)"
)
OF_ONE_KIND = ("kinds", "benchmark")
"""Parts that are of a kind, or measure one."""


def test_nothing_outside_of_the_kinds_asks_which_kind_a_run_is_of():
    found = [
        f"{name}: {line.strip()}"
        for name, path in modules().items()
        if name.partition(".")[0] not in OF_ONE_KIND
        for line in path.read_text(encoding="utf-8").splitlines()
        if ASKS_FOR_A_KIND.search(line)
    ]
    assert found == [], "ask the kind (run/kind.py) instead"


def test_a_question_for_the_kind_is_found():
    asked = ["if isinstance(run, (Run, SeriesRun)):", 'config.data.kind == "text"', "learned in USES",
             "assert isinstance(config, TextConfig)"]  # fmt: skip
    assert all(ASKS_FOR_A_KIND.search(line) for line in asked)
    assert not ASKS_FOR_A_KIND.search("isinstance(config, (Config, Mapping)) and isinstance(hook, RunDir)")


@pytest.fixture
def small_house(tmp_path):
    def build(**files: str) -> dict[str, Path]:
        for name, text in files.items():
            path = tmp_path / PACKAGE / f"{name.replace('__', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            (path.parent / "__init__.py").touch()
            path.write_text(text)
        (tmp_path / PACKAGE / "__init__.py").touch()
        return modules(tmp_path)

    return build


def test_a_circle_through_a_function_is_found_and_one_for_types_is_not(small_house):
    files = small_house(
        core__a="def f():\n    from lstmcli.core.b import g\n",
        core__b="from . import a\ng = a\n",
        core__c="from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from lstmcli.core import d\n",
        core__d="import lstmcli.core.c\n",
    )
    assert circles(imports(files)) == [["core.a", "core.b"]]
    assert circles(imports(files, checking=True)) == [["core.a", "core.b"], ["core.c", "core.d"]]


def test_an_import_upwards_and_a_part_without_a_floor_are_found(small_house):
    files = small_house(core__a="import lstmcli.cli.verb\n", cli__verb="", attic__b="")
    assert upward(imports(files)) == ["core.a -> cli.verb"]
    assert unplaced(imports(files)) == ["attic"]


if __name__ == "__main__":
    found = imports(modules())
    for group in circles(found):
        sys.stdout.write(f"circle: {', '.join(group)}\n")
    for line in upward(found):
        sys.stdout.write(f"upward: {line}\n")
    for part in unplaced(found):
        sys.stdout.write(f"no floor: {part}\n")
