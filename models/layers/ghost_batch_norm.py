"""Batch normalisation over small parts of a large batch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from models.checks import integer


class GhostBatchNorm(_BatchNorm):
    """Batch norm over each ghost batch by itself (Hoffer et al. 2017, arXiv:1705.08741).

    Algorithm 1: a large batch keeps the noise of small ones in its statistics. The running
    averages take in one ghost batch after another, r <- (1 - f) r + f u. In evaluation it is plain
    batch norm.

    Args:
        features: Size of axis 1 of the input `[n, features, ...]`.
        ghost_batch_size: Rows of a ghost batch. A batch of n rows makes n // size nearly equal
            parts, so none is smaller, unless the batch itself is.
        eps: Added to the variance.
        momentum: f; None averages all ghost batches alike.
        affine: Whether there are a scale and a shift.
        track_running_stats: Whether there are running averages.

    Raises:
        ValueError: `ghost_batch_size` is less than 2.
    """

    def __init__(
        self,
        features: int,
        *,
        ghost_batch_size: int = 32,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
    ):
        integer("model.ghost_batch_size", ghost_batch_size, lambda v: v >= 2, "2 or more")
        super().__init__(features, eps, momentum, affine, track_running_stats)
        self.ghost_batch_size = ghost_batch_size

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `[n, features, ...]`."""
        parts = len(x) // self.ghost_batch_size if self.training else 1
        if parts < 2:
            return super().forward(x)
        return torch.cat([super(GhostBatchNorm, self).forward(p) for p in x.tensor_split(parts)])

    def extra_repr(self) -> str:
        """The options, for printing."""
        return f"{self.num_features}, ghost_batch_size={self.ghost_batch_size}, eps={self.eps}"

    def _check_input_dim(self, x: Tensor) -> None:
        if x.dim() < 2:
            raise ValueError(f"batch norm takes [n, features, ...], not {list(x.shape)}")
