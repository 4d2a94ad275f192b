"""Training of one model by several ranks, each on its own part of every batch.

`trainer.batch_size` is the batch of all ranks together, and learning rates are for that batch: on
however many ranks, a run makes the same steps as on one, up to rounding. Each rank takes its rows
of each batch; gradients and losses, weighed by what the rows count, are added up, so parts of
unequal size are right, and every rank sees the same loss and decides alike.
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
from models.layers import Dropout, GhostBatchNorm, convert_sync_batch_norm
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
    reads_parts: bool = False
    """Whether this rank is given its own rows of a batch alone, as of a stream."""

    @classmethod
    def current(cls) -> Ranks | None:
        """The default process group's; None where there is none, or of one process."""
        if shared_group(None) is None:
            return None
        return cls(rank=dist.get_rank(), size=dist.get_world_size())

    def own(self, rows: int) -> slice:
        """Which of so many rows are this rank's: an equal share, up to one row."""
        return slice(self.rank * rows // self.size, (self.rank + 1) * rows // self.size)

    def own_rows(self, x: Tensor) -> Tensor:
        """This rank's rows of a batch that it was given."""
        return x if self.reads_parts else x[self.own(len(x))]

    def part_of(self, train: Split | Stream, *, micro_batch_size: int | None) -> Split | Stream:
        """What this rank reads: its part of a stream, or all that is in memory.

        Raises:
            ValueError: Batches of a stream are to be split further.
        """
        if isinstance(train, Split):
            return train
        if micro_batch_size is not None:
            raise ValueError(
                f"trainer.micro_batch_size is {micro_batch_size}; several workers that read a "
                "stream take their parts of a batch at once: set it to null"
            )
        self.reads_parts = True
        return train.part(self.rank, self.size)

    def check(self, net: nn.Module, *, batch_size: int, gradient_penalty: float) -> None:
        """Refuse what ranks cannot do together.

        Raises:
            ValueError: There are more ranks than rows, ghost batches, or a second derivative that
                there is not.
        """
        if batch_size < self.size:
            raise ValueError(
                f"trainer.batch_size is {batch_size}; it is shared by {self.size} workers, so it "
                f"must be {self.size} or more"
            )
        if any(isinstance(layer, GhostBatchNorm) for layer in net.modules()):
            raise ValueError(
                "model.norm is ghost_batch; several workers normalise by the whole batch, not by "
                "parts of it; set it to batch for that, or to layer or group"
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
        return SharedStep(
            **{
                **_options(step),
                "loss": SharedLoss(**_options(step.loss), ranks=self),
                "micro_batch_size": None if rows is None else rows * self.size,
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
        """Take a batch; the terms of this rank's rows."""
        if not self.ranks.reads_parts:
            self.ranks.batch = len(y)
        own_x, own_y = self.ranks.own_rows(x), self.ranks.own_rows(y)
        share = self._share_of_part(y) if self.ranks.reads_parts else self.share(own_y, y)
        if not len(own_y):  # the other ranks' batch norms wait for this one
            nothing = forward(own_x).sum() * 0
            return nothing, nothing
        minimised, loss = super().__call__(forward, own_x, own_y)
        return minimised * share, loss * share

    def _share_of_part(self, y: Tensor) -> float | Tensor:
        """`share` of a part whose other rows lie on other ranks."""
        if self.class_weights is None:
            return len(y) / self.ranks.batch
        weight = self.class_weights[y].sum()
        total = weight.clone()
        dist.all_reduce(total)
        return weight / total


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
