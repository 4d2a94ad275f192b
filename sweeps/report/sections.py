"""The plots by what they tell, in the order in which they are read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sweeps.report import figures
from sweeps.report.drawing import Drawing
from sweeps.results import SweepResults


@dataclass(frozen=True, kw_only=True)
class Section:
    """Some plots under one heading."""

    key: str
    title: str
    drawings: Callable[[SweepResults], list[Drawing]]


def _of(*plots: Callable[[SweepResults], Drawing]) -> Callable[[SweepResults], list[Drawing]]:
    return lambda sweep: [plot(sweep) for plot in plots]


SECTIONS: tuple[Section, ...] = (
    Section(
        key="progress",
        title="Progress",
        drawings=_of(figures.incumbent_over_time, figures.incumbent_over_steps),
    ),
    Section(key="curves", title="Learning curves", drawings=_of(figures.learning_curves)),
)
