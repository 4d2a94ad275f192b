"""Probabilities that mean what they say: temperature scaling, and how far off they are."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

MAX_TEMPERATURE = 100.0


@torch.no_grad()
def fit_temperature(logits: Tensor, y: Tensor) -> float:
    """The T that makes softmax(z / T) most likely (Guo et al. 2017, arXiv:1706.04599, section 4.2).

    With b = 1 / T the mean negative log likelihood has the slope mean(E_p[z] - z_y) and the
    curvature mean(Var_p[z]), p = softmax(b z): it is convex. Newton's method, kept within a
    shrinking bracket, finds the minimum to nearly all digits of float64. Classes and accuracy stay
    what they are.

    Args:
        logits: `[n, classes]` of validation data, which the weights were not fitted to.
        y: Classes `[n]`.

    Returns:
        T, more than 1 for an overconfident network; from 0.01 to 100, where 100 stands for one no
        better than chance. 1 where no row is wrong: the likelihood then grows without end as T
        falls, and says nothing of other rows.

    Raises:
        ValueError: There are no rows, or a logit is not finite.
    """
    if not len(y) or not bool(logits.isfinite().all()):
        raise ValueError(f"a temperature needs rows of finite logits, not {list(logits.shape)}")
    z = logits.double()
    z = z - z.gather(1, y[:, None])  # relative to the row's class: E_p[z] is the slope
    if float(z.max()) <= 0:
        return 1.0
    low, b, high = 1 / MAX_TEMPERATURE, 1.0, MAX_TEMPERATURE
    while high - low > 1e-14 * high:
        slope, curvature = _derivatives(z, b)
        low, high = (low, b) if slope > 0 else (b, high)
        newton = b - slope / curvature if curvature > 0 else math.inf
        before, b = b, newton if low < newton < high else math.sqrt(low * high)
        if abs(b - before) <= 1e-14 * b:
            break
    return 1 / b


def _derivatives(z: Tensor, b: float) -> tuple[float, float]:
    p = (b * z).softmax(1)
    mean = (p * z).sum(1, keepdim=True)
    return float(mean.mean()), float((p * (z - mean).square()).sum(1).mean())


def expected_calibration_error(probabilities: Tensor, y: Tensor, *, bins: int = 15) -> float:
    """Mean distance of accuracy and confidence, sum_m |B_m| / n * |acc(B_m) - conf(B_m)|.

    Guo et al. 2017, equation 3. B_m holds the rows whose largest probability lies in
    ((m - 1) / bins, m / bins].

    Args:
        probabilities: `[n, classes]`.
        y: Classes `[n]`.
        bins: How many, of equal width.

    Raises:
        ValueError: There are no rows, or `bins` is less than 1.
    """
    if not len(y) or bins < 1:
        raise ValueError(f"calibration needs rows and bins, not {len(y)} and {bins}")
    return float(confidence_gaps(probabilities, y, bins=bins).abs().sum()) / len(y)


def confidence_gaps(probabilities: Tensor, y: Tensor, *, bins: int = 15) -> Tensor:
    """|B_m| * (acc(B_m) - conf(B_m)) of each bin, `[bins]`: those of parts add up to the whole."""
    confidence, predicted = probabilities.double().max(1)
    gap = (predicted == y).double() - confidence
    return gap.new_zeros(bins).index_add(0, _bin_of(confidence, bins), gap)


class ReliabilityBin(NamedTuple):
    """Rows of similar confidence: of a calibrated model both shares agree."""

    rows: int
    confidence: float
    """Mean of the largest probability."""
    accuracy: float


def reliability(probabilities: Tensor, y: Tensor, *, bins: int = 15) -> list[ReliabilityBin]:
    """The reliability diagram (Guo et al. 2017, section 2), without bins that have no row."""
    confidence, predicted = probabilities.double().max(1)
    right = (predicted == y).double()
    bin_of = _bin_of(confidence, bins)
    found = [(confidence[bin_of == b], right[bin_of == b]) for b in sorted({*bin_of.tolist()})]
    return [ReliabilityBin(len(c), float(c.mean()), float(r.mean())) for c, r in found]


def _bin_of(confidence: Tensor, bins: int) -> Tensor:
    return (confidence * bins).ceil().long().clamp(1, bins) - 1
