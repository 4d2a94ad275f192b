"""An epoch's batches."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from models.data import Split, Stream
from models.training.seeding import derive_seed

GATHER_BYTES = 1 << 22


def batch_sizes(n_rows: int, batch_size: int) -> list[int]:
    """Rows of each step of an epoch; a last one of one row is merged: batch norm refuses it."""
    whole, rest = divmod(n_rows, batch_size)
    sizes = [batch_size] * whole + ([rest] if rest else [])
    if len(sizes) > 1 and sizes[-1] == 1 < batch_size:
        sizes[-2:] = [sizes[-2] + 1]
    return sizes


def epoch_batches(
    split: Split | Stream, sizes: list[int], *, seed: int, epoch: int, start: int = 0
) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches of an epoch from step `start` on; what was before it costs nothing."""
    if isinstance(split, Split):
        order = epoch_order(split.n_rows, seed=seed, epoch=epoch, device=split.y.device)
        return batches(split, order, sizes, start=start)
    return split.batches(sizes, seed=derive_seed(seed, "order", epoch), start=start)


def epoch_order(
    n_rows: int, *, seed: int, epoch: int, device: torch.device | str = "cpu"
) -> Tensor:
    """The order of the rows in an epoch: a function of seed and epoch, so nothing to store.

    It is drawn where the rows lie, so that an epoch copies nothing to the device.
    """
    generator = torch.Generator(device).manual_seed(derive_seed(seed, "order", epoch))
    return torch.randperm(n_rows, generator=generator, device=device)


def batches(
    split: Split, order: Tensor, sizes: list[int], *, start: int = 0
) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches of an epoch from step `start` on.

    Rows are gathered a few megabytes at a time and the batches are views of that: a gather for
    each batch costs more than it moves.
    """
    row_bytes = max(1, split.x[:1].nbytes)
    per_block = max(1, GATHER_BYTES // (row_bytes * max(sizes)))
    row = sum(sizes[:start])
    for first in range(start, len(sizes), per_block):
        block = sizes[first : first + per_block]
        rows = order[row : row + sum(block)]
        row += len(rows)
        x, y = split.x.index_select(0, rows), split.y.index_select(0, rows)
        yield from zip(torch.split(x, block), torch.split(y, block), strict=True)


def some_inputs(
    split: Split | Stream, batch_size: int, *, seed: int, epoch: int, rows: int | None
) -> Iterator[Tensor]:
    """The inputs of the first `rows` rows of an epoch, or of all for None, in batches."""
    n_rows = split.n_rows if rows is None else min(rows, split.n_rows)
    sizes = batch_sizes(n_rows, batch_size)
    return (x for x, _ in epoch_batches(split, sizes, seed=seed, epoch=epoch))
