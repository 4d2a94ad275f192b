"""An ensemble: networks whose probabilities are averaged."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn


class Rescale(nn.Module):
    """`x * scale + shift`, by feature: rows as one preprocessing scaled them, to another's scale.

    It begins as the identity, in every bit.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, shape: Sequence[int]):
        super().__init__()
        self.register_buffer("scale", torch.ones(*shape))
        self.register_buffer("shift", torch.zeros(*shape))

    def forward(self, x: Tensor) -> Tensor:
        """`[n, *shape]` to the same."""
        return x * self.scale + self.shift


class Ensemble(nn.Module):
    """The average of its members' class probabilities.

        log p(y | x) = log (1/k) sum_i softmax(f_i(x))_y

    Lakshminarayanan et al. 2017, arXiv:1612.01474, section 2.4. By the concavity of the logarithm
    its cross entropy is at most the mean of its members' own. In front of each member stands a
    `Rescale`, for members that were trained on other scales of the same features.

    Args:
        in_shape: Shape of one row, or the number of its features.
        out_features: Classes.
        members: The networks, each `network(in_shape, out_features)`.

    Raises:
        ValueError: There is no member.
    """

    def __init__(
        self,
        in_shape: int | Sequence[int],
        out_features: int,
        *,
        members: Sequence[Callable[..., nn.Module]],
    ):
        super().__init__()
        if not members:
            raise ValueError("model.members is empty; an ensemble needs at least 1 network")
        shape = (in_shape,) if isinstance(in_shape, int) else tuple(in_shape)
        nets = [member(in_shape, out_features) for member in members]
        self.members = nn.ModuleList(nn.Sequential(Rescale(shape), net) for net in nets)

    def forward(self, x: Tensor) -> Tensor:
        """`[n, *in_shape]` to the log of the averaged probabilities `[n, out_features]`.

        These are logits like any: their softmax is the average itself.
        """
        log_p = torch.stack([member(x).log_softmax(dim=1) for member in self.members])
        return log_p.logsumexp(dim=0) - math.log(len(self.members))
