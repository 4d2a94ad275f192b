"""What a sweep found, read from its folder: trials, tables, and an Optuna study.

    sweep = load_sweep(find_sweep("mnist"))
    sweep.table().to_pandas()

Works while the sweep runs as well as after it.
"""

from sweeps.results.files import write_csv, write_json, write_parquet
from sweeps.results.sweep import SweepResults, load_sweep
from sweeps.results.write import write_tables

__all__ = [
    "SweepResults",
    "load_sweep",
    "write_csv",
    "write_json",
    "write_parquet",
    "write_tables",
]
