"""Networks: they take features and return logits, and know nothing of data or devices."""

from models.networks.mlp import MLP
from models.networks.predict import predict_proba
from models.networks.registry import NETWORKS, Network, make_network
from models.networks.softmax_regression import SoftmaxRegression

__all__ = [
    "MLP",
    "NETWORKS",
    "Network",
    "SoftmaxRegression",
    "make_network",
    "predict_proba",
]
