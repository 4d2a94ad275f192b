"""`hydra.sweeper` as checked settings."""

from __future__ import annotations

import math
import os
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from cluster.bucket import Bucket, is_url
from sweeps.core.budget import Budget
from sweeps.core.fidelity import Fidelity
from sweeps.core.notification import Notification, parse_notification
from sweeps.core.tracking import Tracking, parse_tracking
from sweeps.errors import ConfigError, did_you_mean
from sweeps.journal.objective import Objective
from sweeps.journal.pareto import Scalarization

_RETIRED = {
    "n_trials": "num_samples",
    "n_jobs": "max_concurrent_trials",
    "direction": "mode (min or max)",
    "sampler": "searcher (hydra/sweeper/searcher=...)",
    "study_name": "name",
    "storage": "storage_path",
    "search_space": "params",
}
"""Keys of hydra-optuna-sweeper, and ours."""

_KEY = re.compile(r"(\+\+?)?\w[\w-]*(\.\w[\w-]*)*")
"""A key of an app's config as an override names it."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything under `hydra.sweeper` but the space."""

    objective: Objective
    searcher: Mapping[str, Any]
    scheduler: Mapping[str, Any]
    seed: int
    num_samples: int | None
    max_concurrent_trials: int | None
    time_budget_s: float | None
    budget: Budget
    fidelity: Fidelity | None
    repeats: int
    repeats_key: str | None
    scalarization: Scalarization
    initial: Sequence[Mapping[str, Any]]
    warm_start: Sequence[str]
    max_failure_rate: float
    max_losses: int
    max_retries: int
    retry_backoff_s: float
    trial_time_limit_s: float | None
    keep_checkpoints: int
    checkpoint_key: str | None
    """The key of the app's config that takes the checkpoint to go on from."""
    name: str | None
    storage_path: Path | Bucket
    resources: str | Mapping[str, float]
    teardown_timeout_s: float
    tracking: Sequence[Tracking]
    notification: Notification | None
    export: bool
    dry_run: bool
    resume: bool | Literal["auto"]
    """auto: where there is a sweep of that name; `make_plan` settles it."""

    @property
    def objective_of_a_segment(self) -> Objective:
        """By which a segment's best report is chosen."""
        return self.objective if self.fidelity is None else replace(self.objective, at="best")

    @classmethod
    def parse(cls, options: Mapping[str, Any]) -> Settings:
        """Check the options.

        Raises:
            ConfigError: A value out of its rule; the key, the value and the rule are named.
        """
        objective, fidelity = _objective(options), _fidelity(options)
        if fidelity is not None:
            objective = replace(objective, at="last")
        scheduler = _scheduler(options["scheduler"], fidelity)
        _refuse_missing("searcher", options["searcher"])
        _refuse_missing("scheduler", scheduler)
        repeats = _repeats(options)
        return cls(
            objective=objective,
            searcher=dict(options["searcher"]),
            scheduler=scheduler,
            seed=secrets.randbelow(2**31) if options["seed"] is None else _seed(options),
            num_samples=_at_least(options, "num_samples", 1),
            max_concurrent_trials=_at_least(options, "max_concurrent_trials", 1),
            time_budget_s=_time_limit(options, "time_budget_s"),
            budget=replace(_budget(options, objective), repeats=repeats),
            fidelity=fidelity,
            repeats=repeats,
            repeats_key=options["repeats_key"],
            scalarization=_scalarization(options["scalarization"], objective),
            initial=_points(options["initial"]),
            warm_start=tuple(options["warm_start"]),
            max_failure_rate=_rate(options, "max_failure_rate"),
            max_losses=_at_least(options, "max_losses", 0),
            max_retries=_at_least(options, "max_retries", 0),
            retry_backoff_s=_seconds(options, "retry_backoff_s"),
            trial_time_limit_s=_time_limit(options, "trial_time_limit_s"),
            keep_checkpoints=_at_least(options, "keep_checkpoints", 1),
            checkpoint_key=_checkpoint_key(options["checkpoint_key"]),
            name=_name(options["name"]),
            storage_path=_storage(options["storage_path"]),
            resources=_resources(options["resources"]),
            teardown_timeout_s=_at_least(options, "teardown_timeout_s", 0),
            tracking=parse_tracking(options["tracking"]),
            notification=parse_notification(options["notify"]),
            export=bool(options["export"]),
            dry_run=bool(options["dry_run"]),
            resume=_resume(options),
        )


def refuse_retired(options: Mapping[str, Any]) -> None:
    """Answer a key of hydra-optuna-sweeper with ours.

    Raises:
        ConfigError: There is one.
    """
    for key, ours in _RETIRED.items():
        if key in options:
            raise ConfigError(
                f"hydra.sweeper.{key} is a key of hydra-optuna-sweeper; caviar's is "
                f"hydra.sweeper.{ours}"
            )


def _refuse_missing(part: str, options: Mapping[str, Any]) -> None:
    for key, value in options.items():
        if value == "???":
            raise ConfigError(
                f"hydra.sweeper.{part}.{key} is not set, and {options['name']} needs it"
            )


def _objective(options: Mapping[str, Any]) -> Objective:
    metric, mode = options["metric"], options["mode"]
    if metric is not None and mode is None:
        raise ConfigError(
            f"hydra.sweeper.metric is {metric!r} and hydra.sweeper.mode is not set: say min or max"
        )
    metrics, modes = _listed(metric, "objective"), _listed(mode, "min")
    if len(metrics) != len(modes):
        raise ConfigError(
            f"hydra.sweeper.metric is {metric!r} and hydra.sweeper.mode is {mode!r}: say min or "
            f"max for each metric"
        )
    if not all(isinstance(name, str) and name for name in metrics):
        raise ConfigError(
            f"hydra.sweeper.metric is {metric!r}; it must be a name, or a list of names"
        )
    if len(set(metrics)) < len(metrics):
        raise ConfigError(f"hydra.sweeper.metric is {metric!r}: each metric may be there once")
    try:
        first, *others = (
            Objective(metric=name, mode=way, at=options["objective_at"])
            for name, way in zip(metrics, modes, strict=True)
        )
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return replace(first, others=tuple(others))


def _seed(options: Mapping[str, Any]) -> int:
    return int(_at_least(options, "seed", 0))


def _listed(given: Any, default: str) -> list[Any]:
    if given is None:
        return [default]
    return given if isinstance(given, list) and given else [given]


def _fidelity(options: Mapping[str, Any]) -> Fidelity | None:
    given = options["fidelity"]
    if given is None:
        return None
    rule = "a mapping of name, min and max such as {name: data.fraction, min: 0.1, max: 1}"
    _check_mapping("fidelity", given, ("name", "min", "max"), rule, every=True)
    for key in ("min", "max"):
        if isinstance(given[key], bool) or not isinstance(given[key], int | float):
            raise ConfigError(
                f"hydra.sweeper.fidelity.{key} is {given[key]!r}; it must be a number"
            )
    try:
        return Fidelity(
            name=str(given["name"]),
            min=given["min"],
            max=given["max"],
            reduction_factor=options["scheduler"].get("reduction_factor", 3),
        )
    except ValueError as error:
        raise ConfigError(f"hydra.sweeper.fidelity: {error}") from error


def _repeats(options: Mapping[str, Any]) -> int:
    repeats = int(_at_least(options, "repeats", 1))
    if options["repeats_key"] is not None and repeats == 1:
        raise ConfigError(
            f"hydra.sweeper.repeats_key is {options['repeats_key']!r} and hydra.sweeper.repeats is "
            f"not set: say how many repeats there are, 2 or more"
        )
    return repeats


def _scheduler(options: Mapping[str, Any], fidelity: Fidelity | None) -> dict[str, Any]:
    """The scheduler's options; where the fidelity is a parameter, it lays the rungs down."""
    scheduler = dict(options)
    if fidelity is None or "max_t" not in scheduler:
        return scheduler
    if scheduler.get("max_t", "???") != "???" or scheduler.get("grace_period", 1) != 1:
        raise ConfigError(
            "hydra.sweeper.scheduler.max_t and grace_period follow from hydra.sweeper.fidelity "
            "where that is set: leave them out"
        )
    return {**scheduler, "max_t": fidelity.max_t}


def _budget(options: Mapping[str, Any], objective: Objective) -> Budget:
    cost = {} if options["cost"] is None else options["cost"]
    stop = {} if options["stop"] is None else options["stop"]
    rule = "a mapping of metric and budget such as {metric: gpu_seconds, budget: 3600}"
    _check_mapping("cost", cost, ("metric", "budget"), rule, every=bool(cost))
    rule = "a mapping of target, patience and tolerance such as {target: 0.99, patience: 20}"
    _check_mapping("stop", stop, ("target", "patience", "tolerance"), rule)
    if "tolerance" in stop and "patience" not in stop:
        raise ConfigError("hydra.sweeper.stop.tolerance needs hydra.sweeper.stop.patience")
    if cost and not isinstance(cost["metric"], str):
        raise ConfigError(f"hydra.sweeper.cost.metric is {cost['metric']!r}; it must be a name")
    if "patience" in stop and isinstance(stop["patience"], float):
        raise ConfigError(
            f"hydra.sweeper.stop.patience is {stop['patience']}; it must be a whole number"
        )
    return Budget(
        total_steps=_at_least(options, "total_steps", 1),
        cost_metric=cost.get("metric"),
        cost=_at_least(cost, "budget", 0, within="cost."),
        target=_at_least(stop, "target", -math.inf, within="stop."),
        patience=_at_least(stop, "patience", 1, within="stop."),
        tolerance=_at_least(stop, "tolerance", 0, within="stop.") or 0.0,
    )


def _scalarization(given: Any, objective: Objective) -> Scalarization:
    rule = "a mapping of name and weights such as {name: chebyshev, weights: {loss: 2, latency: 1}}"
    if given is not None and not objective.others:
        raise ConfigError(
            f"hydra.sweeper.scalarization is {given!r}, and it chooses among several objectives: "
            f"leave it out, or name them as a list in hydra.sweeper.metric"
        )
    given = {"name": given} if isinstance(given, str) else {} if given is None else given
    _check_mapping("scalarization", given, ("name", "weights"), rule)
    try:
        return Scalarization(
            name=given.get("name", "chebyshev"), weights=given.get("weights") or {}
        ).checked(objective)
    except ValueError as error:
        raise ConfigError(f"hydra.sweeper.scalarization: {error}") from error


def _points(given: Any) -> Sequence[Mapping[str, Any]]:
    for point in given:
        if not isinstance(point, Mapping):
            raise ConfigError(
                f"hydra.sweeper.initial holds {point!r}; it must be a list of mappings such as "
                f"[{{optimizer.lr: 0.1}}]"
            )
    return tuple(given)


def _check_mapping(
    key: str, given: Any, known: Sequence[str], rule: str, *, every: bool = False
) -> None:
    if not isinstance(given, Mapping):
        raise ConfigError(f"hydra.sweeper.{key} is {given!r}; it must be {rule}")
    for name in given:
        if name not in known:
            raise ConfigError(
                f"hydra.sweeper.{key}.{name} is not an option; it must be {rule}"
                f"{did_you_mean(str(name), known)}"
            )
    missing = [name for name in known if name not in given]
    if every and missing:
        raise ConfigError(f"hydra.sweeper.{key}.{missing[0]} is not set; it must be {rule}")


def _at_least(options: Mapping[str, Any], key: str, least: float, *, within: str = "") -> Any:
    value = options.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"hydra.sweeper.{within}{key} is {value!r}; it must be a number")
    if not value >= least:
        raise ConfigError(f"hydra.sweeper.{within}{key} is {value}; it must be {least} or more")
    return value


def _seconds(options: Mapping[str, Any], key: str) -> float:
    value = float(options[key])
    if not 0 <= value < math.inf:
        raise ConfigError(
            f"hydra.sweeper.{key} is {value:g}; it must be a number of seconds, 0 or more"
        )
    return value


def _time_limit(options: Mapping[str, Any], key: str) -> float | None:
    if options[key] is None:
        return None
    value = float(options[key])
    if not value > 0:
        raise ConfigError(
            f"hydra.sweeper.{key} is {value:g}; it must be a number of seconds above 0, or null"
        )
    return value


def _rate(options: Mapping[str, Any], key: str) -> float:
    value = float(options[key])
    if not 0 <= value <= 1:
        raise ConfigError(f"hydra.sweeper.{key} is {value:g}; it must be between 0 and 1")
    return value


def _name(name: str | None) -> str | None:
    if name is not None and (not name or os.sep in name or name.startswith(".")):
        raise ConfigError(f"hydra.sweeper.name is {name!r}; it must be a plain folder name")
    return name


def _resume(options: Mapping[str, Any]) -> bool | Literal["auto"]:
    given = options["resume"]
    if given == "auto" and options["name"] is None:
        raise ConfigError(
            "hydra.sweeper.resume is auto, and hydra.sweeper.name is not set: say which sweep"
        )
    if not (isinstance(given, bool) or given == "auto"):
        raise ConfigError(
            f"hydra.sweeper.resume is {given!r}; it must be true, false or auto"
            f"{did_you_mean(str(given).lower(), ['true', 'false', 'auto'])}"
        )
    return True if given is True else "auto" if given == "auto" else False


def _checkpoint_key(key: Any) -> str | None:
    if key is None:
        return None
    if not isinstance(key, str) or not _KEY.fullmatch(key) or key.lstrip("+").startswith("hydra."):
        raise ConfigError(
            f"hydra.sweeper.checkpoint_key is {key!r}; it must be a key of the app's config such "
            f"as ckpt_path, or +ckpt_path to add it"
        )
    return key


def _storage(path: str) -> Path | Bucket:
    if is_url(path):
        return Bucket.parse(path)
    return Path(path).expanduser().resolve()


_RESOURCES = {"cpus_per_worker": "cpus", "gpus_per_worker": "gpus"}
"""Other spellings, and ours."""


def _resources(given: Any) -> str | Mapping[str, float]:
    """What was asked for: of `workers` as of `cpus` and `gpus`, which each of them gets."""
    rule = (
        "auto, or a mapping of cpus and gpus such as {cpus: 1, gpus: 0.25}, for each of the "
        "workers where there are some: {workers: 4, cpus: 1, gpus: 1}"
    )
    if given == "auto":
        return "auto"
    known = ("workers", "cpus", "gpus", *_RESOURCES)
    _check_mapping("resources", given, known, rule)
    for key, ours in _RESOURCES.items():
        if key in given and ours in given:
            raise ConfigError(
                f"hydra.sweeper.resources has {key} and {ours}, which is the same: say one of them"
            )
    for key, value in given.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
            raise ConfigError(f"hydra.sweeper.resources.{key} is {value!r}; it must be {rule}")
    workers = given.get("workers", 1)
    if not isinstance(workers, int) or workers < 1:
        raise ConfigError(
            f"hydra.sweeper.resources.workers is {workers!r}; it must be a whole number, 1 or more"
        )
    return {_RESOURCES.get(str(key), str(key)): value for key, value in given.items()}
