"""The trackers by name; the module of each, and its library, is imported when it is asked for."""

from __future__ import annotations

from pathlib import Path

from sweeps.storage.folder import SweepFolder
from sweeps.tracking.task import Task
from sweeps.tracking.tracker import Tracker


def make_tracker(task: Task, folder: SweepFolder, *, again: bool) -> Tracker:
    """The tracker of a task.

    Args:
        task: Which, with its options.
        folder: The sweep's; files go there where the options name no other place.
        again: Whether the sweep was shown there before, as far as is known.
    """
    return _MAKERS[task.name](task, folder, again)


def _tensorboard(task: Task, folder: SweepFolder, again: bool) -> Tracker:
    from sweeps.tracking.to_tensorboard import TensorBoard

    place = task.options["folder"]
    return TensorBoard(Path(place) / folder.name if place else folder.tracking("tensorboard"))


def _mlflow(task: Task, folder: SweepFolder, again: bool) -> Tracker:
    from sweeps.tracking.to_mlflow import Mlflow

    return Mlflow(**task.options, again=again)


def _wandb(task: Task, folder: SweepFolder, again: bool) -> Tracker:
    from sweeps.tracking.to_wandb import Wandb

    place = Path(task.options["dir"] or folder.tracking(""))
    return Wandb(**{**task.options, "dir": place})


_MAKERS = {"tensorboard": _tensorboard, "mlflow": _mlflow, "wandb": _wandb}
