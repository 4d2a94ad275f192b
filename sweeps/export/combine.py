"""The best few models of a sweep as one: a soup of their weights, or their ensemble."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, cast

from omegaconf import DictConfig

from sweeps.errors import ConfigError, SweepError
from sweeps.export.best import published
from sweeps.export.card_combined import CombinedCard, Single
from sweeps.export.formats import WEIGHTS, Formats
from sweeps.export.place import hold, replacing
from sweeps.export.ranking import best_trials, numbers
from sweeps.export.result import CombinedResult, ExportResult
from sweeps.export.trained import TrainedTrial, part_by_itself, without_job
from sweeps.export.verify import (
    OFFERS,
    ModelTrainer,
    Stored,
    cannot_rebuild,
    check_recorded,
    evaluate,
    load,
    objective_of,
    test_metrics,
)
from sweeps.export.writing import Metrics, Model, Say, write_card, write_model
from sweeps.results import SweepResults
from sweeps.storage.folder import SweepFolder

Kind = Literal["ensemble", "soup"]

_NEEDED: Mapping[Kind, tuple[str, ...]] = {
    "ensemble": ("ensemble", "ensemble_model"),
    "soup": ("soup",),
}


class Soup(Protocol):
    """What a trainer's `soup` gives."""

    best: Stored
    ingredients: Sequence[int]
    """Positions of the members that are in it, best first."""
    left_out: Mapping[int, str]
    """By position of those that are not: why."""


class CombiningTrainer(ModelTrainer, Protocol):
    """What `trainer._target_` offers so that its models can be combined."""

    def soup(
        self,
        members: Sequence[Stored],
        parts: Sequence[Mapping[str, Any]],
        *,
        recipe: str,
        score: Callable[[Metrics], float],
    ) -> Soup:
        """Average weights; ValueError where they cannot be. Of `score`, more is better."""
        ...

    def ensemble(self, members: Sequence[Stored], parts: Mapping[str, Any]) -> Stored:
        """Average probabilities; `parts` are the first member's, with an ensemble's `model`."""
        ...

    def ensemble_model(self, models: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The config of an ensemble's `model`, of its members' ones."""
        ...


@dataclass(frozen=True, kw_only=True)
class Member:
    """One of the best trials, its model loaded."""

    trained: TrainedTrial
    config: DictConfig
    """Of the job, with what only the job knew filled in."""
    model: Any
    """The config's `model`, for another config to hold."""
    parts: Mapping[str, Any]
    stored: Stored
    validation: dict[str, float]

    @property
    def number(self) -> int:
        """The trial's."""
        return self.trained.trial.number

    @property
    def trainer(self) -> CombiningTrainer:
        """The trial's."""
        return cast(CombiningTrainer, self.parts["trainer"])


@dataclass(frozen=True, kw_only=True)
class Combined:
    """Several models made one."""

    stored: Stored
    members: Sequence[Member]
    """What is in it, best first."""
    config: DictConfig
    parts: Mapping[str, Any]
    left_out: Mapping[int, str]
    """By trial: why it is not in it."""


def export_combined(
    folder: SweepFolder,
    *,
    kind: Kind,
    count: int,
    recipe: str = "greedy",
    out: Path | None = None,
    formats: Formats = WEIGHTS,
    say: Say = lambda text: None,
) -> ExportResult:
    """Export the best `count` trials as one model, verified.

    Each member's checkpoint must give what its trial recorded; what is exported is loaded back from
    its folder alone and must give the same to the last bit. Only then is an older export replaced.
    The result holds the best single trial's metrics too.

    Args:
        folder: The sweep.
        kind: `ensemble` averages probabilities; `soup` averages weights, where architectures agree.
        count: How many of the best trials, 2 or more.
        recipe: Of a soup: `uniform` takes them all, `greedy` those that do not make it worse.
        out: The folder to write; `ensemble/` or `soup/` of the sweep where it is not given.
        formats: What to write beside the weights.
        say: Told what is being done.

    Raises:
        ConfigError: The trainer cannot combine models, or `out` holds something else.
        SweepError: Fewer trials have a value or a checkpoint, a model is not what was recorded, or
            they cannot be combined. Nothing was replaced.
    """
    if count < 2:
        raise ConfigError(f"--{kind} is {count}; it takes 2 trials or more")
    place = (out or folder.combined(kind)).resolve()
    with (
        replacing(place) as partial,
        hold(lambda: best_trials(folder, count, flag=f"--{kind}"), place) as top,
    ):
        members = []
        for i, trained in enumerate(top):
            say(f"loading and evaluating trial {trained.trial.number} ({i + 1} of {count})")
            members.append(_load_member(trained, kind))
        with members[0].trained.surroundings():
            if kind == "ensemble":
                combined = _ensemble(members, say)
            else:
                combined = _soup(members, recipe, say)
            say(f"writing the {kind}")
            result = _write(combined, kind, members[0], partial, place, formats=formats, say=say)
    return published(result, folder)


def _load_member(trained: TrainedTrial, kind: Kind) -> Member:
    assert trained.checkpoint is not None
    config = trained.config()
    reason = cannot_rebuild(trained, config, offers=(*OFFERS, *_NEEDED[kind]))
    if reason is not None:
        raise ConfigError(f"--{kind} needs a trainer that can combine models: {reason}")
    with trained.surroundings():
        whole = without_job(config)
        parts = trained.instantiate(whole)
        stored = load(parts["trainer"], trained.checkpoint, parts)
        validation = evaluate(parts["trainer"], stored.net)
        check_recorded(trained, _objective(trained.sweep, validation), stored.epoch)
        return Member(
            trained=trained,
            config=whole,
            model=part_by_itself(config, "model"),
            parts=parts,
            stored=stored,
            validation=validation,
        )


def _ensemble(members: Sequence[Member], say: Say) -> Combined:
    say(f"averaging the probabilities of {len(members)} models")
    first = members[0]
    config = without_job(first.trained.config(), inline="model")
    config.model = first.trainer.ensemble_model([member.model for member in members])
    parts = first.trained.instantiate(config)
    with _refusal("ensemble", members):
        stored = parts["trainer"].ensemble([member.stored for member in members], parts)
    return Combined(stored=stored, members=members, config=config, parts=parts, left_out={})


def _soup(members: Sequence[Member], recipe: str, say: Say) -> Combined:
    sweep, evaluated = members[0].trained.sweep, itertools.count(1)

    def score(metrics: Metrics) -> float:
        say(f"averaging weights: {next(evaluated)} evaluated")
        return -sweep.objective.loss(_objective(sweep, metrics))

    with _refusal("soup", members):
        soup = members[0].trainer.soup(
            [member.stored for member in members],
            [member.parts for member in members],
            recipe=recipe,
            score=score,
        )
    used = [members[i] for i in soup.ingredients]
    return Combined(
        stored=soup.best,
        members=used,
        config=used[0].config,
        parts=used[0].parts,
        left_out={members[i].number: reason for i, reason in soup.left_out.items()},
    )


@contextmanager
def _refusal(kind: Kind, members: Sequence[Member]) -> Iterator[None]:
    """What the trainer refuses, with the trials in the order of its members."""
    try:
        yield
    except ValueError as error:
        trials = numbers(member.trained.trial for member in members)
        raise SweepError(f"nothing was exported: no {kind} of trials {trials}: {error}") from error


def _objective(sweep: SweepResults, metrics: Metrics) -> float:
    value = objective_of(sweep.objective, metrics)
    if value is None:
        raise SweepError(
            f"nothing was exported: evaluate gives {', '.join(metrics)}, not "
            f"{sweep.objective.metric}"
        )
    return value


def _write(
    combined: Combined,
    kind: Kind,
    best: Member,
    partial: Path,
    place: Path,
    *,
    formats: Formats,
    say: Say,
) -> ExportResult:
    trainer: ModelTrainer = combined.parts["trainer"]
    trained = combined.members[0].trained
    model = Model(
        trained=trained,
        trainer=trainer,
        stored=combined.stored,
        config=combined.config,
        validation=evaluate(trainer, combined.stored.net),
        what=f"{kind} of trials {numbers(member.trained.trial for member in combined.members)}",
    )
    facts = write_model(model, partial, formats, say)
    single_test = test_metrics(best.trainer, best.stored.net)
    card = CombinedCard(
        trained=trained,
        folder=place,
        facts=facts,
        config=combined.config,
        kind=kind,
        members=[member.trained.trial for member in combined.members],
        left_out=combined.left_out,
        single=Single(trial=best.number, validation=best.validation, test=single_test),
    )
    write_card(partial, card.text(), card.metrics())
    sweep = best.trained.sweep
    value, alone = _objective(sweep, model.validation), _objective(sweep, best.validation)
    return ExportResult(
        folder=place,
        trial=best.number,
        verified=True,
        validation=value,
        test=facts.test,
        calibration=facts.calibration,
        graphs=facts.deployed.graphs,
        left_out=facts.deployed.left_out,
        combined=CombinedResult(
            kind=kind,
            trials=tuple(member.number for member in combined.members),
            left_out=combined.left_out,
            single_validation=alone,
            single_test=single_test,
            worse=sweep.objective.is_better(alone, value),
        ),
    )
