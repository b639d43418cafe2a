"""The loop over a window's steps as one CUDA graph: a launch for the window instead of thousands from Python.

A graph computes in the memory that it was captured in. So each layout of a window has memory of its own: what
the loop reads is copied in, the graph runs, and what it wrote is copied out. Whole storages are copied, for
tensors of a window share them: a state after one step is the state before the next.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence

import torch
from torch import Tensor

from lstmcli.core.notices import notice
from lstmcli.engine.kernels.values import Fault

Loop = Callable[[Sequence[Tensor]], None]
KEPT = 16
"""Captured windows, at most; the one that was used longest ago goes first."""


class Windows:
    """Loops that were captured, by what they run and how their tensors lie."""

    def __init__(self) -> None:
        self._captured: OrderedDict[Hashable, _Captured | None] = OrderedDict()

    def run(
        self, owner: object, loop: Loop, tensors: Sequence[Tensor], written: Sequence[int], strict: bool
    ) -> None:
        """`loop(tensors)`, by a graph.

        Args:
            owner: what the loop runs, with all that its steps depend on but the tensors; hashable.
            written: numbers of the tensors that the loop writes into.
            strict: raise what else is told once, before the loop runs step by step: that it cannot be
                captured.
        """
        key = (owner, *_layout(tensors))
        if key not in self._captured:
            self._captured[key] = _try(loop, tensors, written, strict)
            if len(self._captured) > KEPT:
                self._captured.popitem(last=False)
        self._captured.move_to_end(key)
        window = self._captured[key]
        if window is None:
            loop(tensors)
        else:
            window(tensors)


def _try(loop: Loop, tensors: Sequence[Tensor], written: Sequence[int], strict: bool) -> _Captured | None:
    try:
        return _Captured(loop, tensors, written)
    except RuntimeError as error:  # of CUDA: an operation that cannot be captured, or no memory
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        if strict:
            raise Fault(f"no CUDA graph of the window: {reason}") from error
        notice(f"the loop over a window is no CUDA graph, and slower ({reason})")
        return None


class _Captured:
    """A loop in memory of its own."""

    def __init__(self, loop: Loop, tensors: Sequence[Tensor], written: Sequence[int]):
        places = _storages(tensors)
        self._memory = [torch.empty_like(_bytes(first)) for first in places.values()]
        numbers = {storage: number for number, storage in enumerate(places)}
        self._copied_out = sorted({numbers[_storage(tensors[k])] for k in written})
        own = [self._view(t, self._memory[numbers[_storage(t)]]) for t in tensors]
        self._copy_in(tensors)
        _warm_up(lambda: loop(own))
        self._replay = _capture(lambda: loop(own))

    def __call__(self, tensors: Sequence[Tensor]) -> None:
        self._copy_in(tensors)
        self._replay()
        theirs = list(_storages(tensors).values())
        for number in self._copied_out:
            _bytes(theirs[number]).copy_(self._memory[number])

    def _copy_in(self, tensors: Sequence[Tensor]) -> None:
        for mine, first in zip(self._memory, _storages(tensors).values(), strict=True):
            mine.copy_(_bytes(first))

    def _view(self, tensor: Tensor, memory: Tensor) -> Tensor:
        return memory.view(tensor.dtype).as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())


def _layout(tensors: Sequence[Tensor]) -> tuple[Hashable, ...]:
    """How the tensors lie, each and in the memory that they share."""
    numbers = {storage: number for number, storage in enumerate(_storages(tensors))}
    return tuple(
        (
            *(numbers[_storage(t)], t.untyped_storage().nbytes(), t.dtype, t.device),
            *(tuple(t.shape), t.stride(), t.storage_offset()),
        )
        for t in tensors
    )


def _storages(tensors: Sequence[Tensor]) -> dict[int, Tensor]:
    """The first tensor of each memory."""
    found: dict[int, Tensor] = {}
    for tensor in tensors:
        found.setdefault(_storage(tensor), tensor)
    return found


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _bytes(tensor: Tensor) -> Tensor:
    """All of the memory that it lies in."""
    return torch.empty(0, dtype=torch.uint8, device=tensor.device).set_(tensor.untyped_storage())


def _warm_up(run: Callable[[], None]) -> None:
    """Once beside the stream that is captured later: compilers run, libraries take their memory."""
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        run()
    torch.cuda.current_stream().wait_stream(side)


def _capture(run: Callable[[], None]) -> Callable[[], None]:
    """What replays the work that `run` gives to the device."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        run()
    replay: Callable[[], None] = graph.replay
    return replay
