"""The best model of a sweep, taken out of it and checked, ready to use.

What is exported is loaded back from its own folder alone and evaluated again before it takes its
place: see `export_best`. Weights are safetensors and the rest is text; nothing is unpickled.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from hydra.errors import HydraException
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf, read_write

from sweeps.card import Card
from sweeps.checkpoints import held
from sweeps.errors import ConfigError, SweepError
from sweeps.folder import SweepFolder
from sweeps.results import SweepResults, load_sweep
from sweeps.secrets import MASK, is_secret
from sweeps.trained import TrainedTrial, without_job
from sweeps.trials import Trial

TOLERANCE = 1e-4
"""How far the exported model's metric may lie from the recorded one, relative above 1.

The same weights on the same rows differ in the sixth digit where sums run in another order: another
device, or number of threads. Another epoch, split or seed differs by a row or more, which is more
than this for fewer than 10,000 rows. The export and the checkpoint it was made from are compared in
one process and must agree in every bit.
"""

_OFFERS = ("load", "evaluate", "export")
_MARK = "metrics.json"


@dataclass(frozen=True, kw_only=True)
class ExportResult:
    """What was exported."""

    folder: Path
    trial: int
    verified: bool
    """Whether the export was loaded back and gave the recorded objective again."""
    reason: str | None = None
    """Why it could not be verified."""
    validation: float | None = None
    """The objective, evaluated from the export."""
    test: dict[str, float] | None = None


class Stored(Protocol):
    """What a trainer's `load` gives."""

    net: Any
    epoch: int


class ModelTrainer(Protocol):
    """What `trainer._target_` offers so that its models can be exported."""

    def load(self, folder: Path, parts: Mapping[str, Any]) -> Stored:
        """The best model in a checkpoint folder or an exported one, built from `parts`."""
        ...

    def evaluate(self, net: Any, split: str) -> Mapping[str, float]:
        """Metrics on `validation` or `test`; ValueError where there is no such split."""
        ...

    def export(self, stored: Stored, folder: Path) -> Path:
        """Write all that `load` needs beside `parts`."""
        ...


def export_best(
    folder: SweepFolder, *, trial: int | None = None, out: Path | None = None
) -> ExportResult:
    """Export a trial's best model, verified where the app's trainer allows.

    The model is loaded from the checkpoint of the trial's best report, evaluated on the validation
    split and compared with what the trial reported (see `TOLERANCE`); exported; loaded again from
    the export alone into a new network, and compared once more. Only then is an older export
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
    found = _find(folder, trial)
    place = (out or folder.best).resolve()
    _check_place(place)
    partial = place.with_name(f".{place.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        place.parent.mkdir(parents=True, exist_ok=True)
        with _held(found, trial, place.with_name(f".{place.name}.source")) as trained:
            result = _write(trained, partial, place)
        _replace(place, partial)
    except OSError as error:
        raise SweepError(f"nothing was exported to {place}: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return result


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
def _held(found: TrainedTrial, number: int | None, scratch: Path) -> Iterator[TrainedTrial]:
    """What was found, or what has outdone it since; a running sweep may then delete it."""
    with ExitStack() as stack:
        while True:
            assert found.checkpoint is not None
            try:
                checkpoint = stack.enter_context(held(found.checkpoint, scratch))
                break
            except FileNotFoundError:
                found = _find(found.sweep.folder, number)
        yield replace(found, checkpoint=checkpoint)


def _choose(sweep: SweepResults, number: int | None) -> Trial:
    if number is None:
        if sweep.best is None:
            raise SweepError(f"no trial of {sweep.folder.path} has a value yet: nothing to export")
        return sweep.best
    if not 0 <= number < len(sweep.trials):
        raise ConfigError(f"--trial is {number}; the sweep has trials 0 to {len(sweep.trials) - 1}")
    trial = sweep.trials[number]
    if trial.value is None or not math.isfinite(trial.value):
        raise SweepError(f"trial {number} is {trial.status} and has no value: nothing to export")
    return trial


# Where it goes


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
    reason = _cannot_verify(trained, config)
    if reason is not None:
        return _write_as_it_is(trained, config, partial, place, reason)
    with trained.surroundings():
        return _write_model(trained, config, partial, place)


def _cannot_verify(trained: TrainedTrial, config: DictConfig) -> str | None:
    """Why the model cannot be rebuilt, or None if it can."""
    target = OmegaConf.select(config, "trainer._target_")
    if target is None:
        return "it is the checkpoint as the app wrote it"
    with trained.import_paths():
        try:
            trainer = get_object(str(target))
        except (HydraException, ImportError, ValueError) as error:
            return f"{target} cannot be imported: {error}"
    missing = [name for name in _OFFERS if not hasattr(trainer, name)]
    return f"{target} does not offer {', '.join(missing)}" if missing else None


def _write_model(
    trained: TrainedTrial, config: DictConfig, partial: Path, place: Path
) -> ExportResult:
    assert trained.checkpoint is not None
    whole = without_job(config)
    parts = trained.instantiate(whole)
    trainer: ModelTrainer = parts["trainer"]
    stored = _load(trainer, trained.checkpoint, parts)
    validation = _evaluate(trainer, stored.net)
    value = _objective_of(trained, validation)
    if value is None:
        reason = f"evaluate gives {', '.join(validation)}, not {trained.sweep.objective.metric}"
        return _write_as_it_is(trained, config, partial, place, reason)
    _check_recorded(trained, value, stored.epoch)
    trainer.export(stored, partial)
    _write_config(partial, whole)
    _check_reloaded(trained, partial, validation)
    test = _test_metrics(trainer, stored.net)
    card = Card(trained=trained, folder=place, epoch=stored.epoch, validation=validation, test=test)
    _write_card(partial, card)
    return ExportResult(
        folder=place, trial=trained.trial.number, verified=True, validation=value, test=test
    )


def _write_as_it_is(
    trained: TrainedTrial, config: DictConfig, partial: Path, place: Path, reason: str
) -> ExportResult:
    assert trained.checkpoint is not None
    partial.mkdir()
    shutil.copytree(trained.checkpoint, partial / "checkpoint")
    _write_config(partial, config)
    _write_card(partial, Card(trained=trained, folder=place, unverified=reason))
    return ExportResult(folder=place, trial=trained.trial.number, verified=False, reason=reason)


def _write_config(folder: Path, config: DictConfig) -> None:
    _mask_secrets(config)
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(config), encoding="utf-8")


def _mask_secrets(node: Any) -> None:
    """Mask what secret-looking keys hold; references such as `${oc.env:KEY}` stay."""
    for key in list(node):
        if OmegaConf.is_interpolation(node, key) or OmegaConf.is_missing(node, key):
            continue
        if isinstance(node[key], DictConfig):
            _mask_secrets(node[key])
        elif isinstance(node[key], str) and is_secret(str(key)):
            with read_write(node):
                node[key] = MASK


def _write_card(folder: Path, card: Card) -> None:
    (folder / "README.md").write_text(card.text(), encoding="utf-8")
    metrics = json.dumps(card.metrics(), indent=2, allow_nan=False)
    (folder / _MARK).write_text(f"{metrics}\n", encoding="utf-8")


# The model, and whether it is the one that was recorded


def _load(trainer: ModelTrainer, folder: Path, parts: Mapping[str, Any]) -> Stored:
    try:
        return trainer.load(folder, parts)
    except Exception as error:
        raise SweepError(f"nothing was exported: {folder} cannot be loaded: {error}") from error


def _evaluate(trainer: ModelTrainer, net: Any) -> dict[str, float]:
    try:
        metrics = trainer.evaluate(net, "validation")
    except Exception as error:
        raise SweepError(f"nothing was exported: the model cannot be evaluated: {error}") from error
    return {name: float(value) for name, value in metrics.items()}


def _test_metrics(trainer: ModelTrainer, net: Any) -> dict[str, float] | None:
    try:
        return {name: float(value) for name, value in trainer.evaluate(net, "test").items()}
    except ValueError:  # there is no such split
        return None


def _objective_of(trained: TrainedTrial, validation: Mapping[str, float]) -> float | None:
    """The objective among the metrics of `evaluate`: itself, or without what means validation."""
    metric = trained.sweep.objective.metric
    for name, value in validation.items():
        if metric in (name, f"val_{name}", f"valid_{name}", f"validation_{name}"):
            return value
    return None


def _check_recorded(trained: TrainedTrial, value: float, epoch: int) -> None:
    """See that the model gives what its trial reported for it."""
    trial, objective = trained.trial, trained.sweep.objective
    recorded = trial.value
    if objective.at == "last" and epoch in trial.reports:  # the trainer still keeps its best epoch
        recorded = trial.reports[epoch].value
    assert recorded is not None
    if abs(value - recorded) <= TOLERANCE * max(1.0, abs(recorded)):
        return
    raise SweepError(
        f"nothing was exported: trial {trial.number} recorded {objective.metric} {recorded!r}, and "
        f"its checkpoint, of epoch {epoch}, gives {value!r}. Where its trainer chooses the best "
        f"epoch by another metric than {objective.metric}, make it the same."
    )


def _check_reloaded(trained: TrainedTrial, folder: Path, before: Mapping[str, float]) -> None:
    """See that the export alone gives the same metrics, in a new network, to the last bit."""
    config = OmegaConf.load(folder / "config.yaml")
    assert isinstance(config, DictConfig)
    parts = trained.instantiate(config)
    after = _evaluate(parts["trainer"], _load(parts["trainer"], folder, parts).net)
    if repr(after) != repr(dict(before)):
        raise SweepError(
            f"nothing was exported: on the validation split the export of trial "
            f"{trained.trial.number} gives {after}, its checkpoint {dict(before)}"
        )
