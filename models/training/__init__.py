"""Training of one model: optimizers, schedules, the trainer and its checkpoints."""

from models.training.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from models.training.darts import DartsTrainer
from models.training.export import Best
from models.training.optimizers import SGD, Adam, AdamW
from models.training.schedules import Constant, Cosine, Exponential, Schedule, Step
from models.training.seeding import derive_seed, seeded
from models.training.trainer import Fit, Trainer

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "Best",
    "CheckpointError",
    "Constant",
    "Cosine",
    "DartsTrainer",
    "Exponential",
    "Fit",
    "Schedule",
    "Step",
    "Trainer",
    "derive_seed",
    "load_checkpoint",
    "save_checkpoint",
    "seeded",
]
