"""Several objectives: the trials that none other beats in all of them, and one of these to take."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from sweeps.errors import did_you_mean
from sweeps.journal.objective import Objective
from sweeps.journal.status import Status
from sweeps.journal.trials import Trial, Trials

_NAMES = ("chebyshev", "weighted_sum", "first")


@dataclass(frozen=True, kw_only=True)
class Scalarization:
    """How one trial of a Pareto front is chosen, each objective scaled to the front's range.

    `chebyshev` takes the smallest weighted distance, in its worst objective, from the point that is
    best in all (Miettinen 1999, section 3.4; ties by the sum); `weighted_sum` the smallest weighted
    sum; `first` the best in the first objective.
    """

    name: str = "chebyshev"
    weights: Mapping[str, float] = field(default_factory=dict)
    """By metric; 1 where it is not given."""

    def checked(self, objective: Objective) -> Scalarization:
        """Itself, if it fits these objectives.

        Raises:
            ValueError: It does not.
        """
        if self.name not in _NAMES:
            raise ValueError(
                f"name is {self.name!r}; choose from {', '.join(_NAMES)}"
                f"{did_you_mean(self.name, _NAMES)}"
            )
        metrics = [o.metric for o in objective.all]
        for metric, weight in self.weights.items():
            if metric not in metrics:
                raise ValueError(
                    f"weights.{metric} is no objective of this sweep; they are "
                    f"{', '.join(metrics)}{did_you_mean(metric, metrics)}"
                )
            if isinstance(weight, bool) or not isinstance(weight, int | float) or not weight >= 0:
                raise ValueError(f"weights.{metric} is {weight!r}; it must be a number from 0 up")
        return self

    def choose(self, front: Sequence[Trial], objective: Objective) -> Trial | None:
        """The trial to take from a front, or None from an empty one."""
        if not front:
            return None
        losses = _losses(front, objective)
        low, span = losses.min(axis=0), np.ptp(losses, axis=0)
        weights = np.array([self.weights.get(o.metric, 1.0) for o in objective.all])
        scaled = weights * (losses - low) / np.where(span > 0, span, 1.0)
        scores = {
            "chebyshev": scaled.max(axis=1) + 1e-6 * scaled.sum(axis=1),
            "weighted_sum": scaled.sum(axis=1),
            "first": losses[:, 0],
        }[self.name]
        return front[int(scores.argmin())]


def pareto_front(trials: Iterable[Trial], objective: Objective) -> list[Trial]:
    """The trials that none other dominates, best in the first objective first.

    One dominates another when it is nowhere worse and somewhere better. A trial that was stopped
    counts with its best report, as it does where there is one objective; one that failed or
    diverged does not.
    """
    bad = (Status.FAILED, Status.DIVERGED)
    counted = [trial for trial in trials if trial.values and trial.status not in bad]
    if not counted:
        return []
    losses = _losses(counted, objective)
    order = np.lexsort(losses.T[::-1])
    front: list[int] = []
    for i in order:  # whoever dominates i comes before it
        kept = losses[front]
        dominated = (kept <= losses[i]).all(axis=1) & (kept < losses[i]).any(axis=1)
        if not dominated.any():
            front.append(int(i))
    return [counted[i] for i in front]


def _losses(trials: Sequence[Trial], objective: Objective) -> np.ndarray:
    """Every trial's values, turned so that less is better: [trials, objectives]."""
    rows = [
        [o.loss(value) for o, value in zip(objective.all, trial.values, strict=True)]
        for trial in trials
    ]
    return np.array(rows, dtype=float)


def leader(trials: Trials, objective: Objective, scalarization: Scalarization) -> Trial | None:
    """The best trial; of several objectives the one that is taken from the front."""
    if not objective.others:
        return trials.best
    return scalarization.choose(pareto_front(trials, objective), objective)
