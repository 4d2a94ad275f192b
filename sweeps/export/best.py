"""The best model of a sweep, taken out of it and checked, ready to use.

What is exported is loaded back from its own folder alone and evaluated again before it takes its
place: see `export_best`. Weights are safetensors and the rest is text; nothing is unpickled.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf, read_write

from sweeps.errors import ConfigError, SweepError
from sweeps.export.calibration import Calibration, calibrate
from sweeps.export.card import Card
from sweeps.export.trained import TrainedTrial, without_job
from sweeps.export.verify import (
    ModelTrainer,
    cannot_rebuild,
    check_recorded,
    check_reloaded,
    evaluate,
    load,
    objective_of,
    test_metrics,
    write,
)
from sweeps.journal.trials import Trial
from sweeps.results import SweepResults, load_sweep
from sweeps.secrets import MASK, is_secret
from sweeps.storage.checkpoints import held
from sweeps.storage.folder import SweepFolder

_MARK = "metrics.json"


@dataclass(frozen=True, kw_only=True)
class CombinedResult:
    """Of an export of several trials as one model: which, and how good the best is alone."""

    kind: str
    """`ensemble` or `soup`."""
    trials: tuple[int, ...]
    """What is in it, best first."""
    left_out: Mapping[int, str]
    """By trial: why it is not in it."""
    single_validation: float
    """The objective of the best trial."""
    single_test: dict[str, float] | None
    worse: bool
    """Whether the best trial alone has the better objective."""


@dataclass(frozen=True, kw_only=True)
class ExportResult:
    """What was exported."""

    folder: Path
    trial: int
    """The trial; of several the best."""
    shown: str = ""
    """Where a user finds it: the folder, or a URL where the sweep is in a bucket."""
    verified: bool
    """Whether the export was loaded back and gave the recorded objective again."""
    reason: str | None = None
    """Why it could not be verified."""
    validation: float | None = None
    """The objective, evaluated from the export."""
    test: dict[str, float] | None = None
    calibration: Calibration | None = None
    """Where the trainer offers it."""
    combined: CombinedResult | None = None


def export_best(
    folder: SweepFolder, *, trial: int | None = None, out: Path | None = None
) -> ExportResult:
    """Export a trial's best model, verified where the app's trainer allows.

    The model is loaded from the checkpoint of the trial's best report, evaluated on the validation
    split and compared with what the trial reported (see `verify.TOLERANCE`); exported; loaded again
    from the export alone into a new network, and compared once more. Only then is an older export
    replaced, whole. Without a `trainer._target_` that offers load, evaluate and export, what is
    exported is the checkpoint as it is, and the result says why it is not verified.

    Args:
        folder: The sweep.
        trial: Its number; the best one where it is not given.
        out: The folder to write; `best/` of the sweep where it is not given.

    Raises:
        ConfigError: There is no such trial, or `out` holds something else than an export.
        SweepError: The trial has no value or no config, the model is not what was recorded, or the
            folder cannot be written. Nothing was replaced.
    """
    place = (out or folder.best).resolve()
    with replacing(place) as partial, hold(lambda: [_find(folder, trial)], place) as (trained,):
        result = _write(trained, partial, place)
    return published(result, folder)


def published(result: ExportResult, folder: SweepFolder) -> ExportResult:
    """An export that was written, put where the sweep is too, if that is its place."""
    folder.push_folder(result.folder, last=_MARK)
    return replace(result, shown=folder.shown(result.folder))


def _find(folder: SweepFolder, number: int | None) -> TrainedTrial:
    """The trial to export, with a checkpoint."""
    sweep = load_sweep(folder)
    trained = TrainedTrial.of(sweep, _choose(sweep, number))
    if trained.checkpoint is not None:
        return trained
    if trained.trial.checkpoint is not None:
        raise SweepError(
            f"trial {trained.trial.number}'s checkpoint is no longer there: of trials that are "
            f"over, those of the hydra.sweeper.keep_checkpoints best alone stay"
        )
    raise SweepError(
        f"trial {trained.trial.number} reported no checkpoint: there is no model to export. "
        f"Pass one to sweeps.report(..., checkpoint=folder)"
    )


@contextmanager
def hold(find: Callable[[], Sequence[TrainedTrial]], place: Path) -> Iterator[list[TrainedTrial]]:
    """What is found, with checkpoints that stay; of a running sweep, what has outdone it since.

    Args:
        find: Gives trials with a checkpoint each; asked again where one was deleted meanwhile.
        place: The checkpoints are held beside it.
    """
    with ExitStack() as stack:
        while True:
            try:
                trials = [stack.enter_context(_held(trained, place)) for trained in find()]
                break
            except FileNotFoundError:
                stack.close()
        yield trials


@contextmanager
def _held(trained: TrainedTrial, place: Path) -> Iterator[TrainedTrial]:
    assert trained.checkpoint is not None
    scratch = place.with_name(f".{place.name}.source-{trained.trial.number}")
    with held(trained.checkpoint, scratch) as checkpoint:
        yield replace(trained, checkpoint=checkpoint)


def _choose(sweep: SweepResults, number: int | None) -> Trial:
    if number is None:
        if sweep.best is None:
            raise SweepError(f"no trial of {sweep.folder.place} has a value yet: nothing to export")
        return sweep.best
    if not 0 <= number < len(sweep.trials):
        raise ConfigError(f"--trial is {number}; the sweep has trials 0 to {len(sweep.trials) - 1}")
    trial = sweep.trials[number]
    if trial.value is None or not math.isfinite(trial.value):
        raise SweepError(f"trial {number} is {trial.status} and has no value: nothing to export")
    return trial


# Where it goes


@contextmanager
def replacing(place: Path) -> Iterator[Path]:
    """A folder to make and to fill, which takes the place of an older export if all goes well.

    Raises:
        ConfigError: The place holds something else than an export.
        SweepError: It cannot be written.
    """
    _check_place(place)
    partial = place.with_name(f".{place.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        yield partial
        _replace(place, partial)
    except OSError as error:
        raise SweepError(f"nothing was exported to {place}: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _check_place(place: Path) -> None:
    if not place.exists():
        return
    if not place.is_dir() or (any(place.iterdir()) and not (place / _MARK).exists()):
        raise ConfigError(
            f"{place} holds something else than an export: choose another --out. "
            f"Nothing was replaced."
        )


def _replace(place: Path, partial: Path) -> None:
    old = place.with_name(f".{place.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if place.exists():
        place.rename(old)
    partial.rename(place)
    shutil.rmtree(old, ignore_errors=True)


# What is written


def _write(trained: TrainedTrial, partial: Path, place: Path) -> ExportResult:
    config = trained.config()
    reason = cannot_rebuild(trained, config)
    if reason is not None:
        return _write_as_it_is(trained, config, partial, place, reason)
    with trained.surroundings():
        return _write_model(trained, config, partial, place)


def _write_model(
    trained: TrainedTrial, config: DictConfig, partial: Path, place: Path
) -> ExportResult:
    assert trained.checkpoint is not None
    whole = without_job(config)
    parts = trained.instantiate(whole)
    trainer: ModelTrainer = parts["trainer"]
    stored = load(trainer, trained.checkpoint, parts)
    validation = evaluate(trainer, stored.net)
    value = objective_of(trained.sweep.objective, validation)
    if value is None:
        reason = f"evaluate gives {', '.join(validation)}, not {trained.sweep.objective.metric}"
        return _write_as_it_is(trained, config, partial, place, reason)
    check_recorded(trained, value, stored.epoch)
    stored, calibration = calibrate(trainer, stored)
    write(trainer, stored, partial)
    write_config(partial, whole)
    check_reloaded(trained, partial, validation)
    test = test_metrics(trainer, stored.net)
    card = Card(
        trained=trained,
        folder=place,
        epoch=stored.epoch,
        validation=validation,
        test=test,
        calibration=calibration,
    )
    write_card(partial, card)
    return ExportResult(
        folder=place,
        trial=trained.trial.number,
        verified=True,
        validation=value,
        test=test,
        calibration=calibration,
    )


def _write_as_it_is(
    trained: TrainedTrial, config: DictConfig, partial: Path, place: Path, reason: str
) -> ExportResult:
    assert trained.checkpoint is not None
    shutil.copytree(trained.checkpoint, partial / "checkpoint")
    write_config(partial, config)
    write_card(partial, Card(trained=trained, folder=place, unverified=reason))
    return ExportResult(folder=place, trial=trained.trial.number, verified=False, reason=reason)


def write_config(folder: Path, config: DictConfig) -> None:
    """Write config.yaml, secrets masked."""
    _mask_secrets(config)
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(config), encoding="utf-8")


def _mask_secrets(node: Any) -> None:
    """Mask what secret-looking keys hold; references such as `${oc.env:KEY}` stay."""
    for key in range(len(node)) if isinstance(node, ListConfig) else list(node):
        if OmegaConf.is_interpolation(node, key) or OmegaConf.is_missing(node, key):
            continue
        if OmegaConf.is_config(node[key]):
            _mask_secrets(node[key])
        elif isinstance(node[key], str) and is_secret(str(key)):
            with read_write(node):
                node[key] = MASK


def write_card(folder: Path, card: Card) -> None:
    """Write README.md and metrics.json."""
    (folder / "README.md").write_text(card.text(), encoding="utf-8")
    metrics = json.dumps(card.metrics(), indent=2, allow_nan=False)
    (folder / _MARK).write_text(f"{metrics}\n", encoding="utf-8")
