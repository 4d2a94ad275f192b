"""Rows of Parquet files as a training reads them: never more in memory than a buffer holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate
from typing import TypeVar

import pyarrow as pa
import torch
from torch import Tensor

from models.data.dataset import Split
from models.data.fingerprint import of_stream
from models.data.preprocessing import Preprocessing
from models.data.row_groups import RowGroup, Share, read_footer

LANES = 4
"""Places of the files that a buffer is filled from, so that sorted files are mixed too. Each holds
a page and perhaps a dictionary of each column, 1 MB each as most writers make them."""

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, eq=False)
class ParquetStream:
    """The rows of a share of some row groups, as a network takes them.

    An epoch puts the row groups into a random order. Their rows in this order are one sequence; a
    rank reads its own stretch of it, at `LANES` places at once: from each a buffer takes an equal
    number of rows, and these are shuffled. All of it is a function of the epoch's seed, so any step
    can be found again without what came before it. The ranks' rows of a step are together its
    batch: they have the same number of steps, and read every row once.
    """

    groups: Sequence[RowGroup]
    counts: Sequence[int]
    """Rows of each group that belong to the share."""
    share: Share
    columns: list[str]
    encode: Callable[[pa.Table], Split]
    """From rows of these columns to what a network takes."""
    shape: tuple[int, ...]
    buffer_rows: int
    """In memory are at most twice as many rows: while a buffer is used, the next one is filled."""
    rank: int = 0
    ranks: int = 1
    device: torch.device | str = "cpu"

    @property
    def n_rows(self) -> int:
        """Rows of an epoch, over all ranks."""
        return sum(self.counts)

    def to(self, device: torch.device) -> ParquetStream:
        """The same rows, handed out on a device."""
        return replace(self, device=device)

    def fingerprint(self, preprocessing: Preprocessing) -> str:
        """What tells these rows from others: see `of_stream`; it reads the files' footers."""
        files = dict.fromkeys(group.file for group in self.groups)
        return of_stream(map(read_footer, files), self.share, preprocessing)

    def part(self, rank: int, ranks: int) -> ParquetStream:
        """One of `ranks` disjoint parts of each batch and of the whole, equal up to one row."""
        return replace(self, rank=rank, ranks=ranks)

    def batches(
        self, sizes: Sequence[int], *, seed: int, start: int = 0
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of an epoch from step `start` on.

        Args:
            sizes: Rows of each step over all ranks, together at most `n_rows`.
            seed: Of the epoch's order; the same on each rank.
            start: The first step.
        """
        own = [_share(n, self.rank, self.ranks) for n in sizes]
        before = sum(_share(n, rank, self.ranks) for n in sizes for rank in range(self.rank))
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(self.groups), generator=generator).tolist()
        per_block = max(1, self.buffer_rows // max(1, *own))
        steps = [own[i : i + per_block] for i in range(0, len(own), per_block)]
        seeds = torch.randint(1 << 32, (len(steps),), generator=generator).tolist()
        first, skip = divmod(start, per_block)
        blocks = self._blocks(
            order, before, list(map(sum, steps)), first=first, lanes=LANES, seeds=seeds
        )
        for block, (x, y) in zip(steps[first:], _one_ahead(blocks), strict=True):
            yield from list(zip(torch.split(x, block), torch.split(y, block), strict=True))[skip:]
            skip = 0

    def parts(self) -> Iterator[Split]:
        """Every row of this part once, in order, as many at a time as the buffer holds.

        What fits the buffer as a whole is read once and kept.
        """
        if _share(self.n_rows, self.rank, self.ranks) <= self.buffer_rows:
            yield self._whole
        else:
            yield from self._in_order()

    @cached_property
    def _whole(self) -> Split:
        return next(self._in_order())

    def _in_order(self) -> Iterator[Split]:
        before = self.rank * self.n_rows // self.ranks
        whole, rest = divmod(_share(self.n_rows, self.rank, self.ranks), self.buffer_rows)
        sizes = [self.buffer_rows] * whole + ([rest] if rest else [])
        return self._blocks(range(len(self.groups)), before, sizes)

    def _blocks(
        self,
        order: Sequence[int],
        before: int,
        sizes: Sequence[int],
        *,
        first: int = 0,
        lanes: int = 1,
        seeds: Sequence[int] | None = None,
    ) -> Iterator[Split]:
        """Buffers of these sizes after `before` rows, from the number `first` on.

        They are shuffled if there are seeds.
        """
        shares = [[_share(n, lane, lanes) for n in sizes] for lane in range(lanes)]
        starts = accumulate(map(sum, shares), initial=before)
        places = [
            _Place(self._rows(order, start + sum(share[:first]), start + sum(share)))
            for start, share in zip(starts, shares, strict=False)
        ]
        for block in range(first, len(sizes)):
            tables = (
                table
                for place, share in zip(places, shares, strict=True)
                for table in place.take(share[block])
            )
            yield self._encoded(tables, sizes[block], None if seeds is None else seeds[block])

    def _rows(self, order: Sequence[int], start: int, stop: int) -> Iterator[pa.Table]:
        """Rows `start` to `stop` of the groups in this order."""
        for index in order:
            count = self.counts[index]
            if start < count and stop > 0:
                group = self.groups[index]
                yield from group.read_share(self.columns, self.share, start=start, stop=stop)
            start, stop = start - count, stop - count

    def _encoded(self, tables: Iterator[pa.Table], rows: int, seed: int | None) -> Split:
        """Each row at its place in the shuffled buffer at once: there is no second copy."""
        split = Split(torch.empty(rows, *self.shape), torch.empty(rows, dtype=torch.int64))
        places = torch.arange(rows)
        if seed is not None:
            places = torch.randperm(rows, generator=torch.Generator().manual_seed(seed))
        for table in tables:
            here, places = places[: len(table)], places[len(table) :]
            split.x[here], split.y[here] = self.encode(table)
        return split.to(torch.device(self.device))


def _share(rows: int, part: int, parts: int) -> int:
    """How many of so many rows fall to a part."""
    return rows * (part + 1) // parts - rows * part // parts


class _Place:
    """One place that rows are taken from."""

    def __init__(self, tables: Iterator[pa.Table]) -> None:
        self._tables = tables
        self._left: pa.Table | None = None

    def take(self, rows: int) -> Iterator[pa.Table]:
        """The next rows, of which there are so many."""
        while rows:
            table = next(self._tables) if self._left is None else self._left
            yield table.slice(0, rows)
            self._left = table.slice(rows) if len(table) > rows else None
            rows -= min(rows, len(table))


def _one_ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items; while one is used, a thread makes the next."""
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(next, items, None)
        while (item := waiting.result()) is not None:
            waiting = pool.submit(next, items, None)
            yield item
