"""Training of one model: optimizers, schedules, averaging, the trainer and its checkpoints."""

from models.training.averaging import EMA, SWA, NoAveraging
from models.training.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from models.training.combine import Soup
from models.training.darts import DartsTrainer
from models.training.export import Best
from models.training.fit import Fit
from models.training.lr_range_test import LrRangeTest
from models.training.optimizers import SGD, Adagrad, Adam, AdamW, RMSProp
from models.training.reduce_on_plateau import ReduceOnPlateau
from models.training.schedules import Constant, Cosine, Exponential, OneCycle, Schedule, Step
from models.training.seeding import derive_seed, seeded
from models.training.trainer import Trainer

__all__ = [
    "EMA",
    "SGD",
    "SWA",
    "Adagrad",
    "Adam",
    "AdamW",
    "Best",
    "CheckpointError",
    "Constant",
    "Cosine",
    "DartsTrainer",
    "Exponential",
    "Fit",
    "LrRangeTest",
    "NoAveraging",
    "OneCycle",
    "RMSProp",
    "ReduceOnPlateau",
    "Schedule",
    "Soup",
    "Step",
    "Trainer",
    "derive_seed",
    "load_checkpoint",
    "save_checkpoint",
    "seeded",
]
