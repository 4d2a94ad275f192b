"""Mean and variance of each feature, from parts that come one by one or from many ranks.

A row `[mean, M2, n]` of 2 features + 1 numbers stands for n values a feature: their mean, and the
sum of their squared distances from it. Averaging variances instead loses the spread between parts.
"""

from __future__ import annotations

import torch
from torch import Tensor


def batch_moments(x: Tensor, dtype: torch.dtype) -> Tensor:
    """The row of a batch `[n, features, ...]`, which may be empty, computed in `dtype`."""
    features = x.shape[1]
    if x.numel() == 0:
        return x.new_zeros(2 * features + 1, dtype=dtype)
    n = x.numel() // features
    mean, variance = torch.batch_norm_update_stats(x.to(dtype), None, None, 0.0)
    return torch.cat([mean, variance * n, mean.new_full((1,), n)])


def merge_moments(rows: Tensor) -> Tensor:
    """One row from many, `[k, 2 features + 1] -> [2 features + 1]`.

    Chan, Golub and LeVeque 1983, "Algorithms for computing the sample variance", equation 2.1, for
    k parts at once: means are taken relative to that of the largest part, so that a large common
    mean takes no digits from the differences.
    """
    mean, m2, n = split_moments(rows)
    total = n.sum(0)
    reference = mean.index_select(0, n.argmax(0))[0]
    apart = mean - reference
    shift = (n * apart).sum(0) / total.clamp(min=1)
    pooled = (m2 + n * (apart - shift).square()).sum(0)
    return torch.cat([reference + shift, pooled, total])


def split_moments(rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, M2 and n of one row or many; n keeps an axis of size 1."""
    features = rows.shape[-1] // 2
    return rows[..., :features], rows[..., features:-1], rows[..., -1:]
