"""One trial's best model, taken out of the sweep and checked, ready to use.

What is exported is loaded back from its own folder alone and evaluated again before it takes its
place: see `export_best`. Weights are safetensors and the rest is text; nothing is unpickled.
"""

from __future__ import annotations

import math
import shutil
from dataclasses import replace
from pathlib import Path

from omegaconf import DictConfig

from sweeps.errors import ConfigError, SweepError
from sweeps.export.card import Card
from sweeps.export.formats import WEIGHTS, Formats
from sweeps.export.place import METRICS, hold, replacing
from sweeps.export.result import ExportResult
from sweeps.export.retested import best_retested
from sweeps.export.trained import TrainedTrial, without_job
from sweeps.export.verify import cannot_rebuild, check_recorded, evaluate, load, objective_of
from sweeps.export.writing import Facts, Model, Say, write_card, write_config, write_model
from sweeps.journal.trials import Trial
from sweeps.results import SweepResults, load_sweep
from sweeps.storage.folder import SweepFolder


def export_best(
    folder: SweepFolder,
    *,
    trial: int | None = None,
    by_retest: bool = False,
    out: Path | None = None,
    formats: Formats = WEIGHTS,
    say: Say = lambda text: None,
) -> ExportResult:
    """Export a trial's best model, verified where the app's trainer allows.

    The model is loaded from the checkpoint of the trial's best report, evaluated on the validation
    split and compared with what the trial reported (see `verify.TOLERANCE`); exported; loaded again
    from the export alone into a new network, and compared once more; so is each graph of it (see
    `compare.TOLERANCE`). Only then is an older export replaced, whole. Without a `trainer._target_`
    that offers load, evaluate and export, what is exported is the checkpoint as it is, and the
    result says why it is not verified.

    Args:
        folder: The sweep.
        trial: Its number; the best one where it is not given.
        by_retest: The configuration with the best mean over the seeds of the sweep's retest, in
            the place of a trial.
        out: The folder to write; where it is not given `best/` of the sweep, or `trial-N/` of the
            trial whose number was given.
        formats: What to write beside the weights.
        say: Told what is being done.

    Raises:
        ConfigError: There is no such trial, or `out` holds something else than an export.
        SweepError: The trial has no value or no config, the model is not what was recorded, or the
            folder cannot be written. Nothing was replaced.
    """
    own = folder.best if trial is None else folder.exported(trial)
    place = (out or own).resolve()

    def find() -> list[TrainedTrial]:
        return [best_retested(folder) if by_retest else _find(folder, trial)]

    folder.pull(folder.best_experiment)  # it stays beside the model
    with replacing(place) as partial, hold(find, place) as (trained,):
        result = write_trial(trained, partial, place, formats=formats, say=say)
    return published(result, folder)


def published(result: ExportResult, folder: SweepFolder) -> ExportResult:
    """An export that was written, put where the sweep is too, if that is its place."""
    folder.push_folder(result.folder, last=METRICS)
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


# What is written


def write_trial(
    trained: TrainedTrial,
    partial: Path,
    place: Path,
    *,
    formats: Formats,
    say: Say,
    is_tested: bool = True,
) -> ExportResult:
    """Write a trial's export to a folder, for another place; see `export_best`."""
    config = trained.config()
    reason = cannot_rebuild(trained, config)
    if reason is not None:
        return _write_as_it_is(trained, config, partial, place, reason, formats)
    say(f"loading and evaluating trial {trained.trial.number}")
    with trained.surroundings():
        return _write_model(trained, config, partial, place, formats, say, is_tested=is_tested)


def _write_model(
    trained: TrainedTrial,
    config: DictConfig,
    partial: Path,
    place: Path,
    formats: Formats,
    say: Say,
    *,
    is_tested: bool,
) -> ExportResult:
    assert trained.checkpoint is not None
    whole = without_job(config)
    parts = trained.instantiate(whole)
    stored = load(parts["trainer"], trained.checkpoint, parts)
    validation = evaluate(parts["trainer"], stored.net)
    value = objective_of(trained.sweep.objective, validation)
    if value is None:
        reason = f"evaluate gives {', '.join(validation)}, not {trained.sweep.objective.metric}"
        return _write_as_it_is(trained, config, partial, place, reason, formats)
    check_recorded(trained, value, stored.epoch)
    model = Model(
        trained=trained,
        trainer=parts["trainer"],
        stored=stored,
        config=whole,
        validation=validation,
        what=trained.what,
        is_tested=is_tested,
    )
    facts = write_model(model, partial, formats, say)
    card = Card(trained=trained, folder=place, facts=facts, config=whole)
    write_card(partial, card.text(), card.metrics())
    return ExportResult(
        folder=place,
        trial=trained.trial.number,
        chosen=trained.chosen,
        verified=True,
        validation=value,
        test=facts.test,
        calibration=facts.calibration,
        graphs=facts.deployed.graphs,
        left_out=facts.deployed.left_out,
    )


def _write_as_it_is(
    trained: TrainedTrial,
    config: DictConfig,
    partial: Path,
    place: Path,
    reason: str,
    formats: Formats,
) -> ExportResult:
    assert trained.checkpoint is not None
    if formats.asked and formats.graphs:
        raise SweepError(f"nothing was exported as {', '.join(formats.graphs)}: {reason}")
    shutil.copytree(trained.checkpoint, partial / "checkpoint")
    write_config(partial, config)
    card = Card(trained=trained, folder=place, facts=Facts(unverified=reason), config=config)
    write_card(partial, card.text(), card.metrics())
    return ExportResult(
        folder=place,
        trial=trained.trial.number,
        chosen=trained.chosen,
        verified=False,
        reason=reason,
        left_out=dict.fromkeys(formats.graphs, reason),
    )
