"""What a sweep's first trials used, as their workers recorded it."""

from __future__ import annotations

from collections.abc import Iterator

from sweeps.planning.resources import Resources
from sweeps.provenance.segments import read_record
from sweeps.results import SweepResults
from sweeps.usage.measured import LOOKED_AT, Usage


def recorded(sweep: SweepResults) -> tuple[dict[int, Usage], Resources]:
    """By trial, of those that had the same resources as the last of them; and those resources."""
    found = list(_recorded(sweep))
    resources = found[-1][2] if found else Resources()
    return {trial: usage for trial, usage, given in found if given == resources}, resources


def _recorded(sweep: SweepResults) -> Iterator[tuple[int, Usage, Resources]]:
    folder = sweep.folder
    for trial in range(min(LOOKED_AT, len(sweep.trials))):
        records = []
        for job in folder.jobs(trial):
            file = folder.provenance(job)
            folder.pull(file)
            records.append(read_record(file))
        measured = [record for record in records if "usage" in record]
        if measured:
            longest = max(measured, key=lambda record: record["usage"]["seconds"])
            resources = Resources(**longest["segments"][-1]["resources"])
            yield trial, Usage.from_json(longest["usage"]), resources
