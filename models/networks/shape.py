"""What a network is told of its input."""

from __future__ import annotations

import math
from collections.abc import Sequence


def flat_features(in_shape: int | Sequence[int]) -> int:
    """Numbers in one row of the input: `features`, or the product of the shape of an image."""
    return in_shape if isinstance(in_shape, int) else math.prod(in_shape)
