"""Every network by name; the tests run over it, so a new one is tested for free."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from models.choices import choose
from models.networks.mlp import MLP
from models.networks.softmax_regression import SoftmaxRegression

Network = Callable[..., nn.Module]
"""`network(in_shape, out_features, *, generator=None, ...)`, from `[n, *in_shape]` to logits."""

NETWORKS: Mapping[str, Network] = {
    "mlp": MLP,
    "softmax": SoftmaxRegression,
}


def make_network(name: str, in_features: int, out_features: int, **options: Any) -> nn.Module:
    """Build the network `name`.

    Raises:
        ValueError: There is no network of this name.
    """
    return choose(NETWORKS, name, key="model")(in_features, out_features, **options)
