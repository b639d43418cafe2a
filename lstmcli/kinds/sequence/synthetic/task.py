"""What a synthetic task is: how sequences are drawn, what costs nothing, and when it counts as solved."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np

from lstmcli.kinds.sequence.batch import Ints, SequenceBatch

Generator: TypeAlias = np.random.Generator
Draw: TypeAlias = Callable[[Generator, int, int], SequenceBatch]
Scores: TypeAlias = Mapping[str, float]
Baselines: TypeAlias = dict[str, dict[str, float]]


class Facts(NamedTuple):
    """What else is known of each answer of a batch."""

    distance: Ints  # (N,) steps from the input that decides it to the one it stands for
    guess: Ints  # (N,) the class that a rule of thumb gives


@dataclass(frozen=True)
class SyntheticTask:
    """One task with its alphabet. `length` is always `data.length`, the difficulty.

    Answers are classes where the inputs are symbols, and numbers where they are numbers. `solved` reads
    the scores of an evaluation: for classes `loss` (nats per answer), `accuracy` (share of right answers)
    and `exact` (share of sequences with all answers right); for numbers `mse` and perhaps `free_mse`.
    """

    name: str
    outputs: int  # classes, or numbers of an answer
    draw: Draw
    """(generator, length, sequences) -> what is trained on"""
    steps: Callable[[int], int]
    """length -> steps of the longest sequence"""
    baselines: Callable[[int], Baselines]
    """length -> scores of guesses that cost nothing, by name"""
    solved: Callable[[Scores], bool]
    rule: str
    """when it counts as solved, in words"""
    symbols: int = 0  # alphabet of the inputs; 0: they are numbers
    inputs: int = 0  # numbers per step
    strings: Callable[[Ints], SequenceBatch] | None = None
    """sizes -> the one sequence of each size; evaluation then takes all up to the length, and looks for the
    largest up to which all are right"""
    facts: Callable[[SequenceBatch], Facts] | None = None
    thumb: str = ""
    """the rule of thumb behind the guesses of `facts`, in words"""
    free_from: Callable[[int], int] | None = None
    """length -> step from which an evaluation also lets the model read its own answers"""
    further: Callable[[Scores, int], dict[str, float]] | None = None
    """(scores, length) -> further figures that the literature reports"""
