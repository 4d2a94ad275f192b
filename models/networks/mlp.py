"""A multilayer perceptron."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from models.layers import Dropout
from models.networks.shape import flat_features
from models.networks.style import Style, sequential
from models.networks.widths import hidden_widths


class MLP(nn.Module):
    """Blocks of linear, norm, activation, dropout, and a linear head; images are flattened.

    A linear layer right under a norm with a shift of its own has no bias: the norm takes it out
    again. Layers that would do nothing (norm `none`, dropout 0) are not built.

    Args:
        in_shape: Shape of one input, or its number of features.
        out_features: Classes.
        depth: Number of hidden layers, 0 or more; may be None where `width` is a list.
        width: Units of each hidden layer, or a list of one number a layer.
        norm: Name of the normalisation, `models.layers.make_norm`.
        groups: Groups of norm `group`; None lets it choose.
        ghost_batch_size: Rows of a part of the batch, for norm `ghost_batch`.
        activation: Name of the nonlinearity.
        dropout: Probability, in [0, 1), that a hidden unit is zeroed in training.
        init: Name of the initial weights.
        generator: Where the initial weights are drawn from; None is torch's global one.

    Raises:
        ValueError: An option is out of its range, or `depth` and a list `width` disagree.
    """

    def __init__(
        self,
        in_shape: int | Sequence[int],
        out_features: int,
        *,
        depth: int | None = None,
        width: int | Sequence[int] = 128,
        norm: str = "batch",
        groups: int | None = None,
        ghost_batch_size: int = 32,
        activation: str = "relu",
        dropout: float = 0.0,
        init: str = "kaiming",
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        style = Style(
            norm=norm,
            groups=groups,
            ghost_batch_size=ghost_batch_size,
            activation=activation,
            init=init,
            generator=generator,
        )
        widths = [flat_features(in_shape), *hidden_widths(depth, width)]
        blocks = [
            sequential(style.linear(a, b), style.norm1d(b), style.act(), Dropout(dropout))
            for a, b in pairwise(widths)
        ]
        self.blocks = nn.Sequential(*blocks)
        self.head = style.head(widths[-1], out_features)

    def forward(self, x: Tensor) -> Tensor:
        """`[n, *in_shape]` to logits `[n, out_features]`."""
        logits: Tensor = self.head(self.blocks(x.flatten(1)))
        return logits
