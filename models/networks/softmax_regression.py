"""Softmax regression: one linear layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.layers import make_linear


class SoftmaxRegression(nn.Module):
    """Multinomial logistic regression; convex in its weights under cross entropy.

    Args:
        in_features: Columns of the input.
        out_features: Classes.
        init: Name of the initial weights; the problem is convex, so zeros will do.
        generator: Where the initial weights are drawn from; None is torch's global one.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        init: str = "zeros",
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        self.linear = make_linear(
            in_features, out_features, bias=True, init=init, generator=generator
        )

    def forward(self, x: Tensor) -> Tensor:
        """`[n, in_features]` to logits `[n, out_features]`."""
        logits: Tensor = self.linear(x)
        return logits
