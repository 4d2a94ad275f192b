"""What training minimises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from models.layers import cross_entropy
from models.training.penalty import input_gradient_norms

Forward = Callable[[Tensor], Tensor]
"""Inputs `[n, ...]` to logits `[n, classes]`."""


@dataclass(frozen=True, kw_only=True)
class Loss:
    """Cross entropy, the mean over the rows; with class weights it is a weighted mean.

    Args:
        label_smoothing: Weight of the uniform distribution in the targets.
        class_weights: What a row of each class counts, `[classes]`; None counts all alike.
        gradient_penalty: Weight of each row's |d loss / d x|^2 beside its loss.
    """

    label_smoothing: float = 0.0
    class_weights: Tensor | None = None
    gradient_penalty: float = 0.0

    def __call__(self, forward: Forward, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """What is minimised on a batch, and the cross entropy in it (nats)."""
        if self.gradient_penalty:
            return self._penalized(forward, x, y)
        loss = self._cross_entropy(forward(x), y)
        return loss, loss

    def share(self, y: Tensor, of: Tensor) -> float | Tensor:
        """What part of a batch counts in its mean: labels `y` of the labels `of`."""
        if self.class_weights is None:
            return len(y) / len(of)
        return self.class_weights[y].sum() / self.class_weights[of].sum()

    def _cross_entropy(self, logits: Tensor, y: Tensor) -> Tensor:
        return cross_entropy(
            logits, y, label_smoothing=self.label_smoothing, class_weights=self.class_weights
        )

    def _penalized(self, forward: Forward, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        x = x.detach().requires_grad_()
        logits = forward(x)
        rows = F.cross_entropy(logits, y, label_smoothing=self.label_smoothing, reduction="none")
        norms = input_gradient_norms(rows, x)
        loss = self._cross_entropy(logits, y)
        return loss + self.gradient_penalty * self._mean(norms, y), loss

    def _mean(self, values: Tensor, y: Tensor) -> Tensor:
        if self.class_weights is None:
            return values.mean()
        weights = self.class_weights[y]
        return (weights * values).sum() / weights.sum()
