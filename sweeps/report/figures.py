"""Every plot of a sweep: `NAME(sweep) -> Drawing`, or a list of them under a plural name."""

from sweeps.report.curves import learning_curves
from sweeps.report.importances import importance
from sweeps.report.outcomes import distributions, pareto_fronts
from sweeps.report.parallel import parallel_coordinates
from sweeps.report.progress import incumbent_over_steps, incumbent_over_time
from sweeps.report.retests import retests
from sweeps.report.spaces import contours, slices
from sweeps.report.spending import steps_per_rung, trials_per_rung

__all__ = [
    "contours",
    "distributions",
    "importance",
    "incumbent_over_steps",
    "incumbent_over_time",
    "learning_curves",
    "parallel_coordinates",
    "pareto_fronts",
    "retests",
    "slices",
    "steps_per_rung",
    "trials_per_rung",
]
