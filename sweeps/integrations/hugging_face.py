"""The Hugging Face Trainer in a trial: its evaluations are reports, its checkpoints the trial's.

The Trainer writes a checkpoint itself, where a callback asks it to: model, optimizer, learning rate
schedule, random generators, its own state and that of other callbacks, in each of several ranks. So
it is whole whatever the Trainer is a subclass of, and `Trainer.train` goes on from it exactly.
"""

from __future__ import annotations

import logging
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sweeps import session

try:
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
except ImportError as error:
    raise ImportError(
        "sweeps.integrations.hugging_face needs transformers and accelerate: "
        "pip install 'caviar[huggingface]'"
    ) from error

log = logging.getLogger(__name__)

_ADDED = ("_runtime", "_per_second", "_preparation_time", "epoch")
"""How the names end of what the Trainer adds to an evaluation's metrics: no result, or the step."""


class SweepCallback(TrainerCallback):
    """Reports what `transformers.Trainer` evaluates while it trains; nothing outside a sweep.

    ```python
    trainer = Trainer(..., callbacks=[SweepCallback()])
    trainer.train(resume_from_checkpoint=sweeps.get_checkpoint())
    ```

    A report's step is the epoch where `eval_strategy` is `epoch`, and the `global_step` otherwise.
    Its metrics are the evaluation's numbers under the Trainer's names (`eval_loss`), all data sets'
    in one report, without how long they took.
    """

    def __init__(self) -> None:
        self._metrics: dict[str, float] | None = None
        """Of an evaluation that is to be reported; None where nothing trains."""
        self._reported = 0
        self._save: _Save | None = None
        self._said_best = False

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """See that the trial goes on from where it was.

        Raises:
            RuntimeError: It begins anew.
        """
        self._metrics = None
        if not session.in_sweep():
            return
        if session.get_checkpoint() is not None and not state.global_step:
            raise RuntimeError(
                "this trial goes on from a checkpoint, but Trainer.train began anew: call "
                "trainer.train(resume_from_checkpoint=sweeps.get_checkpoint())"
            )
        self._metrics, self._save, self._reported = {}, None, _step(args, state)

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """Remember the metrics, and ask for a checkpoint where one is due.

        The report waits for it, and for the evaluation's other data sets.
        """
        step = _step(args, state)
        if self._metrics is None or step <= self._reported:
            return
        if not self._metrics and _agreed(session.wants_checkpoint(step)):
            self._save = _Save(step, args, state, control)
        self._metrics |= {
            name: float(value)
            for name, value in given["metrics"].items()
            if isinstance(value, int | float) and not name.endswith(_ADDED)
        }

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Report with the checkpoint that is there now."""
        checkpoint = self._save.taken(args, state) if self._save is not None else None
        self._save = None
        self._report(args, state, checkpoint)

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Report an evaluation that no checkpoint followed."""
        self._report(args, state)

    on_epoch_begin = on_step_begin
    on_epoch_end = on_step_begin

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Report the last evaluation; later ones are the app's own."""
        self._report(args, state)
        self._metrics = None

    def _report(
        self, args: TrainingArguments, state: TrainerState, checkpoint: Path | None = None
    ) -> None:
        if not self._metrics:
            return
        if self._save is not None:
            self._save.given_up(args)
            self._save = None
            self._say_best()
        metrics, self._metrics = self._metrics, {}
        self._reported = _step(args, state)
        session.report(metrics, step=self._reported, checkpoint=checkpoint)

    def _say_best(self) -> None:
        if not self._said_best:
            log.warning(
                "save_strategy 'best' writes no checkpoint where an evaluation is not the best: "
                "the sweep cannot pause the trial there; 'no', 'steps' or 'epoch' lets it"
            )
        self._said_best = True


class _Save:
    """A checkpoint that the Trainer was asked to write.

    Where it would have written one anyway, that one is copied, and stays where the app wants it.
    Any other goes straight into the trial's folder, and nowhere else: not to the hub, and no
    checkpoint of the app's own is deleted for it. The arguments are left out: a pickle that nothing
    goes on from, with the hub's token in it.
    """

    def __init__(
        self, step: int, args: TrainingArguments, state: TrainerState, control: TrainerControl
    ) -> None:
        place = session.checkpoint_folder(step)
        assert place is not None, "asked in a trial alone"
        self._place = place
        self._is_ours = not control.should_save and args.save_strategy != "best"
        self._best = state.best_model_checkpoint
        changes: dict[str, Any] = {"save_only_model": False}
        if self._is_ours:
            folder = str(place.with_name(f"{place.name}.partial"))
            changes |= {"output_dir": folder, "save_total_limit": None, "push_to_hub": False}
        self._kept = {name: getattr(args, name) for name in changes}
        _set(args, changes)
        control.should_save = True

    def taken(self, args: TrainingArguments, state: TrainerState) -> Path:
        """The checkpoint, which every rank has written its part of."""
        written = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
        self.given_up(args)
        _meet()
        if self._is_ours:
            state.best_model_checkpoint = self._best
        if session.rank() == 0:
            self._place_here(written)
        return self._place

    def _place_here(self, written: Path) -> None:
        shutil.rmtree(self._place, ignore_errors=True)
        if self._is_ours:
            written.rename(self._place)
            shutil.rmtree(written.parent)
        else:
            shutil.copytree(written, self._place)
        (self._place / "training_args.bin").unlink(missing_ok=True)

    def given_up(self, args: TrainingArguments) -> None:
        """Put the arguments back as they were."""
        _set(args, self._kept)


def _set(args: TrainingArguments, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        setattr(args, name, value)


def _step(args: TrainingArguments, state: TrainerState) -> int:
    """How far the training is; a last epoch that `max_steps` cuts short counts as one."""
    return math.ceil(state.epoch or 0) if args.eval_strategy == "epoch" else state.global_step


def _agreed(due: bool) -> bool:
    """What rank 0 thinks, whose clock it is; a checkpoint is written by all or none."""
    import torch
    import torch.distributed as dist

    if not (dist.is_available() and dist.is_initialized()):
        return due
    said = torch.tensor(int(due))
    dist.broadcast(said, src=0)
    return bool(said)


def _meet() -> None:
    """Wait for the other ranks."""
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized():
        dist.barrier()
