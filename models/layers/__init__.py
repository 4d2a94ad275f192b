"""Layers, one idea a file."""

from models.layers.activation import make_activation
from models.layers.dropout import Dropout
from models.layers.init import INITS, init_weight
from models.layers.linear import make_linear
from models.layers.norm import NORMS, make_norm, norm_has_shift

__all__ = [
    "INITS",
    "NORMS",
    "Dropout",
    "init_weight",
    "make_activation",
    "make_linear",
    "make_norm",
    "norm_has_shift",
]
