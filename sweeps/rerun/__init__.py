"""One trial of a sweep trained again, alone, in a fresh process, from its recorded config.

    rerun = Rerun.of(sweep, trial, out=Path("again"), changes=Changes(overrides=["seed=3"]))
    for report in rerun.run():
        print(report.step, report.metrics)
    print(rerun.returned)

It is the sweep's own way of training without the sweep: the same app, config, seeds and stretches,
whatever schedulers decided then, and nothing of it is written into the sweep's folder. It needs no
Ray; run several at once from as many threads or Ray tasks.
"""

from sweeps.journal.legs import Leg, legs_of, straightened
from sweeps.rerun.process import Rerun
from sweeps.rerun.spec import Changes, Report

__all__ = ["Changes", "Leg", "Report", "Rerun", "legs_of", "straightened"]
