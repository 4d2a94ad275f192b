"""Networks: they take inputs and return logits, and know nothing of data or devices."""

from models.networks.calibration import expected_calibration_error, fit_temperature
from models.networks.compound import CompoundScaling, compound_coefficients, compound_grid
from models.networks.convnet import ConvNet
from models.networks.darts import DartsNet, DartsSupernet, Genotype, read_genotype
from models.networks.ensemble import Ensemble
from models.networks.inception import InceptionNet
from models.networks.mlp import MLP
from models.networks.predict import predict_proba
from models.networks.registry import NETWORKS, Network, make_network
from models.networks.resnet import ResNet
from models.networks.softmax_regression import SoftmaxRegression

__all__ = [
    "MLP",
    "NETWORKS",
    "CompoundScaling",
    "ConvNet",
    "DartsNet",
    "DartsSupernet",
    "Ensemble",
    "Genotype",
    "InceptionNet",
    "Network",
    "ResNet",
    "SoftmaxRegression",
    "compound_coefficients",
    "compound_grid",
    "expected_calibration_error",
    "fit_temperature",
    "make_network",
    "predict_proba",
    "read_genotype",
]
