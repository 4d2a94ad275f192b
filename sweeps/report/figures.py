"""Every plot of a sweep, as `NAME(sweep) -> Drawing`."""

from __future__ import annotations

from sweeps.report.curves import learning_curves
from sweeps.report.progress import incumbent_over_steps, incumbent_over_time

__all__ = ["incumbent_over_steps", "incumbent_over_time", "learning_curves"]
