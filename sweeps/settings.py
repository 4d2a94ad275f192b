"""`hydra.sweeper` as checked settings."""

from __future__ import annotations

import math
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeps.errors import ConfigError
from sweeps.objective import Objective

DEFAULT_NUM_SAMPLES = 20

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
    max_failure_rate: float
    max_losses: int
    max_retries: int
    retry_backoff_s: float
    trial_time_limit_s: float | None
    keep_checkpoints: int
    name: str | None
    storage_path: Path
    resources: str | Mapping[str, float]
    teardown_timeout_s: float
    export: bool
    dry_run: bool
    resume: bool

    @classmethod
    def parse(cls, options: Mapping[str, Any]) -> Settings:
        """Check the options.

        Raises:
            ConfigError: A value out of its rule; the key, the value and the rule are named.
        """
        _refuse_retired(options)
        _refuse_missing(options)
        return cls(
            objective=_objective(options),
            searcher=dict(options["searcher"]),
            scheduler=dict(options["scheduler"]),
            seed=secrets.randbelow(2**31) if options["seed"] is None else int(options["seed"]),
            num_samples=_at_least(options, "num_samples", 1),
            max_concurrent_trials=_at_least(options, "max_concurrent_trials", 1),
            time_budget_s=_at_least(options, "time_budget_s", 0),
            max_failure_rate=_rate(options, "max_failure_rate"),
            max_losses=_at_least(options, "max_losses", 0),
            max_retries=_at_least(options, "max_retries", 0),
            retry_backoff_s=_seconds(options, "retry_backoff_s"),
            trial_time_limit_s=_time_limit(options, "trial_time_limit_s"),
            keep_checkpoints=_at_least(options, "keep_checkpoints", 1),
            name=_name(options["name"]),
            storage_path=_storage(options["storage_path"]),
            resources=_resources(options["resources"]),
            teardown_timeout_s=_at_least(options, "teardown_timeout_s", 0),
            export=bool(options["export"]),
            dry_run=bool(options["dry_run"]),
            resume=bool(options["resume"]),
        )


def _refuse_retired(options: Mapping[str, Any]) -> None:
    for key, ours in _RETIRED.items():
        if options.get(key) is not None:
            raise ConfigError(
                f"hydra.sweeper.{key} is a key of hydra-optuna-sweeper; caviar's is "
                f"hydra.sweeper.{ours}"
            )


def _refuse_missing(options: Mapping[str, Any]) -> None:
    for part in ("searcher", "scheduler"):
        for key, value in options[part].items():
            if value == "???":
                raise ConfigError(
                    f"hydra.sweeper.{part}.{key} is not set, and {options[part]['name']} needs it"
                )


def _objective(options: Mapping[str, Any]) -> Objective:
    metric, mode = options["metric"], options["mode"]
    if metric is not None and mode is None:
        raise ConfigError(
            f"hydra.sweeper.metric is {metric!r} and hydra.sweeper.mode is not set: say min or max"
        )
    try:
        return Objective(
            metric=metric or "objective", mode=mode or "min", at=options["objective_at"]
        )
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _at_least(options: Mapping[str, Any], key: str, least: float) -> Any:
    value = options[key]
    if value is not None and value < least:
        raise ConfigError(f"hydra.sweeper.{key} is {value}; it must be {least} or more")
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


def _storage(path: str) -> Path:
    if "://" in str(path):
        raise ConfigError(
            f"hydra.sweeper.storage_path is {path!r}; it must be a folder of a local or shared "
            f"file system"
        )
    return Path(path).expanduser().resolve()


def _resources(given: Any) -> str | Mapping[str, float]:
    rule = "auto, or a mapping of cpus and gpus such as {cpus: 1, gpus: 0.25}"
    if given == "auto":
        return "auto"
    if not isinstance(given, Mapping) or not set(given) <= {"cpus", "gpus"}:
        raise ConfigError(f"hydra.sweeper.resources is {given!r}; it must be {rule}")
    for key, value in given.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
            raise ConfigError(f"hydra.sweeper.resources.{key} is {value!r}; it must be {rule}")
    return {"cpus": 1, "gpus": 0, **given}
