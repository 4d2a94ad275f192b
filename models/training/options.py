"""What a trainer can be told."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from models.checks import integer, number
from models.choices import miss
from models.layers import CLASS_WEIGHTS
from models.training.evaluation import METRICS

CHOICES: Mapping[str, Sequence[str]] = {
    "monitor": tuple(METRICS),
    "precision": ("fp32", "bf16"),
    "class_weights": tuple(CLASS_WEIGHTS),
}


@dataclass(kw_only=True)
class TrainerOptions:
    """How a classifier is trained; what is off costs nothing.

    Args:
        epochs: Length of the run.
        batch_size: Rows of a step, of all ranks together.
        micro_batch_size: Rows that pass through the network at once, in each rank; null is all of a
            step's. The gradients of a step's parts are added up, so that memory bounds no batch
            size; batch norm alone sees the smaller batches.
        label_smoothing: Weight of the uniform distribution in the targets of the training loss
            (Szegedy et al. 2016, arXiv:1512.00567); the validation loss is without.
        class_weights: `balanced` gives each class the same weight in the training loss, `none` each
            row; the validation loss is without.
        gradient_penalty: Weight of |d loss / d x|^2 beside the training loss.
        clip_norm: Largest norm of all gradients together; null leaves them.
        clip_value: Largest absolute value of each gradient; null leaves them.
        monitor: Metric that chooses the best epoch; equal ones are told apart by `val_loss`.
        mode: Whether more (`max`) or less (`min`) of it is better; null is what the metric says,
            and anything else must agree with it.
        patience: Epochs without a better metric after which the run ends; null lets it finish.
        min_delta: What is better is so by more than this, to `patience`.
        precision: `bf16` trains with products in bfloat16; evaluation is in fp32, as is the export.
        compile: Train through `torch.compile`; evaluation is not compiled.
        statistics: Log norms of weights and gradients, and dead and saturated units, at each
            epoch's first step, and say what is wrong with them.
        device: `auto` (a GPU if there is one), `cpu`, `cuda`, `cuda:1`, ...
        threads: CPU threads; null leaves torch's number. A small network is fastest with one.
    """

    epochs: int = 27
    batch_size: int = 64
    micro_batch_size: int | None = None
    label_smoothing: float = 0.0
    class_weights: str = "none"
    gradient_penalty: float = 0.0
    clip_norm: float | None = None
    clip_value: float | None = None
    monitor: str = "val_accuracy"
    mode: Literal["max", "min"] | None = None
    patience: int | None = None
    min_delta: float = 0.0
    precision: Literal["fp32", "bf16"] = "fp32"
    compile: bool = False
    statistics: bool = False
    device: str = "auto"
    threads: int | None = 1

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            self._check(integer, name, lambda v: v >= 1, "1 or more")
        for name in ("micro_batch_size", "patience", "threads"):
            self._check(integer, name, lambda v: v >= 1, "1 or more", null=True)
        for name in ("clip_norm", "clip_value"):
            self._check(number, name, lambda v: v > 0, "more than 0", null=True)
        for name in ("gradient_penalty", "min_delta"):
            self._check(number, name, lambda v: v >= 0, "0 or more")
        self._check(number, "label_smoothing", lambda v: 0 <= v < 1, "from 0 to less than 1")
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", str(self.device)):
            raise ValueError(miss(self.device, ["auto", "cpu", "cuda"], key="trainer.device"))
        for name, choices in CHOICES.items():
            if (value := getattr(self, name)) not in choices:
                raise ValueError(miss(value, list(choices), key=f"trainer.{name}"))
        self._check_mode()
        self._check_compile()

    def _check(self, check: Callable[..., None], name: str, *rule: Any, null: bool = False) -> None:
        check(f"trainer.{name}", getattr(self, name), *rule, null=null)

    def _check_mode(self) -> None:
        better = METRICS[self.monitor]
        if self.mode not in (None, better):
            raise ValueError(
                f"trainer.mode is {self.mode!r} and trainer.monitor is {self.monitor!r}; "
                f"trainer.mode must be {better!r}, or null"
            )

    def _check_compile(self) -> None:
        if self.compile and self.gradient_penalty:
            raise ValueError(
                f"trainer.gradient_penalty is {self.gradient_penalty} and trainer.compile is true; "
                "torch.compile cannot differentiate twice: set one of them to 0 or false"
            )
        if self.compile and self.statistics:
            raise ValueError(
                "trainer.statistics and trainer.compile are true; a compiled network does not show "
                "its activations: set one of them to false"
            )
