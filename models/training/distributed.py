"""Training of one model by several ranks, each on its own part of every batch.

`trainer.batch_size` is the batch of all ranks together, and learning rates are for that batch: on
however many ranks, a run makes the same steps as on one, up to rounding. Each rank takes its rows
of each batch; gradients and losses, weighed by what the rows count, are added up, so parts of
unequal size are right, and every rank sees the same loss and decides alike. Of a stream each rank
reads a part of its own: then a batch is what all ranks read at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from models.data import Split, Stream
from models.layers import Dropout, convert_sync_batch_norm
from models.layers.ranks import gather_rows, shared_group
from models.networks.predict import predict_logits
from models.training.loss import Forward, Loss
from models.training.step import GradientStep


@dataclass(kw_only=True)
class Ranks:
    """The processes that train one model together, seen from one of them."""

    rank: int
    size: int
    batch: int = 0
    """Rows of the batch that all ranks have under way."""
    reads_apart: bool = False
    """Whether each rank reads its own rows alone, and not the whole batches."""

    @classmethod
    def current(cls) -> Ranks | None:
        """The default process group's; None where there is none, or of one process."""
        if shared_group(None) is None:
            return None
        return cls(rank=dist.get_rank(), size=dist.get_world_size())

    def own(self, rows: int) -> slice:
        """Which of so many rows are this rank's: an equal share, up to one row."""
        return slice(self.rank * rows // self.size, (self.rank + 1) * rows // self.size)

    def part(self, rows: Split | Stream) -> Split | Stream:
        """What this rank reads of the training rows: all that is in memory, a part of a stream."""
        self.reads_apart = not isinstance(rows, Split)
        return rows if isinstance(rows, Split) else rows.part(self.rank, self.size)

    def batch_size(self, of_all: int) -> int:
        """Rows that this rank reads for a batch of all ranks."""
        return of_all // self.size if self.reads_apart else of_all

    def cut(self, x: Tensor) -> Tensor:
        """This rank's rows of what it has read of a batch."""
        return x if self.reads_apart else x[self.own(len(x))]

    def labels(self, y: Tensor) -> Tensor:
        """The labels of the batch of all ranks, of those that this rank has read."""
        return gather_rows(y, shared_group(None)).view(-1) if self.reads_apart else y

    def check(self, net: nn.Module, *, batch_size: int, gradient_penalty: float) -> None:
        """Refuse what ranks cannot do together.

        Raises:
            ValueError: There are more ranks than rows, or a second derivative that there is not.
        """
        if batch_size < self.size:
            raise ValueError(
                f"trainer.batch_size is {batch_size}; it is shared by {self.size} workers, so it "
                f"must be {self.size} or more"
            )
        if gradient_penalty and any(isinstance(layer, _BatchNorm) for layer in net.modules()):
            raise ValueError(
                f"trainer.gradient_penalty is {gradient_penalty} and the network has batch norms, "
                f"which have no second derivative over several workers; set model.norm to layer "
                f"or none, or the penalty to 0"
            )

    def prepare(self, net: nn.Module) -> None:
        """Make a network one that all ranks train: rank 0's weights, batch norms, dropout masks."""
        convert_sync_batch_norm(net)
        for parent in list(net.modules()):
            for name, child in parent.named_children():
                if isinstance(child, Dropout | nn.Dropout):
                    setattr(parent, name, _OwnDropout(child, self))
        for tensor in (*net.parameters(), *net.buffers()):
            dist.broadcast(tensor.detach(), src=0)

    def share(self, step: GradientStep) -> GradientStep:
        """A step that takes a batch of all ranks, and goes through its own rows of it."""
        rows = step.micro_batch_size
        if rows is not None and self.reads_apart and step.loss.class_weights is not None:
            raise ValueError(
                f"trainer.micro_batch_size is {rows}; with class weights and several workers it "
                f"needs data that fit into memory: set it to null, or trainer.class_weights to none"
            )
        return SharedStep(
            **{
                **_options(step),
                "loss": SharedLoss(**_options(step.loss), ranks=self),
                "micro_batch_size": rows if rows is None or self.reads_apart else rows * self.size,
            },
            ranks=self,
        )

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over the ranks, in one message."""
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(flat)
        sums = torch.split(flat, [tensor.numel() for tensor in tensors])
        for tensor, total in zip(tensors, sums, strict=True):
            tensor.copy_(total.view_as(tensor))

    def predict_logits(self, net: nn.Module, x: Tensor) -> Tensor:
        """`predict_logits`, of which each rank computes a part and all get the whole."""
        parts = [replace(self, rank=rank).own(len(x)) for rank in range(self.size)]
        lengths = [part.stop - part.start for part in parts]
        mine = predict_logits(net, x[parts[self.rank]])
        padded = mine.new_zeros(max(lengths), *mine.shape[1:])
        padded[: len(mine)] = mine
        rows = gather_rows(padded.view(-1), shared_group(None)).view(self.size, *padded.shape)
        return torch.cat([part[:length] for part, length in zip(rows, lengths, strict=True)])


@dataclass(frozen=True, kw_only=True)
class SharedLoss(Loss):
    """This rank's term of a batch's loss: over all ranks they add up to it."""

    ranks: Ranks

    def __call__(self, forward: Forward, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Take what was read of a batch; the terms of its own rows."""
        labels = self.ranks.labels(y)
        self.ranks.batch = len(labels)
        x, y = self.ranks.cut(x), self.ranks.cut(y)
        if not len(y):  # the other ranks' batch norms wait for this one
            nothing = forward(x).sum() * 0
            return nothing, nothing
        share = self.share(y, labels)
        minimised, loss = super().__call__(forward, x, y)
        return minimised * share, loss * share


@dataclass(frozen=True, kw_only=True)
class SharedStep(GradientStep):
    """A step that all ranks make together: the gradient is that of the whole batch."""

    ranks: Ranks

    def backward(self, x: Tensor, y: Tensor) -> Tensor:
        """Fill the gradients; the whole batch's cross entropy, detached."""
        loss = super().backward(x, y)
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        self.ranks.add_up([*gradients, loss])
        return loss


class _OwnDropout(nn.Module):
    """Dropout that draws the mask of all ranks' rows and takes its own.

    So the mask of a row does not depend on the number of ranks, the ranks' generators stay alike,
    and the state of one of them is that of all in a checkpoint.
    """

    def __init__(self, dropout: nn.Module, ranks: Ranks) -> None:
        super().__init__()
        self.dropout = dropout
        self._ranks = ranks

    def forward(self, x: Tensor) -> Tensor:
        """Drop elements of this rank's rows `[n, ...]`."""
        if not self.training:
            return x
        batch = self._ranks.batch
        mask: Tensor = self.dropout(x.new_ones(batch, *x.shape[1:]))
        return x * mask[self._ranks.own(batch)]


def _options(made: Any) -> dict[str, Any]:
    return {field.name: getattr(made, field.name) for field in fields(made)}
