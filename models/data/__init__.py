"""Data in memory or as streams, split, and scaled with the training split's statistics."""

from models.data.cache import clear_cache
from models.data.dataset import Data, Dataset, Split, Stream, in_memory
from models.data.digits import Digits
from models.data.npz import Npz
from models.data.parquet import Parquet
from models.data.preprocessing import Column, Preprocessing
from models.data.split import SplitRows, split_rows
from models.data.table import Table

__all__ = [
    "Column",
    "Data",
    "Dataset",
    "Digits",
    "Npz",
    "Parquet",
    "Preprocessing",
    "Split",
    "SplitRows",
    "Stream",
    "Table",
    "clear_cache",
    "in_memory",
    "split_rows",
]
