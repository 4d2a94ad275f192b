"""The tables in a sweep's folder."""

from __future__ import annotations

from sweeps.results.files import write_parquet
from sweeps.results.sweep import SweepResults, load_sweep
from sweeps.storage.folder import SweepFolder


def write_tables(folder: SweepFolder) -> SweepResults:
    """Write trials.parquet and metrics.parquet from the journal, each whole."""
    sweep = load_sweep(folder)
    write_parquet(sweep.table(), folder.trials_table)
    write_parquet(sweep.metrics(), folder.metrics_table)
    folder.push(folder.trials_table, folder.metrics_table)
    return sweep
