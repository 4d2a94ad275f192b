"""The plots by what they tell, in the order in which they are read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sweeps.reports import figures
from sweeps.reports.drawing import Drawing
from sweeps.results import SweepResults


@dataclass(frozen=True, kw_only=True)
class Section:
    """Some plots under one heading; without any it is left out."""

    key: str
    title: str
    drawings: Callable[[SweepResults], list[Drawing]]
    about: str = ""
    """What its plots have in common, in a sentence."""


def _of(*plots: Callable[[SweepResults], Drawing]) -> Callable[[SweepResults], list[Drawing]]:
    return lambda sweep: [plot(sweep) for plot in plots]


SECTIONS: tuple[Section, ...] = (
    Section(key="retest", title="Was it luck?", drawings=figures.retests),
    Section(
        key="progress",
        title="Progress",
        about="The line is the best value so far; each point is a value that came in.",
        drawings=_of(figures.incumbent_over_time, figures.incumbent_over_steps),
    ),
    Section(key="curves", title="Learning curves", drawings=_of(figures.learning_curves)),
    Section(
        key="pareto",
        title="Objectives against each other",
        drawings=figures.pareto_fronts,
    ),
    Section(key="importance", title="What mattered", drawings=_of(figures.importance)),
    Section(
        key="parallel",
        title="Configurations",
        drawings=_of(figures.parallel_coordinates),
    ),
    Section(
        key="slices",
        title="Each parameter",
        about=(
            "The objective against one parameter at a time, the most important first. One point "
            "a trial, with its best value; the stronger its colour, the longer it was trained."
        ),
        drawings=figures.slices,
    ),
    Section(
        key="contours",
        title="Pairs of parameters",
        about=(
            "The best value in each cell of a grid, and the trials as points; what lies between "
            "is interpolated. The brighter, the better; the worst tenth shares one colour."
        ),
        drawings=figures.contours,
    ),
    Section(key="distribution", title="Distribution of values", drawings=figures.distributions),
    Section(
        key="budget",
        title="Where the budget went",
        drawings=_of(figures.trials_per_rung, figures.steps_per_rung),
    ),
)
