"""Torch networks, the data they learn from, and the training of one model.

Nothing here knows of sweeps, clusters or Hydra: configs reach it by `_target_`.
"""

from models.data import (
    Column,
    Dataset,
    Digits,
    Npz,
    Parquet,
    Preprocessing,
    Split,
    Table,
)
from models.layers import Dropout, make_activation, make_norm
from models.networks import MLP, SoftmaxRegression, make_network, predict_proba
from models.training import (
    SGD,
    Adam,
    AdamW,
    Best,
    CheckpointError,
    Constant,
    Cosine,
    Exponential,
    Fit,
    Schedule,
    Step,
    Trainer,
    load_checkpoint,
    save_checkpoint,
)

__all__ = [
    "MLP",
    "SGD",
    "Adam",
    "AdamW",
    "Best",
    "CheckpointError",
    "Column",
    "Constant",
    "Cosine",
    "Dataset",
    "Digits",
    "Dropout",
    "Exponential",
    "Fit",
    "Npz",
    "Parquet",
    "Preprocessing",
    "Schedule",
    "SoftmaxRegression",
    "Split",
    "Step",
    "Table",
    "Trainer",
    "load_checkpoint",
    "make_activation",
    "make_network",
    "make_norm",
    "predict_proba",
    "save_checkpoint",
]
