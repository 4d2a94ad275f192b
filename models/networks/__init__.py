"""Networks: they take features and return logits, and know nothing of data or devices."""

from models.networks.calibration import expected_calibration_error, fit_temperature
from models.networks.mlp import MLP
from models.networks.predict import predict_proba
from models.networks.registry import NETWORKS, Network, make_network
from models.networks.softmax_regression import SoftmaxRegression

__all__ = [
    "MLP",
    "NETWORKS",
    "Network",
    "SoftmaxRegression",
    "expected_calibration_error",
    "fit_temperature",
    "make_network",
    "predict_proba",
]
