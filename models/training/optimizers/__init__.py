"""Optimizers by name, each with weight decay that may leave norms and biases out."""

from models.training.optimizers.adagrad import Adagrad
from models.training.optimizers.adam import Adam, AdamW
from models.training.optimizers.base import Optimizer, parameter_groups
from models.training.optimizers.rmsprop import RMSProp
from models.training.optimizers.sgd import SGD

__all__ = ["SGD", "Adagrad", "Adam", "AdamW", "Optimizer", "RMSProp", "parameter_groups"]
