"""The operations that a search chooses from; each keeps the number of channels.

Section 3.1.1 of Liu et al. 2019 (DARTS, arXiv:1806.09055). Convolutions come in the order
activation, convolution, norm. Pooling has a norm behind it too, as in the search, so that what was
searched is what is trained. With stride 2, height and width are halved and rounded up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.choices import choose
from models.networks.style import Style, sequential

Operation = Callable[[Style, int, int], nn.Module]
"""Style, channels and stride -> layer."""

ZERO = "none"


class Zero(nn.Module):
    """Zeros: no connection."""

    def __init__(self, stride: int):
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """`[n, c, h, w] -> [n, c, h', w']`."""
        return x[:, :, :: self.stride, :: self.stride] * 0


class FactorizedReduce(nn.Module):
    """Halve height and width by two 1x1 convolutions, one on the even and one on the odd pixels."""

    def __init__(self, style: Style, n_in: int, n_out: int):
        super().__init__()
        self.act = style.act()
        self.even = style.conv(n_in, n_out - n_out // 2, 1, stride=2)
        self.odd = style.conv(n_in, n_out // 2, 1, stride=2)
        self.norm = style.norm2d(n_out)

    def forward(self, x: Tensor) -> Tensor:
        """`[n, n_in, h, w] -> [n, n_out, h', w']`."""
        x = self.act(x)
        shifted = F.pad(x, (-1, 1, -1, 1))
        out: Tensor = self.norm(torch.cat([self.even(x), self.odd(shifted)], dim=1))
        return out


def act_conv_norm(style: Style, n_in: int, n_out: int) -> nn.Sequential:
    """A 1x1 convolution between activation and norm."""
    return sequential(style.act(), *style.conv_norm(n_in, n_out, 1))


def _none(style: Style, channels: int, stride: int) -> nn.Module:
    return Zero(stride)


def _skip(style: Style, channels: int, stride: int) -> nn.Module:
    return nn.Identity() if stride == 1 else FactorizedReduce(style, channels, channels)


def _max_pool(style: Style, channels: int, stride: int) -> nn.Module:
    return sequential(nn.MaxPool2d(3, stride, padding=1), style.norm2d(channels))


def _avg_pool(style: Style, channels: int, stride: int) -> nn.Module:
    pool = nn.AvgPool2d(3, stride, padding=1, count_include_pad=False)
    return sequential(pool, style.norm2d(channels))


def _separable(
    style: Style, channels: int, stride: int, *, kernel: int, dilation: int = 1
) -> nn.Sequential:
    """Activation, a convolution of each channel by itself, a 1x1 convolution over all, norm."""
    return sequential(
        style.act(),
        style.conv(channels, channels, kernel, stride=stride, dilation=dilation, groups=channels),
        *style.conv_norm(channels, channels, 1),
    )


def _sep_conv(style: Style, channels: int, stride: int, *, kernel: int) -> nn.Module:
    first = _separable(style, channels, stride, kernel=kernel)
    return nn.Sequential(*first, *_separable(style, channels, 1, kernel=kernel))


OPERATIONS: Mapping[str, Operation] = {
    ZERO: _none,
    "max_pool_3x3": _max_pool,
    "avg_pool_3x3": _avg_pool,
    "skip_connect": _skip,
    "sep_conv_3x3": partial(_sep_conv, kernel=3),
    "sep_conv_5x5": partial(_sep_conv, kernel=5),
    "dil_conv_3x3": partial(_separable, kernel=3, dilation=2),
    "dil_conv_5x5": partial(_separable, kernel=5, dilation=2),
}


def make_operation(
    name: str, style: Style, channels: int, stride: int, *, key: str = "model.operations"
) -> nn.Module:
    """The operation `name`, `[n, channels, h, w] -> [n, channels, h', w']`.

    Raises:
        ValueError: There is no operation of this name; the message names `key`.
    """
    return choose(OPERATIONS, name, key=key)(style, channels, stride)
