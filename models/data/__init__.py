"""Data as tensors in memory, split and standardised with the training split's statistics."""

from models.data.cache import clear_cache
from models.data.dataset import Data, Dataset, Split
from models.data.digits import Digits
from models.data.npz import Npz
from models.data.preprocessing import Column, Preprocessing
from models.data.split import SplitRows, split_rows
from models.data.table import Table

__all__ = [
    "Column",
    "Data",
    "Dataset",
    "Digits",
    "Npz",
    "Preprocessing",
    "Split",
    "SplitRows",
    "Table",
    "clear_cache",
    "split_rows",
]
