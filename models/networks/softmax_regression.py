"""Softmax regression: one linear layer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.layers import make_linear
from models.networks.shape import flat_features


class SoftmaxRegression(nn.Module):
    """Multinomial logistic regression; convex in its weights under cross entropy.

    Args:
        in_shape: Shape of one input, or its number of features; images are flattened.
        out_features: Classes.
        init: Name of the initial weights; the problem is convex, so zeros will do.
        generator: Where the initial weights are drawn from; None is torch's global one.
    """

    def __init__(
        self,
        in_shape: int | Sequence[int],
        out_features: int,
        *,
        init: str = "zeros",
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        self.linear = make_linear(
            flat_features(in_shape), out_features, bias=True, init=init, generator=generator
        )

    def forward(self, x: Tensor) -> Tensor:
        """`[n, *in_shape]` to logits `[n, out_features]`."""
        logits: Tensor = self.linear(x.flatten(1))
        return logits
