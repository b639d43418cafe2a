"""A wrong program is refused before anything is made of it; and what one phase keeps for another is there."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from lstmcli.engine.kernels import source as cpp
from lstmcli.engine.kernels.trace import trace
from lstmcli.engine.kernels.values import Argument, Fault, Program, Value
from lstmcli.engine.kernels.verify import verify, verify_phases

FLOAT, H = torch.float32, 8
ARGUMENTS = (Argument(FLOAT, True, H, H), Argument(FLOAT, False, H, 0), Argument(FLOAT, True, H, H))
X, V = Value("argument", (0,), FLOAT, True, H), Value("argument", (1,), FLOAT, False, H)


def value(op, *of, dtype=FLOAT, rows=True, width=H):
    return Value(op, of, dtype, rows, width)


def test_a_program_that_is_right():
    total = value("sum", value("mul", X, V), width=1)
    verify(Program(ARGUMENTS, {2: value("add", X, total)}))


@pytest.mark.parametrize(
    ("why", "wrong"),
    [
        ("argument 7, which is not there", value("argument", 7)),
        ("not what argument 1 is", value("argument", 1)),
        ("is no number", value("constant", "two", rows=False, width=1)),
        ("the same in all rows", value("add", X, V, rows=False)),
        ("has 1 operands", value("add", X)),
        ("is made of widths", value("add", X, value("slice", X, 0, width=4))),
        ("is torch.bool", value("add", X, V, dtype=torch.bool)),
        ("is torch.float32", value("gt", X, V)),
        ("is torch.int64", value("neg", X, dtype=torch.int64)),
        ("chooses by what is no truth", value("where", X, X, V)),
        ("made of another type", value("cat", value("slice", X, 0, width=4, dtype=torch.bfloat16))),
        ("not as wide as its parts", value("cat", X, X)),
        ("lies outside of 8", value("slice", X, 4)),
        ("lies outside of 8", value("column", X, 8, width=1)),
        ("is gathered from 8", value("sum", X)),
        ("is as wide as 8", value("cumsum", X, width=4)),
        ("is made of width 8", value("convert", X, width=4)),
        ("is no operation", value("guess", X)),
    ],
)
def test_a_program_that_is_wrong(why, wrong):
    with pytest.raises(Fault, match=why):
        verify(Program(ARGUMENTS, {2: wrong}))


def test_what_is_written_fits_where_it_is_written():
    with pytest.raises(Fault, match="written into argument 2 is another shape"):
        verify(Program(ARGUMENTS, {2: value("slice", X, 0, width=4)}))
    with pytest.raises(Fault, match="written into argument 1 is another shape"):
        verify(Program(ARGUMENTS, {1: X}))


def phases_of(function, count=2):
    """The writer of a function of tensors (B, 8), with its phases."""
    writer = cpp._Writer(trace(function, [torch.zeros(2, H) for _ in range(count)]), frozenset())
    writer.text()
    return writer.phases


def test_one_phase():
    """What each column computes for itself is one loop, and nothing is kept."""
    (phase,) = phases_of(lambda x, y: y.copy_(x.sigmoid() * x))
    assert [line.expression for line in phase.lines] == ["a0[0 + h]", "(logistic(v2))", "(v1 * v2)"]
    assert not phase.reductions and not phase.rows and not any(line.kept for line in phase.lines)
    assert len(phase.ends) == 1 and phase.ends[0].startswith("a1[0 + h] = ")


def test_two_phases_cut_by_a_sum_over_the_units():
    """The sum is gathered by the loop of the first; what the second needs again of it was kept there."""
    first, second = phases_of(lambda x, y: y.copy_(x.exp() / x.exp().sum(-1, keepdim=True)))
    (gathered,) = first.reductions
    assert gathered[0].operator == "+" and first.ends == [f"{gathered[2]} += {first.lines[-1].name};"]
    assert not second.reductions and second.ends[0].startswith("a1[0 + h] = ")
    assert gathered[2] in second.lines[-1].expression


def test_what_is_kept_between_phases_is_what_is_dear_to_compute():
    """An exponential that both phases need is kept; the argument itself is read again."""

    def function(x, y):
        e = x.exp()
        y.copy_(e * x - e.sum(-1, keepdim=True))

    first, second = phases_of(function)
    (kept,) = [line for line in first.lines if line.kept]
    assert "exponential" in kept.expression
    read_again = [line.expression for line in second.lines]
    assert f"keep_{kept.name}[h]" in read_again and "a0[0 + h]" in read_again


def test_a_phase_that_reads_what_was_not_kept_is_a_fault():
    def function(x, y):
        e = x.exp()
        y.copy_(e - e.sum(-1, keepdim=True))

    first, second = phases_of(function)
    verify_phases([first, second])
    next(line for line in first.lines if line.kept).kept = False
    with pytest.raises(Fault, match="keep_v"):
        verify_phases([first, second])


def test_a_sum_that_no_phase_gathers_is_a_fault():
    first, second = phases_of(lambda x, y: y.copy_(x - x.sum(-1, keepdim=True)))
    first.reductions.clear()
    first.ends.clear()
    with pytest.raises(Fault, match="before it is there"):
        verify_phases([first, second])


def test_every_recorded_program_is_verified(monkeypatch):
    monkeypatch.setattr("lstmcli.engine.kernels.trace.verify", lambda program: verify(broken(program)))
    with pytest.raises(Fault, match=r"is torch\.int64"):
        trace(lambda x, y: y.copy_(x * 2), [torch.zeros(2, H), torch.zeros(2, H)])


def broken(program):
    return Program(
        program.arguments,
        {n: dataclasses.replace(v, dtype=torch.int64) for n, v in program.written.items()},
    )
