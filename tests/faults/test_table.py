"""docs/faults.md names, for every fault, tests that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")
NAMED = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")
FAULTS = 43


def rows():
    found = (re.match(r"\| (\d+) \| (.+) \| (.+) \| (.+) \|$", line) for line in PAGE.splitlines())
    return {int(row[1]): row for row in found if row}


def functions(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_fault_has_a_row_with_a_result_and_a_test():
    numbers = list(rows())
    assert numbers == sorted(numbers) and numbers[:FAULTS] == list(range(1, FAULTS + 1))
    for number, row in rows().items():
        assert NAMED.search(row[4]), f"row {number} names no test"


def test_every_test_that_the_page_names_exists():
    for file, name in NAMED.findall(PAGE):
        path = ROOT / file
        assert path.is_file(), file
        assert not name or name in functions(path), f"{file} has no {name}"
        assert not name or name.startswith("test_")


def test_nothing_else_is_in_the_column_of_tests():
    for number, row in rows().items():
        assert not NAMED.sub("", row[4]).strip(), f"row {number}: {row[4]}"
