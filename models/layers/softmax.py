"""The loss of a softmax head."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch.nn.functional as F
from torch import Tensor

from models.choices import choose


def cross_entropy(
    logits: Tensor,
    y: Tensor,
    *,
    label_smoothing: float = 0.0,
    class_weights: Tensor | None = None,
) -> Tensor:
    """Mean of -sum_c t_c log softmax(z)_c over the rows, in nats.

    t is (1 - s) for the row's class plus s / classes for each (Szegedy et al. 2016,
    arXiv:1512.00567, section 7). log softmax(z) = z - max z - log sum exp(z - max z), so no logit
    overflows. For s = 0 the gradient with respect to z is (softmax(z) - t) / n.

    With class weights w the terms are w_c t_c log softmax(z)_c, and their sum is divided by the sum
    of the rows' own w_y instead of by n.

    Args:
        logits: `[n, classes]`.
        y: Classes `[n]`.
        label_smoothing: s, in [0, 1).
        class_weights: w, `[classes]`.
    """
    return F.cross_entropy(logits, y, weight=class_weights, label_smoothing=label_smoothing)


def _none(counts: Tensor) -> None:
    return None


def _balanced(counts: Tensor) -> Tensor:
    present = counts > 0
    return (counts.sum() / (present.sum() * counts.clamp(min=1))).where(present, 0)


CLASS_WEIGHTS: Mapping[str, Callable[[Tensor], Tensor | None]] = {
    "none": _none,
    "balanced": _balanced,
}


def class_weights(name: str, counts: Tensor) -> Tensor | None:
    """Weights `[classes]` for the loss, from the rows of each class in the training data.

    `none` is None: a row counts as any other. `balanced` is n / (classes * n_c), so that each class
    counts as much as another (King and Zeng 2001, section 4.2); a class without rows has weight 0
    and is not counted.

    Raises:
        ValueError: There are no weights of this name.
    """
    return choose(CLASS_WEIGHTS, name, key="trainer.class_weights")(counts)
