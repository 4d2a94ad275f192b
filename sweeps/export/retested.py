"""Of a retested sweep: the model of the configuration that has the best mean over seeds."""

from __future__ import annotations

from dataclasses import replace

from sweeps import render
from sweeps.errors import ConfigError, SweepError
from sweeps.export.trained import TrainedTrial
from sweeps.results import load_sweep
from sweeps.retest.results import Configuration, Retest, Run, read_retest
from sweeps.retest.statistics import LEVEL
from sweeps.storage.folder import SweepFolder


def best_retested(folder: SweepFolder) -> TrainedTrial:
    """The best of the runs of the configuration with the best mean.

    It was trained to the last step, which the sweep's own trial of it may not have been. Metrics
    and card say that they are of the retest; looks at test data count as the sweep's.

    Raises:
        ConfigError: The sweep was not retested.
        SweepError: Its retest is not over, none of it gave a value, or the app gave no checkpoint.
    """
    found = read_retest(folder)
    if found is None:
        raise ConfigError(
            f"--by retest, and {folder.place} was not retested: caviar retest {folder.place}"
        )
    if not found.is_done:
        raise SweepError(
            f"{found.ended} of {found.total} runs of the retest have ended, and the rest may "
            f"change which is best: go on with it by caviar retest {folder.place}"
        )
    if found.best is None:
        raise SweepError(f"no run of {found.folder.place} gave a finite {found.objective.metric}")
    run = _best_run(found, found.best)
    sweep = load_sweep(folder.retests)
    trained = TrainedTrial.of(sweep, sweep.trials[run.trial])
    if trained.checkpoint is None:
        raise SweepError(
            f"run {run.trial} of {found.folder.place} left no checkpoint: there is no model to "
            f"export. Pass one to sweeps.report(..., checkpoint=folder)"
        )
    record = replace(sweep.record, name=f"{folder.name}/{sweep.record.name}")
    return replace(
        trained,
        sweep=replace(sweep, folder=folder, record=record),
        chosen=_chosen(found, found.best, run),
    )


def _best_run(found: Retest, of: Configuration) -> Run:
    runs = [run for run in of.runs if run.value is not None]
    return min(runs, key=lambda run: (found.objective.loss(run.value or 0.0), run.trial))


def _chosen(found: Retest, of: Configuration, run: Run) -> str:
    metric, count = found.objective.metric, len(of.values)
    over = "of one seed" if count == 1 else f"over {count} seeds"
    interval = ""
    if of.interval is not None:
        low, high = map(render.number, of.interval)
        interval = f" ({LEVEL:.0%} {low} to {high})"
    return (
        f"The configuration is that of trial {of.trial} of the sweep: retested, it has the best "
        f"mean of {len(found.configurations)}, {metric} {render.number(of.mean)} {over}{interval}. "
        f"The model is the best of its runs, with {metric} {render.number(run.value)}, which "
        f"flatters it."
    )
