"""A linear layer with initial weights by name."""

from __future__ import annotations

import torch
from torch import nn

from models.layers.init import init_weight
from models.layers.weight_norm import add_weight_norm


class Linear(nn.Linear):
    """torch's own without its initial draw, which would be from the global generator."""

    def reset_parameters(self) -> None:
        """Leave the memory as it is: `make_linear` fills it."""


def make_linear(
    n_in: int,
    n_out: int,
    *,
    bias: bool,
    init: str,
    generator: torch.Generator | None = None,
    weight_norm: bool = False,
) -> nn.Linear:
    """`[n, n_in] -> [n, n_out]`; the bias, where there is one, begins at zero.

    Raises:
        ValueError: There is no init of this name, or it does not go with weight norm.
    """
    layer = Linear(n_in, n_out, bias=bias)
    init_weight(layer.weight, init, generator=generator)
    if bias:
        nn.init.zeros_(layer.bias)
    return add_weight_norm(layer) if weight_norm else layer
