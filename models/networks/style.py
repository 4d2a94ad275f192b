"""How a network builds its layers: with which norm, activation and initial weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from models.layers import (
    Dropout,
    make_activation,
    make_conv,
    make_linear,
    make_norm,
    norm_has_shift,
    uses_weight_norm,
)


@dataclass(frozen=True, kw_only=True)
class Style:
    """The options that all layers of a network share.

    A linear or conv layer right under a norm with a shift of its own has no bias: the norm takes it
    out again.
    """

    norm: str = "batch"
    groups: int | None = None
    ghost_batch_size: int = 32
    activation: str = "relu"
    init: str = "kaiming"
    generator: torch.Generator | None = None

    def linear(self, n_in: int, n_out: int) -> nn.Linear:
        """A linear layer under a norm."""
        return make_linear(
            n_in,
            n_out,
            bias=not norm_has_shift(self.norm),
            init=self.init,
            generator=self.generator,
            weight_norm=uses_weight_norm(self.norm),
        )

    def conv(
        self,
        n_in: int,
        n_out: int,
        kernel: int = 3,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
    ) -> nn.Conv2d:
        """A convolution under a norm; height and width are divided by the stride, rounded up."""
        return make_conv(
            n_in,
            n_out,
            kernel,
            stride=stride,
            dilation=dilation,
            groups=groups,
            bias=not norm_has_shift(self.norm),
            init=self.init,
            generator=self.generator,
            weight_norm=uses_weight_norm(self.norm),
        )

    def head(self, n_in: int, n_out: int) -> nn.Linear:
        """The last layer: linear, with a bias and no norm."""
        return make_linear(n_in, n_out, bias=True, init=self.init, generator=self.generator)

    def norm1d(self, features: int) -> nn.Module:
        """The norm over `[n, features]`."""
        return make_norm(
            self.norm, features, groups=self.groups, ghost_batch_size=self.ghost_batch_size
        )

    def norm2d(self, features: int) -> nn.Module:
        """The norm over `[n, features, h, w]`."""
        return make_norm(
            self.norm, features, dims=2, groups=self.groups, ghost_batch_size=self.ghost_batch_size
        )

    def act(self) -> nn.Module:
        """The activation."""
        return make_activation(self.activation)

    def conv_norm(
        self, n_in: int, n_out: int, kernel: int = 3, *, stride: int = 1
    ) -> nn.Sequential:
        """Convolution and norm."""
        return sequential(self.conv(n_in, n_out, kernel, stride=stride), self.norm2d(n_out))

    def conv_norm_act(
        self, n_in: int, n_out: int, kernel: int = 3, *, stride: int = 1
    ) -> nn.Sequential:
        """Convolution, norm and activation."""
        return self.conv_norm(n_in, n_out, kernel, stride=stride).append(self.act())


def sequential(*layers: nn.Module) -> nn.Sequential:
    """Layers one after the other, without those that do nothing: identities and dropout 0."""
    return nn.Sequential(*filter(_does_something, layers))


def _does_something(layer: nn.Module) -> bool:
    return not isinstance(layer, nn.Identity) and not (isinstance(layer, Dropout) and layer.p == 0)
