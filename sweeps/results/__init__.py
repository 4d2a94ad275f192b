"""What a sweep found, read from its folder: trials, tables, and an Optuna study.

    sweep = load_sweep(find_sweep("mnist"))
    sweep.table().to_pandas()

Works while the sweep runs as well as after it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sweeps.results.files import write_csv, write_json, write_parquet
from sweeps.results.sweep import SweepResults, load_sweep
from sweeps.results.write import write_tables

if TYPE_CHECKING:
    from sweeps.results.stored import Tables
    from sweeps.storage.folder import SweepFolder

__all__ = [
    "SweepResults",
    "load_sweep",
    "read_tables",
    "write_csv",
    "write_json",
    "write_parquet",
    "write_tables",
]


def read_tables(folder: SweepFolder) -> Tables:
    """The tables as they lie in a sweep's folder; see `sweeps.results.stored`."""
    from sweeps.results import stored

    return stored.read_tables(folder)
