"""Weight normalisation of a layer."""

from __future__ import annotations

from typing import TypeVar

from torch import nn
from torch.nn.utils import parametrizations

Layer = TypeVar("Layer", nn.Linear, nn.Conv2d)


def add_weight_norm(layer: Layer) -> Layer:
    """Learn length and direction of each output's weights apart, w = g v / |v|; in place.

    Salimans and Kingma 2016, arXiv:1602.07868, equation 2. The weights stay what they are: g and v
    (`parametrizations.weight.original0`, `original1`) begin as |w| and w.

    Raises:
        ValueError: Some output's weights are all zero; they have no direction.
    """
    if not bool((layer.weight.detach().flatten(1).norm(dim=1) > 0).all()):
        raise ValueError("model.norm is 'weight'; model.init must not leave weights all zero")
    parametrizations.weight_norm(layer, dim=0)
    return layer
