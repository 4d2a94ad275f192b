"""Every network by name; the tests run over it, so a new one is tested for free."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from models.choices import choose
from models.networks.convnet import ConvNet
from models.networks.darts import DartsNet, DartsSupernet
from models.networks.inception import InceptionNet
from models.networks.mlp import MLP
from models.networks.resnet import ResNet
from models.networks.softmax_regression import SoftmaxRegression

Network = Callable[..., nn.Module]
"""`network(in_shape, out_features, *, generator=None, ...)`, from `[n, *in_shape]` to logits."""

NETWORKS: Mapping[str, Network] = {
    "convnet": ConvNet,
    "darts": DartsNet,
    "darts_supernet": DartsSupernet,
    "inception": InceptionNet,
    "mlp": MLP,
    "resnet": ResNet,
    "softmax": SoftmaxRegression,
}


def make_network(
    name: str, in_shape: int | Sequence[int], out_features: int, **options: Any
) -> nn.Module:
    """Build the network `name`.

    Args:
        name: One of `NETWORKS`.
        in_shape: Shape of one input, or its number of features.
        out_features: Classes.
        options: The network's own.

    Raises:
        ValueError: There is no network of this name, or it refuses an option.
    """
    return choose(NETWORKS, name, key="model")(in_shape, out_features, **options)
