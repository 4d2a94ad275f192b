"""Differentiable architecture search: Liu et al. 2019, arXiv:1806.09055."""

from models.networks.darts.genotype import Genotype, derive, read_genotype
from models.networks.darts.network import DartsNet
from models.networks.darts.operations import OPERATIONS
from models.networks.darts.supernet import DartsSupernet

__all__ = [
    "OPERATIONS",
    "DartsNet",
    "DartsSupernet",
    "Genotype",
    "derive",
    "read_genotype",
]
