"""The steps at which a sweep's scheduler compares its trials."""

from __future__ import annotations

from sweeps.errors import ConfigError
from sweeps.results import SweepResults
from sweeps.schedulers import make_scheduler


def rungs(sweep: SweepResults) -> list[int]:
    """By step; none where the scheduler lays none down."""
    record = sweep.record
    try:
        scheduler = make_scheduler(**record.scheduler, space=sweep.space, seed=record.seed)
    except ConfigError:
        return []  # what an older caviar wrote: its rungs are not known here
    return sorted(scheduler.rungs())
