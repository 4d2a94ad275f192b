"""Lightning's Trainers in a trial: they report what they validate, and go on where it was paused.

A callback is added to each Trainer that a trial makes, through Lightning's own entry points (see
`hydra_plugins.ray_tune_sweeper._lightning`). The first Trainer of a segment that begins to train is
the one that it follows.

Epochs are counted, from 1: a report follows each epoch in which the Trainer validated. A Trainer
that has `max_steps` and no `max_epochs` counts optimizer steps instead, and a report follows each
validation. A report is made once the other callbacks and the learning rate's schedule have taken
the epoch in, at the next hook: what is saved there lacks nothing of it, and the trial goes on as
if it had never been paused, its random generators included.
"""

from __future__ import annotations

import importlib
import inspect
import logging
import shutil
from contextlib import suppress
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any
from weakref import WeakSet

from sweeps import session
from sweeps.errors import ConfigError, SweepError
from sweeps.integrations.generators import generators_state, restore_generators

log = logging.getLogger(__name__)

FILE = "lightning.ckpt"
"""Of a checkpoint's folder, what `Trainer.save_checkpoint` writes."""

_OURS = "caviar"
"""What the callback adds to it: the step, and the state of the random generators."""

_HYPER_PARAMETERS = {
    f"{whose}{what}"
    for whose in ("", "datamodule_")
    for what in ("hyper_parameters", "hparams_type")
}
"""Nothing that goes on needs them, and torch loads objects such as a partial optimizer only with
pickle: then they are left out."""

_waiting: WeakSet[Any] = WeakSet()
"""The Trainers that would go on from the segment's checkpoint: the first that trains does."""


def callbacks(package: str) -> list[Any]:
    """What a Trainer that is being made in a trial gets.

    Args:
        package: Whose it is: `lightning.pytorch` or `pytorch_lightning`.

    Raises:
        ConfigError: The Trainer is for more processes than the trial has, or for fewer.
    """
    here = session.current()
    assert here is not None, "asked for in a trial"
    trainer = _being_made(importlib.import_module(package).Trainer)
    _check_processes(trainer)
    if trainer.progress_bar_callback is not None:
        with suppress(NotImplementedError):  # a bar of the app's own may have no such switch
            trainer.progress_bar_callback.disable()  # nobody watches, and it would fill the log
    if here.reporter is None and (file := _left_by(here)) is not None:
        trainer.ckpt_path = str(file)
        _waiting.add(trainer)
    return [_callback_class(package)(here)]


def _being_made(kind: type) -> Any:
    """The Trainer that asks: Lightning calls out of its constructor, and does not pass it on."""
    frame = inspect.currentframe()
    while frame is not None and not isinstance(frame.f_locals.get("self"), kind):
        frame = frame.f_back
    if frame is None:
        raise SweepError(f"{kind.__module__}.Trainer asks for callbacks outside its constructor")
    return frame.f_locals["self"]


def _check_processes(trainer: Any) -> None:
    """See that the Trainer will use the processes that there are, and start none."""
    import torch.distributed as dist

    size = dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
    launcher, wanted = trainer.strategy.launcher, trainer.num_devices * trainer.num_nodes
    if launcher is not None and not hasattr(launcher, "cluster_environment"):
        name = type(trainer.strategy).__name__
        raise ConfigError(f"the Trainer's {name} starts processes by itself: take strategy=ddp")
    if wanted == size:
        return
    shape = f"devices={trainer.num_devices}, num_nodes={trainer.num_nodes}"
    if size == 1:
        raise ConfigError(
            f"the Trainer is for {wanted} processes ({shape}), and the trial has one: set devices "
            f"to 1, or give each trial more with hydra.sweeper.resources.workers={wanted}"
        )
    raise ConfigError(
        f"the trial has {size} ranks (hydra.sweeper.resources.workers), and the Trainer is for "
        f"{wanted} ({shape}): set its strategy to ddp, and devices so that devices times num_nodes "
        f"is {size}"
    )


def _left_by(here: session.Session) -> Path | None:
    """What an earlier segment of the trial saved."""
    file = here.checkpoint / FILE if here.checkpoint is not None else None
    return file if file is not None and file.is_file() else None


@cache
def _callback_class(package: str) -> Any:
    return type("SweepCallback", (_Follows, importlib.import_module(package).Callback), {})


class _Follows:
    """Reports, saves and restores; mixed into the `Callback` of the package in use."""

    def __init__(self, here: session.Session) -> None:
        self._session = here
        self._follows = False
        self._restored: int | None = None
        """The step of the checkpoint of ours that was loaded."""
        self._reported = here.step
        self._validated = False
        self._step: int | None = None
        """To report at the next hook."""
        self._progress: Any = None
        """The loops' state when it was reached: where Lightning itself saves, and can go on."""
        self._saving = False
        self._holds_objects = False
        """Whether its checkpoints do, that torch would have to unpickle: then none is written."""

    # Hooks, in the order in which a Trainer calls them

    def on_load_checkpoint(self, trainer: Any, module: Any, checkpoint: dict[str, Any]) -> None:
        """Put the random generators back as they were."""
        ours = checkpoint.get(_OURS)
        if ours is not None and trainer.state.fn == "fit":
            self._restored = ours["step"]
            restore_generators(ours["generators"])

    def on_train_start(self, trainer: Any, module: Any) -> None:
        """Begin to follow, unless another Trainer is followed."""
        here = self._session
        if here is not session.current() or here.reporter not in (None, trainer):
            self._follows = False
            log.info("the sweep follows the first Trainer of a trial that trains: not this one")
        elif here.reporter is None:
            here.reporter, self._follows = trainer, True
            for each in list(_waiting):
                each.ckpt_path = None  # else it would be loaded by a later fit or test as well
            _waiting.clear()
            self._check_restored()

    def on_validation_end(self, trainer: Any, module: Any) -> None:
        """Note that there is something to report: now, or at the end of the epoch."""
        if self._follows and trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._validated = not _counts_steps(trainer)
            if not self._validated:
                self._note(trainer, trainer.global_step)

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        """Note an epoch that has been validated, or any where there is no validation."""
        if self._follows and (self._validated or not trainer.enable_validation):
            steps = _counts_steps(trainer)
            self._note(trainer, trainer.global_step if steps else trainer.current_epoch + 1)
            self._validated = False
            if trainer.max_steps != -1:
                _end_epoch(self._progress, validates=trainer.enable_validation)

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        """Report what was validated within an epoch."""
        self._report(trainer)

    def on_train_epoch_start(self, trainer: Any, module: Any) -> None:
        """Report the epoch before."""
        self._report(trainer)

    def on_train_end(self, trainer: Any, module: Any) -> None:
        """Report the last epoch."""
        self._report(trainer)

    def on_save_checkpoint(self, trainer: Any, module: Any, checkpoint: dict[str, Any]) -> None:
        """Make a checkpoint of the sweep's one to go on from; the app's own stay as they are."""
        if not self._saving:
            return
        checkpoint["loops"]["fit_loop"] = self._progress
        checkpoint[_OURS] = {"step": self._step, "generators": generators_state()}
        for key in _HYPER_PARAMETERS & checkpoint.keys():
            if not _is_plain(checkpoint[key]):
                del checkpoint[key]

    # What they do

    def _check_restored(self) -> None:
        file = _left_by(self._session)
        if file is not None and self._restored != int(file.parent.name):
            raise SweepError(
                f"the trial goes on from {file}, and its Trainer did not: pass no ckpt_path of "
                "your own to fit where sweeps.get_checkpoint() gives one"
            )

    def _note(self, trainer: Any, step: int) -> None:
        self._step = step
        self._progress = deepcopy(trainer.fit_loop.state_dict())

    def _report(self, trainer: Any) -> None:
        if self._step is None or not self._follows:
            return
        if self._session.step != self._reported:
            self._follows = False
            log.info("the app reports by itself: what its Trainer validates is not reported")
            return
        if self._step > self._reported:  # several validations may lie within an optimizer step
            self._reported = self._step
            due = not self._holds_objects and session.wants_checkpoint(self._step)
            folder = self._save(trainer) if trainer.strategy.broadcast(due) else None
            metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
            log.info("step %d  %s", self._step, session.shown(metrics))
            step, self._step = self._step, None
            session.report(metrics, step=step, checkpoint=folder)
        self._step = None

    def _save(self, trainer: Any) -> Path | None:
        """Write the sweep's checkpoint, as every rank has to; None if none can go on from it."""
        folder = self._session.checkpoint_folder(self._reported)
        if self._session.rank == 0:
            shutil.rmtree(folder, ignore_errors=True)
        self._saving = True
        try:
            trainer.save_checkpoint(folder / FILE, weights_only=False)
        finally:
            self._saving = False
        return None if self._session.rank or not self._can_be_loaded(folder) else folder

    def _can_be_loaded(self, folder: Path) -> bool:
        """Whether torch loads it without unpickling whatever it holds, as Lightning will."""
        from torch.serialization import get_unsafe_globals_in_checkpoint

        objects = get_unsafe_globals_in_checkpoint(folder / FILE)
        if objects:
            self._holds_objects = True
            shutil.rmtree(folder)
            log.warning(
                "the trial is not paused, for it could not go on: its checkpoint holds %s; "
                "torch.serialization.add_safe_globals in the app allows them",
                ", ".join(sorted(objects)),
            )
        return not objects


def _counts_steps(trainer: Any) -> bool:
    return bool(trainer.max_epochs == -1 and trainer.max_steps != -1)


def _end_epoch(progress: dict[str, Any], *, validates: bool) -> None:
    """Let the loops' state say that the epoch is over.

    With `max_steps` Lightning takes each state for one within an epoch, and would count this epoch
    twice. It goes on with a round in which nothing but its logged step grows.
    """
    for count in ("current", "total"):
        progress["epoch_progress"][count]["completed"] += 1
    batches = progress["epoch_loop.batch_progress"]
    batches["current"] = dict.fromkeys(batches["current"], 0)
    batches["is_last_batch"] = False
    progress["epoch_loop.state_dict"]["_batches_that_stepped"] -= validates


def _is_plain(value: Any) -> bool:
    """Whether it is made of numbers, text and tensors: torch loads nothing else without pickle."""
    import torch

    if isinstance(value, dict):
        return all(_is_plain(each) for pair in value.items() for each in pair)
    if isinstance(value, (list, tuple, set)):
        return all(map(_is_plain, value))
    return value is None or type(value) in (bool, int, float, complex, str, bytes, torch.Tensor)
