"""The steps at which a sweep's scheduler compares its trials."""

from __future__ import annotations

from sweeps.core.fidelity import Fidelity
from sweeps.errors import ConfigError
from sweeps.results import SweepResults
from sweeps.schedulers import make_scheduler


def rungs(sweep: SweepResults) -> list[int]:
    """By step, or by number where each is trained anew; none where the scheduler lays none down."""
    record = sweep.record
    try:
        scheduler = make_scheduler(**record.scheduler, space=sweep.space, seed=record.seed)
    except ConfigError:
        return []  # what an older caviar wrote: its rungs are not known here
    fidelity = record.options.get("fidelity")
    steps = scheduler.rungs()
    return sorted({Fidelity(**fidelity).rung(step) for step in steps} if fidelity else steps)
