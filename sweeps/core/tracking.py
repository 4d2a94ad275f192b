"""`hydra.sweeper.tracking` as checked options: which trackers, and where each finds its server.

tracking=tensorboard
tracking=[mlflow,wandb]
tracking={mlflow: {tracking_uri: http://host:5000}, tensorboard: {folder: /data/runs}}
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from cluster.typed import typed
from sweeps.errors import ConfigError, did_you_mean
from sweeps.secrets import is_secret

_KEY = "hydra.sweeper.tracking"


@dataclass(frozen=True, kw_only=True)
class TensorboardOptions:
    """Of TensorBoard."""

    folder: str | None = None
    """Where event files go, one folder a trial; within the sweep's where it is not set."""


@dataclass(frozen=True, kw_only=True)
class MlflowOptions:
    """Of MLflow; what is not set it takes from its own environment variables."""

    tracking_uri: str | None = None
    experiment_name: str | None = None
    """The app's name where it is not set."""


@dataclass(frozen=True, kw_only=True)
class WandbOptions:
    """Of Weights & Biases; its key comes from its own environment variable or `wandb login`."""

    project: str | None = None
    """The app's name where it is not set."""
    entity: str | None = None
    mode: str | None = None
    """online or offline."""
    dir: str | None = None
    """Where it keeps its files; within the sweep's folder where it is not set."""
    tags: list[str] = field(default_factory=list)


_OPTIONS: Mapping[str, type] = {
    "tensorboard": TensorboardOptions,
    "mlflow": MlflowOptions,
    "wandb": WandbOptions,
}
_ELSEWHERE = {
    "mlflow": "MLflow takes its credentials from MLFLOW_TRACKING_USERNAME and "
    "MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN",
    "wandb": "W&B takes its key from WANDB_API_KEY, or from `wandb login`",
}
_MODES = ("online", "offline")
_CHOICES = "tensorboard, mlflow or wandb, a list of them, or a mapping of them to their options"


@dataclass(frozen=True, kw_only=True)
class Tracking:
    """A tracker that is asked for."""

    name: str
    options: Mapping[str, Any]
    """All that it has."""

    @property
    def destination(self) -> str:
        """A short name of where it goes: what is known of one place says nothing of another."""
        where = {key: value for key, value in self.options.items() if key not in ("mode", "tags")}
        if self.name == "mlflow" and where["tracking_uri"] is None:
            where["tracking_uri"] = os.environ.get("MLFLOW_TRACKING_URI")
        return hashlib.sha256(json.dumps(where, sort_keys=True).encode()).hexdigest()[:8]

    @property
    def lacks_folder(self) -> str | None:
        """The option that must name a folder where the sweep's own is in a bucket."""
        if self.name == "tensorboard" and self.options["folder"] is None:
            return "folder"
        mode = self.options.get("mode") or os.environ.get("WANDB_MODE")
        return "dir" if mode == "offline" and self.options["dir"] is None else None


def parse_tracking(given: Any) -> tuple[Tracking, ...]:
    """Check which trackers are asked for, and their options.

    Raises:
        ConfigError: There is no such tracker or option, or a value is none that it takes.
    """
    named = _named(given)
    return tuple(
        Tracking(name=name, options=_checked(name, options)) for name, options in named.items()
    )


def check_installed(trackings: Iterable[Tracking]) -> None:
    """See that the trackers' libraries are there, without importing one.

    Raises:
        ConfigError: One is not.
    """
    for tracking in trackings:
        spec = importlib.util.find_spec(tracking.name)
        if spec is None or spec.origin is None:  # a folder of that name has no origin
            raise ConfigError(
                f"{_KEY} names {tracking.name}, which is not installed: "
                f"pip install 'caviar[{tracking.name}]'"
            )


def check_folders(trackings: Iterable[Tracking], *, in_bucket: bool) -> None:
    """See that trackers that write files have a folder to write them in.

    Raises:
        ConfigError: One has not, since the sweep is in a bucket.
    """
    for tracking in trackings:
        if in_bucket and (key := tracking.lacks_folder):
            raise ConfigError(
                f"{_KEY}.{tracking.name}.{key} is not set, and the sweep is in a bucket, where "
                f"{tracking.name} cannot write: name a local or shared folder"
            )


def _named(given: Any) -> dict[str, Any]:
    """By tracker: its options as they are given."""
    if given is None:
        return {}
    if isinstance(given, Mapping):
        named = dict(given)
    else:
        named = {}
        for item in given if isinstance(given, list) else [given]:
            named.update(item if isinstance(item, Mapping) else {item: None})
    for name in named:
        if name not in _OPTIONS:
            raise ConfigError(
                f"{_KEY} is {name!r}; choose {_CHOICES}{did_you_mean(str(name), _OPTIONS)}"
            )
    return named


def _checked(name: str, given: Any) -> dict[str, Any]:
    key = f"{_KEY}.{name}"
    if given is not None and not isinstance(given, Mapping):
        raise ConfigError(f"{key} is {given!r}; it must be a mapping of options")
    for option in given or {}:
        if is_secret(str(option)) and name in _ELSEWHERE:
            raise ConfigError(f"{key}.{option} is not an option: {_ELSEWHERE[name]}")
    schema = _OPTIONS[name]
    options = typed({**asdict(schema()), **(given or {})}, schema, key=key)
    mode = options.get("mode")
    if mode is not None and mode not in _MODES:
        raise ConfigError(f"{key}.mode is {mode!r}; choose {' or '.join(_MODES)}")
    return options
