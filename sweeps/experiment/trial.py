"""A trial of a sweep as an experiment file: `write_experiment`."""

from __future__ import annotations

import sys
from contextlib import chdir, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from sweeps import render
from sweeps.errors import ConfigError, SweepError
from sweeps.experiment.command import command_line, config_options
from sweeps.experiment.make import MARK, Experiment, make_experiment
from sweeps.journal.objective import Objective
from sweeps.journal.trials import Trial
from sweeps.planning.app import App, load_app
from sweeps.planning.relocate import Move, find_app
from sweeps.rerun.config import Recorded
from sweeps.results import SweepResults
from sweeps.results.diff import job_with_config
from sweeps.storage.durable import write_whole
from sweeps.storage.folder import SweepFolder

_FILES = ("config.yaml", "hydra.yaml", "overrides.yaml")


@dataclass(frozen=True, kw_only=True)
class Written:
    """An experiment file that was written."""

    file: Path
    trial: Trial
    command: str
    """What runs the app with it."""
    secrets: tuple[str, ...]
    """Keys that are to be given besides."""


def write_experiment(sweep: SweepResults, number: int | None, file: Path) -> Written:
    """Write a trial, by default the best, as an experiment file of its app.

    Raises:
        ConfigError: There is no such trial, or the file could not be one, or is a user's own.
        SweepError: The trial left no config, its app is not here, or the app does not compose the
            file to the trial's config. Nothing was written.
    """
    trial, file = _chosen(sweep, number), file.absolute()
    _refuse_others(file)
    recorded = _recorded(sweep, trial)
    was = App(**sweep.record.app)
    app = find_app(was)
    _load(app)
    search_path = recorded.search_path(Move(old=was.root or "", new=app.root or ""))
    with chdir(app.cwd):
        experiment = make_experiment(recorded, search_path, file, options=config_options(app.argv))
    command = command_line(app, experiment)
    title = title_of(trial, sweep.folder.name, sweep.objective, repeats=sweep.repeats)
    write_text(file, experiment.text(title=title, command=command))
    return Written(file=file, trial=trial, command=command, secrets=experiment.secrets)


def write_best(folder: SweepFolder, experiment: Experiment, *, title: str, command: str) -> None:
    """Write the experiment file beside the best model.

    Raises:
        OSError: The folder does not take it.
        BucketError: Nor does the bucket.
    """
    write_text(folder.best_experiment, experiment.text(title=title, command=command))
    folder.push(folder.best_experiment)


def write_text(file: Path, text: str) -> None:
    """Write a file whole, in a folder that need not be there.

    Raises:
        SweepError: The disk does not take it.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, text)
    except OSError as error:
        raise SweepError(f"{file} cannot be written: {error.strerror}") from error


def title_of(trial: Trial, sweep: str, objective: Objective, *, repeats: int = 1) -> str:
    """Such as `trial 7 of mnist, val_accuracy 0.97 at step 27`."""
    at = f" at step {trial.best.step}" if trial.best is not None else ""
    value = "" if trial.value is None else f", {objective.metric} {render.number(trial.value)}{at}"
    one = f", as the first of its {repeats} repeats" if repeats > 1 else ""
    return f"trial {trial.number} of {sweep}{value}{one}"


def _chosen(sweep: SweepResults, number: int | None) -> Trial:
    if number is None:
        if sweep.best is None:
            raise SweepError(
                f"no trial of {sweep.folder.place} has a value yet; --trial N names one without"
            )
        return sweep.best
    if not 0 <= number < len(sweep.trials):
        there = f"trials 0 to {len(sweep.trials) - 1}" if len(sweep.trials) else "no trials"
        raise ConfigError(f"--trial is {number}; {sweep.folder.name} has {there}")
    return sweep.trials[number]


def _refuse_others(file: Path) -> None:
    """What a user wrote is not overwritten."""
    if file.exists() and (not file.is_file() or MARK not in file.read_text(errors="replace")[:999]):
        raise ConfigError(
            f"--experiment: {file} is there, and was not written by caviar: name another file"
        )


def _recorded(sweep: SweepResults, trial: Trial) -> Recorded:
    job = job_with_config(sweep, trial)
    if job is None:
        raise SweepError(
            f"no config is left of trial {trial.number}: it never began, its folder was deleted, "
            f"or the app keeps none (hydra.output_subdir is null)"
        )
    for name in _FILES:
        sweep.folder.pull(job / ".hydra" / name)
    return Recorded.read(job / ".hydra")


def _load(app: App) -> None:
    """Import the app: it may register configs, and says which version of Hydra it is written for.

    Raises:
        SweepError: It cannot be imported here.
    """
    try:
        with redirect_stdout(sys.stderr):
            load_app(app)
    except Exception as error:
        raise SweepError(
            f"the app cannot be imported here, and may hold configs of its own: "
            f"{type(error).__name__}: {error}"
        ) from error
