"""A convolution with initial weights by name."""

from __future__ import annotations

import torch
from torch import nn

from models.layers.init import init_weight
from models.layers.weight_norm import add_weight_norm


class Conv2d(nn.Conv2d):
    """torch's own without its initial draw, which would be from the global generator."""

    def reset_parameters(self) -> None:
        """Leave the memory as it is: `make_conv` fills it."""


def make_conv(
    n_in: int,
    n_out: int,
    kernel: int,
    *,
    stride: int = 1,
    padding: int | None = None,
    dilation: int = 1,
    groups: int = 1,
    bias: bool,
    init: str,
    generator: torch.Generator | None = None,
    weight_norm: bool = False,
) -> nn.Conv2d:
    """`[n, n_in, h, w] -> [n, n_out, h', w']`; the bias, where there is one, begins at zero.

    Each of the `groups` begins as a convolution of its own. `padding` None is
    dilation * (kernel - 1) / 2: height and width stay, or are divided by the stride and rounded up.

    Raises:
        ValueError: The sizes do not go together, there is no init of this name, or it does not go
            with weight norm.
    """
    if padding is None and kernel % 2 == 0:
        raise ValueError(f"kernel is {kernel}; an even one needs an explicit padding")
    around = dilation * (kernel // 2) if padding is None else padding
    layer = Conv2d(n_in, n_out, kernel, stride, around, dilation, groups=groups, bias=bias)
    for part in layer.weight.detach().chunk(groups):
        init_weight(part, init, generator=generator)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return add_weight_norm(layer) if weight_norm else layer
