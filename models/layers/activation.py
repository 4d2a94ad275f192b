"""Activations by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import nn

from models.choices import choose

ACTIVATIONS: Mapping[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
}


def make_activation(name: str) -> nn.Module:
    """An elementwise nonlinearity.

    Raises:
        ValueError: There is no activation of this name.
    """
    return choose(ACTIVATIONS, name, key="model.activation")()
