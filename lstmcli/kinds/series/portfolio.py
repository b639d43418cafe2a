"""The members of a portfolio: small models that differ where it matters, and what has become of them.

A step of training is one member's; they take turns. At an evaluation each has its weights kept where they are
the best that it had, the poorest leave, and the blend of all is chosen (`blend`). Which member a step belongs
to is a pure function of the course, and the course is part of a checkpoint.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from lstmcli.core.errors import ConfigError, RunError
from lstmcli.kinds.series.settings import Member, SeriesConfig

FEWEST = 3
"""Members that go on to the end of the selection."""
REFIT_SHARE = 0.5
"""Of the steps, for learning from all data what was chosen."""
FORECAST = ("transform", "normalization", "season", "patch_length", "decoder", "loss")
MODEL = ("cell", "hidden_size", "num_layers", "dropout")


def member_configs(config: SeriesConfig) -> list[SeriesConfig]:
    """The config of each member, which has no members of its own."""
    wanted = config.forecast.portfolio or _usual(config)
    return [_derived(config, member) for member in wanted]


def _usual(config: SeriesConfig) -> list[Member]:
    """Where the config names none: the model itself, and others that subtract something else."""
    others = [name for name in ("last", "seasonal", "standard") if name != config.forecast.normalization]
    return [Member(), *(Member.model_validate({"normalization": name}) for name in others)]


def _derived(config: SeriesConfig, member: Member) -> SeriesConfig:
    given = {k: v for k, v in member.model_dump().items() if v is not None}
    forecast: dict[str, Any] = {"members": 1, "portfolio": []} | {k: given[k] for k in FORECAST if k in given}
    if given.get("loss") == "negative-binomial":  # counts as they are
        forecast = {"normalization": "mean-abs"} | forecast | {"transform": "none", "scaling": "none"}
    normalization = forecast.get("normalization", config.forecast.normalization)
    if normalization != "seasonal":
        forecast["season"] = None
    context = given.get("context_length", config.data.context_length)
    return config.model_copy(
        update={
            "data": config.data.model_copy(update={"context_length": context}),
            "forecast": config.forecast.model_copy(update=forecast),
            "model": config.model.model_copy(update={k: given[k] for k in MODEL if k in given}),
        }
    )


def name_of(config: SeriesConfig) -> str:
    """A member in a few words, for the screen and the log."""
    forecast, model = config.forecast, config.model
    season = f" {forecast.season}" if forecast.season else ""
    transform = "" if forecast.transform == "none" else f" of {forecast.transform}"
    return (
        f"{forecast.normalization}{season}{transform} from {config.data.context_length} by "
        f"{forecast.patch_length}, {forecast.decoder}, {model.cell} {model.hidden_size}, {forecast.loss}"
    )


def check_portfolio(config: SeriesConfig) -> None:
    """ConfigError: settings that do not go with a portfolio."""
    train = config.train
    if config.forecast.members != "auto":
        if train.refit:
            raise ConfigError("train.refit goes with forecast.members: auto", "set that, or leave refit out")
        if config.forecast.portfolio:
            raise ConfigError("forecast.portfolio goes with forecast.members: auto", "set that")
        return
    if train.max_steps is None or config.evaluation.every is None:
        raise ConfigError(
            "forecast.members: auto needs train.max_steps and evaluation.every: shares of members are steps",
            "set both, such as train.max_steps=2000 and evaluation.every=200; train.max_minutes may limit it",
        )
    if train.schedule != "constant":
        raise ConfigError(
            "forecast.members: auto lets each member's learning rate fall by its own steps",
            "set train.schedule: constant",
        )
    if train.early_stopping is not None:
        raise ConfigError(
            "forecast.members: auto stops poor members by itself", "leave out train.early_stopping"
        )
    if config.forecast.loss not in ("quantile", "gaussian", "student-t", "negative-binomial"):
        raise ConfigError(
            f"forecast.members: auto blends quantiles, which loss {config.forecast.loss} has none of",
            "use forecast.loss: quantile",
        )
    if config.forecast.channels == "joint":
        raise ConfigError("forecast.members: auto needs forecast.channels: independent", "set that")
    for member in member_configs(config):
        if member.forecast.decoder == "recursive":
            raise ConfigError(
                "forecast.members: auto has no place for decoder recursive", "use direct or segments"
            )


def selection_steps(config: SeriesConfig) -> int:
    """Steps in which members are chosen: all, or those that refitting leaves, whole evaluations of them."""
    total, every = config.train.max_steps or 0, config.evaluation.every or 1
    if not config.train.refit:
        return total
    return min(total, max(every, every * round((1.0 - REFIT_SHARE) * total / every)))


@dataclass
class Course:
    """What has become of the members so far; plain JSON."""

    losses: list[float | None]  # the best of each on validation
    alive: list[int]  # who takes turns
    taken: list[int]  # steps of each before `since`
    since: int = 0  # step at which these turns began
    step: int = 0  # updates that were made
    weights: list[list[float]] = field(default_factory=list)  # (h, members and free forecasts)
    loss: float | None = None  # of the blend, at the last evaluation of the selection
    stage: str = "selection"  # selection, refit, refitted

    @classmethod
    def of(cls, members: int) -> Course:
        return cls([None] * members, list(range(members)), [0] * members)

    def turn(self, step: int) -> tuple[int, int]:
        """Whose step this is, and the number of it among this member's own."""
        within, many = step - self.since, len(self.alive)
        member = self.alive[within % many]
        return member, self.taken[member] + within // many

    def settle(self) -> None:
        """Count the steps that were taken, before the turns change."""
        done, many = self.step - self.since, len(self.alive)
        for place, member in enumerate(self.alive):
            self.taken[member] += done // many + (place < done % many)
        self.since = self.step

    def thin_out(self, done: float, weights: list[float]) -> None:
        """Let the poorest go: at the share `done` of the selection so many stay that all had a fair trial.
        The best are those with the largest weight in the blend, then those with the lowest loss."""
        many = len(self.losses)
        stay = many if done < 0.2 else -(-2 * many // 3) if done < 0.4 else -(-many // 2)
        stay = max(FEWEST, stay)
        if stay >= len(self.alive):
            return
        infinite = float("inf")
        losses = [infinite if loss is None else loss for loss in self.losses]
        ranked = sorted(self.alive, key=lambda k: (-round(weights[k], 3), losses[k]))
        self.settle()
        self.alive = sorted(ranked[:stay])

    def begin_refit(self, chosen: list[int]) -> None:
        self.settle()
        self.alive, self.taken, self.stage = chosen, [0] * len(self.taken), "refit"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, found: Any, members: int) -> Course:
        """RunError: it is not the course of so many members."""
        try:
            course = cls(**found)
            sound = len(course.losses) == len(course.taken) == members and bool(course.alive)
            sound &= all(0 <= k < members for k in course.alive) and course.since <= course.step
            sound &= course.stage in ("selection", "refit", "refitted")
        except (TypeError, KeyError) as error:
            raise RunError(f"the portfolio in the checkpoint is damaged: {error}") from error
        if not sound:
            raise RunError("the portfolio in the checkpoint is damaged: its parts do not fit each other")
        return course
