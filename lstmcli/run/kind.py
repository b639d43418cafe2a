"""What a kind of data brings along. Nothing outside of a kind's folder asks which kind a run is of: it asks
the kind for its task, its trained run, its charts and what may be tuned.

A kind is a class; `register` makes it known, and so a module of anybody's can add one, which the variable
LSTM_KINDS names (tests/kinds/test_fifth_kind.py has one in full). With the tool come

    text        the next symbol of a text                lstmcli/kinds/text/kind.py
    series      forecasts of time series                 lstmcli/kinds/series/kind.py
    labelled    the class of a text or of a series       lstmcli/kinds/sequence/kind.py
    synthetic   a task that makes its own sequences      lstmcli/kinds/sequence/kind.py
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NamedTuple, Protocol, TypeVar

from lstmcli.core.errors import ConfigError, UsageError
from lstmcli.core.own_code import import_own_kinds
from lstmcli.run.options import Chosen, Option

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

    from lstmcli.config.schema import Config
    from lstmcli.core.tables import Table
    from lstmcli.run.directory import RunDir
    from lstmcli.run.distributed import Ranks
    from lstmcli.run.inherit import Meanings
    from lstmcli.run.task import Task
    from lstmcli.run.trained import TrainedRun

C = TypeVar("C", bound="Config")
Reading = Callable[[str, int, int], None]
"""Progress of data that are read: what, bytes done, bytes in all."""
Progress = Callable[[int, int], None]
"""Progress of anything else: done, in all."""
Needs = Mapping[str, tuple[str, Callable[[Any], bool]]]
"""Settings by dotted name, with what gives them an effect, and whether a config has it."""
Charts = Mapping[str, list[Any]]
"""Of TensorBoard's Custom Scalars, by title: the sort of chart, and its tags."""


class Report(Protocol):
    """Figures of an evaluation."""

    def to_json(self) -> dict[str, Any]: ...

    def tables(self) -> list[Table]: ...


class Evaluated(NamedTuple):
    """What was measured, and on what: a split, or files."""

    on: str
    report: Report


class Products(NamedTuple):
    """What a trained run makes, for a page on it: texts, or a picture."""

    about: str
    texts: Sequence[str] = ()
    figure: Figure | None = None


Numbers = dict[str, float]
Curves = dict[str, dict[str, list[float]]]
"""By name, each with its x and y."""


@dataclass(frozen=True)
class Asked:
    """What an experiment wants to know of each of its runs."""

    measures: tuple[str, ...] = ()
    """Some of the kind's `measures`."""
    split: str | None = None
    """eval: of which part; None: as the kind sees fit."""
    lengths: tuple[int, ...] = ()
    """Synthetic tasks: lengths to evaluate at, beside that of training."""
    lag: int = 100
    """gradients: the longest lag in steps."""


@dataclass(frozen=True)
class Measurement:
    """What was measured of a run."""

    numbers: Numbers = field(default_factory=dict)
    curves: Curves = field(default_factory=dict)

    def __or__(self, other: Measurement) -> Measurement:
        return Measurement(self.numbers | other.numbers, self.curves | other.curves)


FIGURES = ("scaled_mse", "scaled_mae", "smape", "mase", "loss", "accuracy", "macro_f1")
"""Of what `lstm eval` says, those that an experiment compares."""


class Kind(Generic[C]):
    """What a kind of data has of its own; all else of a run is alike for all kinds. `C` is its config.

    Its module is imported to name charts or a space, so it imports torch inside of its methods.
    """

    name: ClassVar[str]
    """What `learned` of its config says."""
    forms: ClassVar[Sequence[type[Config]]] = ()
    """Its configs; those of a kind that comes with the tool are known beforehand."""
    purpose: ClassVar[str]
    """Completes "which learned ..." in messages: "to write text"."""
    counts: ClassVar[tuple[str, str]]
    """What training reads, in a title and as the tag of its speed: ("Symbols", "tokens")."""
    charts: ClassVar[Charts]
    """The losses and scores that training logs, as TensorBoard's first charts."""
    needs: ClassVar[Needs] = {}
    """Of the kind's own settings those that only another one gives an effect."""
    space: ClassVar[Mapping[str, Any]]
    """What `lstm tune` varies where no space is given: ranges and lists by dotted name."""
    options: ClassVar[Mapping[str, tuple[Option, ...]]] = {}
    """What a verb can be asked for, beside what it can be asked for any kind; by verb (eval, generate).
    Without `generate` in it there is nothing that `lstm generate` could write."""
    topics: ClassVar[Mapping[str, str]] = {}
    """What `lstm inspect` can show of such a run: by topic (gates, units, gradients, memory) the function
    that finds it out, as module:function, which is called with the run, what is to be read (a `Reading`) and
    what the topic can be asked for of any kind."""
    makes: ClassVar[str] = ""
    """The title of what such a run makes, on the page of `lstm report`; empty: nothing."""
    solves: ClassVar[bool] = False
    """Whether there is a task that is solved at some point."""
    minimised: ClassVar[str] = "val/loss"
    """The tag whose lowest value tells how good a run became: what a search makes small."""
    measures: ClassVar[tuple[str, ...]] = ("eval",)
    """What an experiment may ask of a trained run."""

    def task(self, config: C, on_progress: Reading, ranks: Ranks) -> Task:
        """Reads the data and makes the model."""
        raise NotImplementedError

    def found_again(self, config: C, folder: str | None) -> C:
        """The config of a resumed run with its files, looked for where it began, too."""
        return config

    def trained(self, directory: RunDir, config: C, checkpoint: Path) -> TrainedRun:
        """A run at a checkpoint, as an object."""
        raise NotImplementedError

    def meanings(self, config: C, files: Mapping[str, str]) -> Meanings:
        """What the axes of the model's tensors stand for, by which a run's weights find their place in
        another one; `files`: what a checkpoint holds beside tensors. RunError: they are damaged."""
        return {}

    def measure(self, what: str, run: Any, asked: Asked) -> Measurement:
        """One of `measures` of a trained run; `eval` as `lstm eval` does, of its best weights."""
        figures = run.evaluate(split=asked.split or "val").to_json()
        return Measurement({name: float(figures[name]) for name in FIGURES if name in figures})

    def measure_start(self, task: Any, asked: Asked) -> Measurement:
        """What is measured of a model that is not trained yet, under names of its own."""
        return Measurement()

    def export(self, run: Any, path: Path) -> dict[str, Any]:
        """`lstm export`: the model as a file that runs without this package; what `--json` prints.
        UsageError: this kind has none."""
        name = run.directory.name
        raise UsageError(f"{name} learned {self.purpose}, of which there is no export", f"lstm report {name}")

    def check(self, config: C) -> None:
        """The kind's own rules between settings; ConfigError names what does not go together."""

    def evaluate(self, run: Any, chosen: Chosen, on_progress: Progress) -> Evaluated:
        """`lstm eval`: how good a trained run of this kind is."""
        raise NotImplementedError

    @property
    def writes(self) -> bool:
        """Whether `lstm generate` has anything to write."""
        return "generate" in self.options

    def check_writes(self, run: str) -> None:
        """UsageError: it has not."""
        if not self.writes:
            raise UsageError(f"{run} learned {self.purpose} and has nothing to write", f"lstm eval {run}")

    def write(self, run: Any, chosen: Chosen, as_json: bool) -> dict[str, Any]:
        """`lstm generate`: what a trained run makes, written to standard output for a person or, `as_json`,
        given as a document that `--json` prints."""
        raise NotImplementedError

    def takes(self, file: Path) -> int:
        """`lstm init`: how much a file looks, by its name, as if it were of this kind: 0 not at all, 1 as
        anything does, more where it is meant for it. The kind that says most proposes a config."""
        return 0

    def propose(self, file: Path, chosen: Chosen) -> str:
        """`lstm init`: a config that fits the file, as YAML."""
        raise NotImplementedError

    def products(self, run: Any) -> Products:
        """`lstm report`: something that a trained run makes."""
        raise NotImplementedError

    def check_data(self, config: C) -> dict[str, Any]:
        """Read the data as training would and write nothing; what they are. DataError names a fault."""
        raise NotImplementedError


_kinds: dict[str, str | Kind[Any]] = {
    "text": "lstmcli.kinds.text.kind:TextKind",
    "series": "lstmcli.kinds.series.kind:SeriesKind",
    "labelled": "lstmcli.kinds.sequence.kind:LabelledKind",
    "synthetic": "lstmcli.kinds.sequence.kind:SyntheticKind",
}
"""By name; a kind that comes with the tool is imported when it is first asked for."""


def register(kind: Kind[Any]) -> None:
    """Make a kind and its configs known to every command, in this process."""
    from lstmcli.config.forms import add_form

    _kinds[kind.name] = kind
    for form in kind.forms:
        add_form(form)


def kind_named(name: str) -> Kind[Any]:
    """ConfigError: there is no such kind."""
    import_own_kinds()
    found = _kinds.get(name)
    if found is None:
        raise ConfigError(f"data.kind: there is no kind {name!r}", f"there are {', '.join(_kinds)}")
    if isinstance(found, str):
        module, _, made = found.partition(":")
        found = _kinds[name] = getattr(import_module(module), made)()
    return found


def kind_of(config: Config) -> Kind[Any]:
    """The kind of a run of this config."""
    return kind_named(config.learned)


def kinds() -> list[Kind[Any]]:
    import_own_kinds()
    return [kind_named(name) for name in _kinds]
