"""Rows for training, validation and test."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class SplitRows(NamedTuple):
    """Row numbers of the three splits; together every row once."""

    train: Tensor
    validation: Tensor
    test: Tensor


def split_rows(
    y: Tensor, *, validation: float, test: float, seed: int, fraction: float = 1.0
) -> SplitRows:
    """Split rows at random, class by class, so that each split has the classes' proportions.

    Args:
        y: Class of each row, `[n]`.
        validation: Fraction of the rows for validation, more than 0.
        test: Fraction of the rows for the test, 0 or more.
        seed: The split is a function of it and of `y` alone.
        fraction: How much of the training split to keep, of each class alike: more than 0, at most
            1. A larger one holds the rows of a smaller one; the other splits stay as they are.

    Raises:
        ValueError: The fractions leave no row for training or validation.
    """
    if not (validation > 0 and test >= 0 and validation + test < 1):
        raise ValueError(
            f"data.validation is {validation} and data.test is {test}; they are fractions of the "
            "rows, validation more than 0, together less than 1"
        )
    if not 0 < fraction <= 1:
        raise ValueError(f"data.fraction is {fraction}; it must be more than 0 and at most 1")
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(y), generator=generator)
    classes = [order[y[order] == label] for label in torch.unique(y)]
    n_test = _shares([len(rows) for rows in classes], test)
    n_validation = _shares([len(rows) for rows in classes], validation)
    parts = [
        torch.tensor_split(rows, (a, a + b))
        for rows, a, b in zip(classes, n_test, n_validation, strict=True)
    ]
    n_train = _nested_shares([len(train) for _, _, train in parts], fraction)
    parts = [(a, b, train[:n]) for (a, b, train), n in zip(parts, n_train, strict=True)]
    test_rows, validation_rows, train_rows = (
        torch.cat(part).sort().values for part in zip(*parts, strict=True)
    )
    split = SplitRows(train_rows, validation_rows, test_rows)
    if not len(split.train) or not len(split.validation):
        raise ValueError(
            f"data.validation is {validation} and data.test is {test}; of {len(y)} rows that "
            f"leaves {len(split.train)} for training and {len(split.validation)} for validation"
        )
    return split


def _shares(counts: list[int], fraction: float) -> list[int]:
    """Rows of each class, near its share, and together the fraction of all (largest remainders)."""
    exact = [count * fraction for count in counts]
    shares = [int(share) for share in exact]
    missing = round(sum(counts) * fraction) - sum(shares)
    by_remainder = sorted(range(len(counts)), key=lambda i: shares[i] - exact[i])
    for i in by_remainder[:missing]:
        shares[i] += 1
    return shares


def _nested_shares(counts: list[int], fraction: float) -> list[int]:
    """The same so that no class's share falls as the fraction grows.

    Row i of a class of n stands at (i + 1/2) / n, and the first rows of all count: the divisor
    method of Sainte-Lague. With largest remainders a class can lose a row (the Alabama paradox).
    """
    places = torch.cat([(torch.arange(n).double() + 0.5) / n for n in counts])
    classes = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    kept = places.argsort(stable=True)[: round(sum(counts) * fraction)]
    shares: list[int] = classes[kept].bincount(minlength=len(counts)).tolist()
    return shares
