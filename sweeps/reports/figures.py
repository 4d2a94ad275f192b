"""Every plot of a sweep: `NAME(sweep) -> Drawing`, or a list of them under a plural name."""

from sweeps.reports.curves import learning_curves
from sweeps.reports.importances import importance
from sweeps.reports.outcomes import distributions, pareto_fronts
from sweeps.reports.parallel import parallel_coordinates
from sweeps.reports.progress import incumbent_over_steps, incumbent_over_time
from sweeps.reports.retests import retests
from sweeps.reports.spaces import contours, slices
from sweeps.reports.spending import steps_per_rung, trials_per_rung

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
