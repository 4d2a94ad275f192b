"""Early stopping."""

from __future__ import annotations

import math
from collections.abc import Sequence


def has_stalled(losses: Sequence[float], *, patience: int, min_delta: float = 0.0) -> bool:
    """Whether the last `patience` epochs brought nothing better.

    Goodfellow, Bengio and Courville 2016, Deep Learning, algorithm 7.1. A function of the metric's
    history, so that a resumed run counts on where it was cut.

    Args:
        losses: The monitored metric at the end of each epoch so far, less is better.
        patience: Epochs that may pass without a better metric, 1 or more.
        min_delta: What is better is so by more than this.
    """
    best, waited = math.inf, 0
    for loss in losses:
        is_better = loss < best - min_delta
        best, waited = (loss, 0) if is_better else (best, waited + 1)
    return waited >= patience
