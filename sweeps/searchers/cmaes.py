"""CMA-ES for mixed spaces, its state rebuilt from the journal.

CatCMA with Margin (Hamano et al., GECCO 2025): a normal distribution over the numerical parameters
in the scaled space, one of probabilities over each categorical one, margins that keep any value
within reach. A conditional parameter has its coordinate in every trial, used or not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from sweeps.searchers.base import ask_seed
from sweeps.searchers.rungs import RungByRung
from sweeps.searchers.view import View
from sweeps.space.scale import from_unit, to_unit
from sweeps.space.space import Choice, Parameter, Space

if TYPE_CHECKING:
    from cmaes import CatCMAwM

_BORN = "cmaes:born"
"""A trial's note: the generation that it was drawn from, and the seed it was drawn with."""
_TOLD = "cmaes:told:"
"""The study's note of each generation: the trials whose ranks it was told, the best first."""
_FINE = 100
"""A parameter of more values than that is as good as continuous."""
_BEST_KNOWN = 0.1
"""The share of earlier trials that the first distribution is made of: gamma in the paper."""
_PRIOR = 0.1
"""The least standard deviation of that, as a share of a parameter's range: alpha in the paper."""


class CmaesSearcher:
    """Draws from the newest generation's distribution; told a generation when enough are measured.

    Several trials run at once, so more are drawn from a generation than it needs: the first by
    number count, as in Optuna's sampler, and those that come late are passed over. Only the order
    of their values counts. What must be known to go on are the trials told, by generation: a trial
    is drawn anew from its seed; what was set in its place counts as it is.

    Trials of earlier sweeps give the first distribution: where the best of them lie, as in
    WS-CMA-ES (Nomura et al., AAAI 2021).

    Args:
        space: What is swept.
        view: The trials so far.
        seed: The sweep's.
        rungs: The scheduler's; a trial counts as soon as it is at the first.
        population_size: Trials of a generation; None: 4 + 3 ln(number of parameters).
    """

    limit: int | None = None

    def __init__(
        self,
        *,
        space: Space,
        view: View,
        seed: int,
        rungs: Sequence[int],
        population_size: int | None = None,
    ) -> None:
        if population_size is not None and population_size < 4:
            raise ValueError(f"population_size is {population_size}; it must be 4 or more")
        if len(view.directions) > 1:
            raise ValueError("it has one objective; choose genetic, tpe or gp for several")
        self._space = space
        self._view = view
        self._seed = seed
        self._layout = _Layout(space)
        self._population_size = population_size
        view.lens = RungByRung(view, rungs)

    def ask(self, number: int, attempt: int = 0) -> Mapping[str, Any]:
        """The configuration of trial `number`."""
        self._catch_up()
        born = [self._cma.generation, ask_seed(self._seed, number, attempt)]
        self._view.note(_BORN, born)
        values = self._layout.values(self._draw(born))
        return self._space.draw(lambda p: values[p.optuna_name])

    @cached_property
    def _cma(self) -> CatCMAwM:
        """Made at the first ask: what earlier sweeps found is known by then."""
        known = [trial for trial in self._measured() if trial.number < 0]
        best = self._best_first(known)[: math.ceil(_BEST_KNOWN * len(known))]
        return self._layout.optimizer(self._population_size, [trial.params for trial in best])

    def _catch_up(self) -> None:
        """Tell the optimizer every generation that is complete, as noted or as is noted now."""
        while True:
            notes = self._view.get_study_system_attrs(0)
            told = notes.get(f"{_TOLD}{self._cma.generation}")
            if told is None:
                told = self._ranked()
                if told is None:
                    return
                self._view.set_study_system_attr(0, f"{_TOLD}{self._cma.generation}", told)
            self._tell(told)

    def _ranked(self) -> list[int] | None:
        """This generation's first trials with a value, the best first; None if too few."""
        now, size = self._cma.generation, self._cma.population_size
        first = [trial for trial in self._measured() if _generation(trial) == now][:size]
        if len(first) < size:
            return None
        return [trial.number for trial in self._best_first(first)]

    def _measured(self) -> list[FrozenTrial]:
        states = (TrialState.COMPLETE,)
        return self._view.get_all_trials(0, deepcopy=False, states=states)

    def _best_first(self, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        (direction,) = self._view.directions
        best_is_high = direction is StudyDirection.MAXIMIZE
        return sorted(trials, key=lambda trial: trial.values[0], reverse=best_is_high)

    def _tell(self, numbers: Sequence[int]) -> None:
        solutions = map(self._solution, numbers)
        self._cma.tell([(solution, float(rank)) for rank, solution in enumerate(solutions)])

    def _solution(self, number: int) -> CatCMAwM.Solution:
        trial = self._view.get_trial(number)
        return self._layout.placed(self._draw(trial.system_attrs[_BORN]), trial.params)

    def _draw(self, born: Sequence[int]) -> CatCMAwM.Solution:
        generation, seed = born
        assert generation == self._cma.generation
        self._cma.reseed_rng(seed)
        return self._cma.ask()


def _generation(trial: FrozenTrial) -> int | None:
    born = trial.system_attrs.get(_BORN)
    return born[0] if born else None


class _Layout:
    """Which parameter is which coordinate: continuous, of some ordered values, or categorical.

    Ordered and categorical ones come with where each of their values lies on [0, 1].
    """

    def __init__(self, space: Space) -> None:
        self._distributions = space.distributions()
        self._continuous: list[str] = []
        self._ordered: dict[str, list[float]] = {}
        self._categorical: dict[str, list[float]] = {}
        for parameter in space.parameters:
            name, size = parameter.optuna_name, parameter.domain.size
            is_choice = isinstance(parameter.domain, Choice)
            if self._distributions[name].single():
                continue
            if size is None or (size > _FINE and not is_choice):
                self._continuous.append(name)
            elif is_choice or size == 2:
                self._categorical[name] = _units(parameter)
            else:
                self._ordered[name] = _units(parameter)
        if not (self._continuous or self._ordered or self._categorical):
            raise ValueError("every parameter has one value alone; there is nothing to search")

    def optimizer(self, population_size: int | None, best: Sequence[Mapping[str, Any]]) -> CatCMAwM:
        """One that begins around what is known to be good; in the middle where nothing is."""
        from cmaes import CatCMAwM  # slow to import, for scipy.stats

        points = [self._units(params) for params in best]
        return CatCMAwM(
            x_space=[[0.0, 1.0] for _ in self._continuous] or None,
            z_space=list(self._ordered.values()) or None,
            c_space=[len(units) for units in self._categorical.values()] or None,
            population_size=population_size,
            **(self._gaussian(points) if points else {}),
            cat_param=self._shares(points) if points else None,
        )

    def _units(self, params: Mapping[str, Any]) -> dict[str, float]:
        return {n: to_unit(self._distributions[n], value) for n, value in params.items()}

    def _gaussian(self, points: Sequence[Mapping[str, float]]) -> dict[str, np.ndarray]:
        """Where they lie, and how far around: their covariance and a prior's."""
        names = [*self._continuous, *self._ordered]
        if not names:
            return {}
        at = np.array([[point.get(name, 0.5) for name in names] for point in points])
        spread = (at - at.mean(axis=0)).T @ (at - at.mean(axis=0)) / len(at)
        return {"mean": at.mean(axis=0), "cov": _PRIOR**2 * np.eye(len(names)) + spread}

    def _shares(self, points: Sequence[Mapping[str, float]]) -> np.ndarray | None:
        """How many have each value, and one more of each, as shares."""
        sizes = [len(levels) for levels in self._categorical.values()]
        shares = np.zeros((len(sizes), max(sizes, default=0)))
        for row, (name, levels) in zip(shares, self._categorical.items(), strict=True):
            chosen = [point[name] for point in points if name in point]
            row[: len(levels)] = [1 + chosen.count(level) for level in levels]
        return shares / shares.sum(axis=1, keepdims=True) if sizes else None

    def placed(self, drawn: CatCMAwM.Solution, params: Mapping[str, Any]) -> CatCMAwM.Solution:
        """What was drawn, or where a trial was given something else, that."""
        values = self.values(drawn)
        if params.items() <= values.items():
            return drawn
        units = self._units({**values, **params})
        x = np.array([units[name] for name in self._continuous])
        z = np.array([units[name] for name in self._ordered])
        widest = max(map(len, self._categorical.values()), default=0)
        c = np.zeros((len(self._categorical), widest), dtype=bool)
        for row, (name, levels) in enumerate(self._categorical.items()):
            c[row, levels.index(units[name])] = True
        parts = (part if len(part) else None for part in (x, z, c, np.concatenate([x, z])))
        return type(drawn)(*parts)

    def values(self, solution: CatCMAwM.Solution) -> dict[str, Any]:
        """Optuna's value of every parameter, of those too that a trial may not have."""
        units = dict.fromkeys(self._distributions, 0.5)
        if solution.x is not None:
            units.update(zip(self._continuous, solution.x.tolist(), strict=True))
        if solution.z is not None:
            units.update(zip(self._ordered, solution.z.tolist(), strict=True))
        if solution.c is not None:
            chosen = zip(self._categorical.items(), solution.c.argmax(axis=1), strict=True)
            units.update((name, levels[index]) for (name, levels), index in chosen)
        return {n: from_unit(d, units[n]) for n, d in self._distributions.items()}


def _units(parameter: Parameter) -> list[float]:
    domain, distribution = parameter.domain, parameter.distribution()
    assert domain.size is not None
    values = (domain.from_value(domain.at(index)) for index in range(domain.size))
    return [to_unit(distribution, value) for value in values]
