"""Mean gates by character and their intervals, against a loop that keeps every block."""

from __future__ import annotations

import math

import pytest
import torch

from lstmcli.inspect import coloured as characters
from lstmcli.inspect.coloured import FEWEST, NORMAL_95, CharacterMeans

G, B, V = 2, 3, 5


@pytest.fixture
def stream(monkeypatch):
    """Windows of unequal lengths whose blocks end at 8 steps or more; symbol 4 is missing, 3 rare."""
    monkeypatch.setattr(characters, "BLOCK", 8)
    torch.manual_seed(0)
    windows = []
    for steps in (5, 5, 8, 3, 4, 9, 8, 8, 8, 8, 2):
        ids = torch.multinomial(torch.tensor([0.5, 0.3, 0.19, 0.01, 0.0]), steps * B, True).view(steps, B)
        noise = torch.rand(G, steps, B, dtype=torch.float64)
        windows.append((ids, 0.2 * noise + torch.stack([0.1 * ids, 0.5 - 0.05 * ids])))
    return windows


def slow_blocks(windows):
    """Lists of (symbol, values of all gates), one per block: a row from one closing to the next."""
    blocks, filling, steps = [], [[] for _ in range(B)], 0
    for ids, values in windows:
        for t in range(len(ids)):
            for b in range(B):
                filling[b].append((int(ids[t, b]), values[:, t, b].tolist()))
        steps += len(ids)
        if steps >= 8:
            blocks += filling
            filling, steps = [[] for _ in range(B)], 0
    return blocks + [block for block in filling if block]


def slow_effect(blocks, gate, symbol):
    here = [v[gate] for block in blocks for s, v in block if s == symbol]
    there = [v[gate] for block in blocks for s, v in block if s != symbol]
    mean, other = sum(here) / len(here), sum(there) / len(there)
    errors = []
    for block in blocks:
        own = [v[gate] - mean for s, v in block if s == symbol]
        rest = [v[gate] - other for s, v in block if s != symbol]
        errors.append(sum(own) / len(here) - sum(rest) / len(there))
    variance = len(blocks) / (len(blocks) - 1) * sum(e * e for e in errors)
    return len(here), mean, mean - other, NORMAL_95 * math.sqrt(variance)


def test_means_and_intervals_equal_the_loop(stream):
    sums = CharacterMeans(G, V)
    for ids, values in stream:
        sums.add(ids, values)
    found, blocks = sums.effects(), slow_blocks(stream)
    assert sums.blocks == len(blocks)
    for gate in range(G):
        for symbol in range(3):
            count, mean, difference, half = slow_effect(blocks, gate, symbol)
            assert found.counts[symbol] == count
            assert float(found.mean[gate, symbol]) == pytest.approx(mean, rel=1e-12)
            assert float(found.difference[gate, symbol]) == pytest.approx(difference, rel=1e-10)
            assert float(found.half[gate, symbol]) == pytest.approx(half, rel=1e-8)


def test_a_symbol_that_is_rare_or_missing_has_no_interval(stream):
    sums = CharacterMeans(G, V)
    for ids, values in stream:
        sums.add(ids, values)
    found = sums.effects()
    assert 0 < found.counts[3] < FEWEST and found.half[0, 3].isnan() and not found.mean[0, 3].isnan()
    assert found.counts[4] == 0 and found.mean[0, 4].isnan() and found.half[0, 4].isnan()


def test_intervals_hold_what_they_promise_where_neighbours_are_alike(monkeypatch):
    """Values that drift slowly say nothing about a symbol drawn by chance: 95 % of the intervals of its
    effect hold 0. Intervals of single symbols as if independent do so too, for a symbol that comes in
    runs they do not: the blocks are what makes the difference."""
    monkeypatch.setattr(characters, "BLOCK", 64)
    draw = torch.Generator().manual_seed(5)
    held, naive = 0, 0
    for _ in range(100):
        noise = torch.randn(1920, 2, generator=draw, dtype=torch.float64)
        slow = torch.stack([_smooth(noise[:, 0]), _smooth(noise[:, 1])])
        ids, values = (slow[0] > 0).long(), slow[1]
        sums = CharacterMeans(1, 2)
        for part in range(0, 1920, 64):
            sums.add(ids[part : part + 64, None], values[None, part : part + 64, None])
        found = sums.effects()
        held += bool(found.difference[0, 0].abs() < found.half[0, 0])
        on, off = values[ids == 0], values[ids == 1]
        spread = NORMAL_95 * float((on.var() / len(on) + off.var() / len(off)).sqrt())
        naive += abs(float(on.mean() - off.mean())) < spread
    assert held >= 88 and naive < 70


def _smooth(noise):
    """A moving mean over 15 steps."""
    padded = torch.cat([noise[-14:], noise])
    return padded.unfold(0, 15, 1).mean(1) * math.sqrt(15)
