"""Layers, one idea a file."""

from models.layers.activation import make_activation
from models.layers.conv import make_conv
from models.layers.dropout import Dropout
from models.layers.ghost_batch_norm import GhostBatchNorm
from models.layers.init import INITS, init_weight
from models.layers.linear import make_linear
from models.layers.norm import NORMS, make_norm, norm_has_shift, uses_weight_norm
from models.layers.precise_batch_norm import precise_batch_norm
from models.layers.softmax import CLASS_WEIGHTS, class_weights, cross_entropy
from models.layers.sync_batch_norm import SyncBatchNorm, convert_sync_batch_norm

__all__ = [
    "CLASS_WEIGHTS",
    "INITS",
    "NORMS",
    "Dropout",
    "GhostBatchNorm",
    "SyncBatchNorm",
    "class_weights",
    "convert_sync_batch_norm",
    "cross_entropy",
    "init_weight",
    "make_activation",
    "make_conv",
    "make_linear",
    "make_norm",
    "norm_has_shift",
    "precise_batch_norm",
    "uses_weight_norm",
]
