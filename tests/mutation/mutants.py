"""Do the tests notice when the code is wrong? `python tests/mutation/mutants.py --sample 150 --seed 1`

One thing in a module is changed (a comparison, an operator, a number, a condition, a return value, a call
left out), the tests of that module are run on a copy of the tree, and a change that they let pass is a
survivor. The tree itself is never touched. Prints the survivors and the share that was noticed.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import copy
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
SECONDS = 120  # of a run of tests; a change that makes them hang is noticed
MODULES: dict[str, tuple[str, ...]] = {
    "lstmcli/run/checkpoint/*.py": ("tests/run/test_directory.py", "tests/run/checkpoint"),
    "lstmcli/kinds/text/batches.py": (
        "tests/kinds/text/test_batches.py",
        "tests/kinds/text/test_batches_pinned.py",
    ),
    "lstmcli/run/telemetry/metrics.py": (
        "tests/run/telemetry/test_metrics_file.py",
        "tests/run/telemetry/test_logging.py",
    ),
    "lstmcli/kinds/series/metrics.py": (
        "tests/kinds/series/test_metrics.py",
        "tests/kinds/series/test_metrics_by_hand.py",
    ),
}
SWAPS: dict[type, type] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.Add: ast.Sub,
    ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult,
    ast.BitOr: ast.BitAnd, ast.BitAnd: ast.BitOr, ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip


class Mutant(NamedTuple):
    file: str  # below the root
    line: int
    what: str
    source: str
    tests: tuple[str, ...]


def mutants(root: Path) -> list[Mutant]:
    found = []
    for pattern, tests in MODULES.items():
        tests = tuple(test for test in tests if (root / test).exists())
        for path in sorted(root.glob(pattern)):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            for number, node in enumerate(_places(tree)):
                for change in range(_changes(node)):
                    changed = copy.deepcopy(tree)
                    twin = _places(changed)[number]
                    what = _apply(twin, change)
                    name = path.relative_to(root).as_posix()
                    found.append(Mutant(name, node.lineno, what, ast.unparse(changed), tests))
    return found


def _places(tree: ast.Module) -> list[ast.AST]:
    """The nodes that can be changed, in order; not annotations, texts, or settings of the module."""
    found: list[ast.AST] = []

    def walk(node: ast.AST) -> None:
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns", "decorator_list", "type_params"):
                continue
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST) and not isinstance(child, (ast.JoinedStr, ast.Raise)):
                    if _changes(child):
                        found.append(child)
                    walk(child)

    for statement in tree.body:
        if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
            walk(statement)
    return found


def _changes(node: ast.AST) -> int:
    """In how many ways a node is changed."""
    if isinstance(node, ast.Compare):
        return int(len(node.ops) == 1 and type(node.ops[0]) in SWAPS)
    if isinstance(node, (ast.BinOp, ast.BoolOp, ast.AugAssign)):
        return int(type(node.op) in SWAPS)
    if isinstance(node, ast.UnaryOp):
        return int(isinstance(node.op, (ast.Not, ast.USub)))
    if isinstance(node, ast.Constant):
        return int(isinstance(node.value, (bool, int, float)))
    if isinstance(node, ast.Return):
        return int(node.value is not None and not _is_none(node.value))
    return int(isinstance(node, ast.Expr) and isinstance(node.value, ast.Call))


def _is_none(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _apply(node: ast.AST, change: int) -> str:
    """Change a node in place; in words."""
    before = ast.unparse(node)
    if isinstance(node, ast.Compare):
        node.ops[0] = SWAPS[type(node.ops[0])]()
    elif isinstance(node, (ast.BinOp, ast.BoolOp, ast.AugAssign)):
        node.op = SWAPS[type(node.op)]()
    elif isinstance(node, ast.UnaryOp):
        node.op = ast.UAdd() if isinstance(node.op, ast.USub) else node.op
        if isinstance(node.op, ast.Not):
            node.operand = ast.UnaryOp(ast.Not(), node.operand)
    elif isinstance(node, ast.Constant):
        node.value = not node.value if isinstance(node.value, bool) else node.value + 1
    elif isinstance(node, (ast.Return, ast.Expr)):
        node.value = ast.Constant(None)
    return f"{before[:70]!r} -> {ast.unparse(node)[:70]!r}"


def noticed(mutant: Mutant, root: Path) -> bool:
    """Whether the tests fail on a tree in which this is changed."""
    path = root / mutant.file
    before = path.read_text(encoding="utf-8")
    try:
        path.write_text(mutant.source, encoding="utf-8")
        return _run(mutant.tests, root) != 0
    finally:
        path.write_text(before, encoding="utf-8")


def _run(tests: tuple[str, ...], root: Path) -> int:
    """The exit code of pytest in a fork of this process, which has imported what is slow to import."""
    pid = os.fork()
    if pid == 0:
        os.setsid()
        os.chdir(root)
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in range(3):
            os.dup2(nothing, descriptor)
        sys.path.insert(0, str(root))
        import pytest

        options = ["-x", "-q", "--import-mode=importlib", "-p", "no:cacheprovider", "--no-header"]
        code = 1
        with contextlib.suppress(BaseException):
            code = int(pytest.main([*options, *tests]))
        os._exit(code)
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return -1


@contextlib.contextmanager
def copied() -> Iterator[Path]:
    """A copy of the tree."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        root = Path(folder) / "tree"
        ignored = shutil.ignore_patterns("__pycache__", ".git", ".venv", "runs", ".*")
        for name in ("lstmcli", "tests", "configs", "docs"):
            shutil.copytree(ROOT / name, root / name, ignore=ignored)
        shutil.copy(ROOT / "pyproject.toml", root)
        yield root


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sample", type=int, default=150, help="0: all of them")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--least", type=float, default=0.85, help="share that must be noticed")
    parser.add_argument("--only", default="", help="modules whose path holds this")
    options = parser.parse_args()
    os.environ |= {"PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    import numpy  # noqa: F401
    import pydantic  # noqa: F401
    import safetensors.torch  # noqa: F401
    import torch  # noqa: F401

    with copied() as root:
        chosen = [one for one in mutants(root) if options.only in one.file]
        total = len(chosen)
        if options.sample:
            chosen = random.Random(options.seed).sample(chosen, min(options.sample, total))
        for tests in {one.tests for one in chosen}:
            if _run(tests, root) != 0:
                print(f"the tests fail as they are: {' '.join(tests)}")
                return 2
        kept = 0
        for number, one in enumerate(chosen, 1):
            if noticed(one, root):
                kept += 1
            else:
                print(f"survived: {one.file}:{one.line}: {one.what}", flush=True)
            if number % 25 == 0:
                print(f"{number} of {len(chosen)} tried, {kept} noticed", flush=True)
    share = kept / max(1, len(chosen))
    print(f"{kept} of {len(chosen)} changes noticed ({share:.1%}), of {total:,} that are possible")
    return int(share < options.least)


if __name__ == "__main__":
    sys.exit(main())
