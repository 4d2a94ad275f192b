"""The trackers by name; the module of each, and its library, is imported when it is asked for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sweeps.secrets import masked
from sweeps.storage.folder import SweepFolder
from sweeps.tracking.task import Task
from sweeps.tracking.tracker import Tracker


def make_tracker(task: Task, folder: SweepFolder) -> Tracker:
    """The tracker of a task.

    Args:
        task: Which, with its options.
        folder: The sweep's; files go there where the options name no other place.
    """
    return _MAKERS[task.name](task, folder)


def _tensorboard(task: Task, folder: SweepFolder) -> Tracker:
    from sweeps.tracking.to_tensorboard import TensorBoard

    return TensorBoard(_event_files(task.options, folder))


def _mlflow(task: Task, folder: SweepFolder) -> Tracker:
    from sweeps.tracking.to_mlflow import Mlflow

    return Mlflow(**task.options)


def _wandb(task: Task, folder: SweepFolder) -> Tracker:
    from sweeps.tracking.to_wandb import Wandb

    return Wandb(**{**task.options, "dir": _wandb_files(task.options, folder)})


def describe(task: Task, folder: SweepFolder) -> str:
    """Where a user finds it."""
    options = task.options
    match task.name:
        case "tensorboard":
            return f"tensorboard --logdir {_event_files(options, folder)}"
        case "mlflow":
            said = options["tracking_uri"] or os.environ.get("MLFLOW_TRACKING_URI")
            return f"mlflow, {masked(f'uri={said}')[4:] if said else 'where it keeps runs itself'}"
        case _:
            mode = options["mode"] or os.environ.get("WANDB_MODE", "online")
            synced = f"wandb sync {_wandb_files(options, folder)}/wandb/offline-run-*"
            return f"wandb, {mode}" + (f": {synced}" if mode == "offline" else "")


def _event_files(options: Mapping[str, Any], folder: SweepFolder) -> Path:
    place = options["folder"]
    return Path(place).expanduser() / folder.name if place else folder.tracking("tensorboard")


def _wandb_files(options: Mapping[str, Any], folder: SweepFolder) -> Path:
    return Path(options["dir"]).expanduser() if options["dir"] else folder.tracking("")


_MAKERS = {"tensorboard": _tensorboard, "mlflow": _mlflow, "wandb": _wandb}
