"""Two trials of a sweep: in which keys their configs differ, and what came of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from sweeps import render
from sweeps.errors import ConfigError
from sweeps.journal.trials import Trial
from sweeps.results.compare import ABSENT, Row
from sweeps.results.sweep import SweepResults
from sweeps.secrets import masked
from sweeps.storage.repeated import repeat_folder

_CONFIG = ".hydra/config.yaml"


def diff(sweep: SweepResults, one: int, other: int) -> list[Row]:
    """The keys in which two trials' composed configs differ, and all their metrics.

    Interpolations are compared as they were written. Secrets are masked. A trial whose job left no
    config (it never began, or its folder was deleted) shows its parameters alone.

    Raises:
        ConfigError: There is no such trial.
    """
    trials = [_trial(sweep, one), _trial(sweep, other)]
    configs = [config_of(sweep, trial) for trial in trials]
    if any(config is None for config in configs):
        flat = [sweep.values(trial) for trial in trials]
    else:
        flat = [dict(flat_config(config)) for config in configs]
    keys = dict.fromkeys(key for each in flat for key in each)
    shown = [
        Row(name=key, cells=_told_apart([shown_value(each, key) for each in flat]))
        for key in keys
        if len({_text(each.get(key, _Missing)) for each in flat}) > 1
    ]
    return [*shown, *_outcome(sweep, trials)]


def config_of(sweep: SweepResults, trial: Trial) -> Mapping[str, Any] | None:
    """The composed config of the job that gave a trial's best report; None where it is not there.

    Raises:
        ConfigError: It is damaged.
    """
    job = job_with_config(sweep, trial)
    if job is None:
        return None
    path = job / _CONFIG
    return _read(path, sweep.folder.shown(path))


def job_with_config(sweep: SweepResults, trial: Trial) -> Path | None:
    """The folder of the job that gave a trial's best report, if its config is left."""
    for job in _jobs(sweep, trial):
        for place in (job, repeat_folder(job, 0)):
            sweep.folder.pull(place / _CONFIG)
            if (place / _CONFIG).exists():
                return place
    return None


def _read(path: Path, place: str) -> Mapping[str, Any]:
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ConfigError(f"{place} cannot be read: {error}") from error
    return config if isinstance(config, Mapping) else {}


def _jobs(sweep: SweepResults, trial: Trial) -> Iterator[Path]:
    """Where its config may lie: with its best checkpoint, or by its run, the newest life first."""
    if (name := trial.best_checkpoint or trial.checkpoint) is not None:
        yield sweep.folder.job_of(name)
    best = trial.best
    run = trial.run if best is None else best.run
    rung = best.step if best is not None and best.fidelity is not None else None
    for life in reversed(range(trial.losses + trial.preemptions + 1)):
        yield sweep.folder.job(trial.number, run, rung=rung, life=life)


def _trial(sweep: SweepResults, number: int) -> Trial:
    if not 0 <= number < len(sweep.trials):
        there = f"trials 0 to {len(sweep.trials) - 1}" if len(sweep.trials) else "no trials"
        raise ConfigError(f"--diff names trial {number}; {sweep.folder.name} has {there}")
    return sweep.trials[number]


def flat_config(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of all that is no mapping; a list is one value."""
    if not isinstance(node, Mapping) or (not node and key):
        yield key, node
        return
    for name, child in node.items():
        yield from flat_config(child, f"{key}.{name}" if key else str(name))


class _Missing:
    """What a config does not hold."""


def _text(value: Any) -> str:
    if value is _Missing:
        return ""
    return f"={value if isinstance(value, str) else json.dumps(value, default=str)}"


def shown_value(config: Mapping[str, Any], key: str) -> str:
    """A key's value as a table shows it, a secret masked."""
    if key not in config:
        return ABSENT
    return masked(f"{key}{_text(config[key])}").removeprefix(f"{key}=")


def _told_apart(cells: list[str]) -> tuple[str, ...]:
    """Two values that differ, and look the same once they are masked."""
    return (cells[0], f"{cells[1]} (another)") if cells[0] == cells[1] else tuple(cells)


def _outcome(sweep: SweepResults, trials: list[Trial]) -> Iterator[Row]:
    """Status, value, steps, time, and every metric of the best report and of what was returned."""
    yield _row("status", [sweep.status(trial).value for trial in trials])
    yield _row(sweep.objective.metric, [render.number(trial.value) for trial in trials])
    yield _row("step", [str(trial.step) for trial in trials])
    yield _row("time", [render.duration(trial.seconds) for trial in trials])
    found = [{**t.metrics, **(t.best.metrics if t.best is not None else {})} for t in trials]
    for name in sorted({n for each in found for n in each} - {sweep.objective.metric}):
        yield _row(name, [render.number(each.get(name)) for each in found])


def _row(name: str, cells: list[str]) -> Row:
    return Row(name=f"→ {name}", cells=tuple(cells))
