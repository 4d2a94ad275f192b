"""The tables in a sweep's folder, whole, as they are written when a driver ends."""

from __future__ import annotations

from dataclasses import asdict

from sweeps.journal.segments import journal_mark
from sweeps.results.files import write_parquet
from sweeps.results.sweep import SweepResults, load_sweep
from sweeps.storage.folder import SweepFolder


def write_tables(folder: SweepFolder) -> SweepResults:
    """Write trials.parquet and metrics.parquet from the journal, each whole; parts of them go.

    What was appended to the journal meanwhile makes them old, and a reader sees that: each says up
    to where it takes in the journal.
    """
    from sweeps.results.tables import metrics_table, trials_table

    mark = asdict(journal_mark(folder))
    sweep = load_sweep(folder)
    write_parquet(metrics_table(sweep, journal=mark), folder.metrics_table)
    write_parquet(trials_table(sweep, journal=mark), folder.trials_table)
    folder.push(folder.metrics_table, folder.trials_table)
    folder.discard_parts()
    return sweep
