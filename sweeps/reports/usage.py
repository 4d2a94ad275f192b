"""What the first trials used of what they were given, in a table."""

from __future__ import annotations

from collections.abc import Mapping

from sweeps.planning.resources import Resources
from sweeps.render import duration
from sweeps.reports.tables import Table
from sweeps.results import SweepResults
from sweeps.usage.advice import findings, is_enough, of_ranks, suggestions
from sweeps.usage.measured import Usage
from sweeps.usage.recorded import recorded


def usage_table(sweep: SweepResults) -> Table:
    """Median and most over the trials that were measured, and what would fit."""
    title = "What trials used"
    by_trial, each = recorded(sweep)
    if not by_trial:
        return Table(title=title, header=(), words="No trial was measured: each ended too soon.")
    usages = list(by_trial.values())
    said = suggestions(usages, each)
    if not is_enough(usages):
        said = ["That is too little to say what would fit."]
    return Table(
        title=title,
        header=("", "median", "most", "of"),
        rows=[(found.what, found.median, found.most, found.of) for found in findings(usages, each)],
        words=" ".join([_measured(by_trial, each), *said]),
        numeric=frozenset({1, 2, 3}),
    )


def _measured(usages: Mapping[int, Usage], each: Resources) -> str:
    several = "s" if len(usages) > 1 else ""
    seconds = duration(sum(usage.seconds for usage in usages.values()))
    numbers = ", ".join(map(str, usages))
    return f"Measured over {seconds} of trial{several} {numbers}{of_ranks(each)}."
