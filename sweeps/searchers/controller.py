"""Neural architecture search with reinforcement learning (Zoph & Le, ICLR 2017)."""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from sweeps.errors import ConfigError
from sweeps.searchers.base import seed_of
from sweeps.searchers.learner import Lesson, Pupil
from sweeps.searchers.results import Result
from sweeps.searchers.view import View
from sweeps.space.domains import Choice, Domain, Int
from sweeps.space.scale import from_unit
from sweeps.space.space import Parameter, Space

if TYPE_CHECKING:
    from sweeps.searchers.policy import Episode, Pick

_MOST = 100
"""How many values a parameter may have: each is an output of its own."""
_WEIGHTS = 2
"""Sets the seed of the first weights apart from those of asks."""


class Controller(Pupil):
    """An LSTM that chooses the parameters one after the other and is rewarded for what they give.

    Each parameter that exists is drawn from a softmax over its values, given the choices before it.
    After every `batch` results the policy takes one step of Adam along the REINFORCE gradient,
    with an exponential moving average of the rewards as baseline and a bonus for entropy.

    The reward is a rank, so that neither the objective's scale nor outliers matter: all results so
    far are put in order, by rungs reached first and by loss there, and the share of them that a
    result beats becomes a standard normal score. One that diverged beats none. What a promoted
    trial gives at a higher rung is rewarded again. Workers bring results of policies a few updates
    old; at a handful of trials in flight these are close enough to the present one to learn from
    without importance weights.

    Args:
        space: What is searched; finite, and at most 100 values a parameter.
        view: Where the results are.
        seed: The sweep's.
        rungs: The scheduler's.
        learning_rate: Adam's.
        hidden_size: Width of the LSTM.
        entropy_weight: What the entropy of the policy counts beside the reward.
        baseline_decay: How much of the baseline stays with each result.
        batch: Results to an update.
    """

    def __init__(
        self,
        *,
        space: Space,
        view: View,
        seed: int,
        rungs: Sequence[int] = (),
        learning_rate: float = 0.02,
        hidden_size: int = 32,
        entropy_weight: float = 0.1,
        baseline_decay: float = 0.9,
        batch: int = 4,
    ) -> None:
        for name, size in (("hidden_size", hidden_size), ("batch", batch)):
            if size < 1:
                raise ValueError(f"{name} is {size}; it must be 1 or more")
        if not 0 < learning_rate < math.inf:
            raise ValueError(f"learning_rate is {learning_rate}; it must be above 0, and finite")
        if not 0 <= entropy_weight < math.inf:
            raise ValueError(
                f"entropy_weight is {entropy_weight}; it must be 0 or more, and finite"
            )
        if not 0 <= baseline_decay < 1:
            raise ValueError(
                f"baseline_decay is {baseline_decay}; it must be 0 or more and below 1"
            )
        self._choices = {p.optuna_name: _choices(p) for p in space.parameters}
        self._index = {name: k for k, name in enumerate(self._choices)}
        self._baseline_decay = baseline_decay
        self._batch = batch
        self._hidden_size = hidden_size
        self._learning_rate = learning_rate
        self._entropy_weight = entropy_weight
        super().__init__(space=space, view=view, seed=seed, rungs=rungs)

    def _begin(self) -> None:
        from sweeps.searchers.policy import Policy  # loads torch: only where it is chosen

        super()._begin()
        self._policy = Policy(
            [len(choices) for choices in self._choices.values()],
            hidden_size=self._hidden_size,
            learning_rate=self._learning_rate,
            entropy_weight=self._entropy_weight,
            seed=seed_of(self._seed, 0, 0, _WEIGHTS),
        )
        self._waiting: list[Episode] = []
        """Results of the next update."""
        self._baseline = 0.0
        self._order: list[tuple[float, float]] = []
        self._ranks: dict[int, tuple[float, float]] = {}
        """By trial: what it is ordered by, rungs first."""

    def _draw(self, seed: int) -> Mapping[str, Any]:
        writer = self._policy.writer(np.random.default_rng(seed))

        def suggest(parameter: Parameter) -> Any:
            name = parameter.optuna_name
            return self._choices[name][writer.choose(self._index[name])]

        return self._space.draw(suggest)

    # Learning

    def _take_in(self, lesson: Lesson) -> None:
        reward = self._reward(lesson.result)
        choices = self._sequence(lesson.result.params)
        if choices is None:
            return
        self._waiting.append((choices, reward - self._baseline))
        self._baseline += (1 - self._baseline_decay) * (reward - self._baseline)
        if len(self._waiting) == self._batch:
            self._policy.learn(self._waiting)
            self._waiting = []

    def _reward(self, result: Result) -> float:
        """The normal score of the share of results that it beats; ties count half."""
        if result.number in self._ranks:
            del self._order[bisect.bisect_left(self._order, self._ranks[result.number])]
        rank = self._ranks[result.number] = _rank(result)
        bisect.insort(self._order, rank)
        better = bisect.bisect_left(self._order, rank)
        ties = bisect.bisect_right(self._order, rank) - better
        return NormalDist().inv_cdf(1 - (better + ties / 2) / len(self._order))

    def _sequence(self, params: Mapping[str, Any]) -> list[Pick] | None:
        """A configuration as the policy's choices; None for what it could not have written."""
        choices: list[Pick] = []

        def note(parameter: Parameter) -> Any:
            name = parameter.optuna_name
            choices.append((self._index[name], self._choices[name].index(params[name])))
            return params[name]

        try:
            self._space.draw(note)
        except (LookupError, ValueError):  # of another sweep, whose space was another in part
            return None
        return choices


def _rank(result: Result) -> tuple[float, float]:
    """What results are ordered by, the best first."""
    if result.diverged:
        return (1.0, 0.0)
    return (-float(result.rung), result.losses[-1] if result.losses else 0.0)


def _choices(parameter: Parameter) -> list[Any]:
    """Optuna's values of a parameter.

    Raises:
        ConfigError: There are too many; what to write is said.
    """
    domain = parameter.domain
    if domain.size is None or domain.size > _MOST:
        count = "endlessly many" if domain.size is None else str(domain.size)
        raise ConfigError(
            f"controller chooses among at most {_MOST} values a parameter, and {parameter.name} "
            f"is {domain.expression()}, which has {count}; write {_coarser(domain)}, say"
        )
    return [domain.from_value(domain.at(index)) for index in range(domain.size)]


def _coarser(domain: Domain) -> str:
    """A few values that span a domain, as an override reads them."""
    if isinstance(domain, Choice):
        return "fewer of them"
    if isinstance(domain, Int) and domain.scale == "uniform":
        return (
            f"range({domain.low}, {domain.high + 1}, {math.ceil((domain.high - domain.low) / 10)})"
        )
    if domain.scale == "uniform":
        step = (domain.high - domain.low) / 10
        return f"range({domain.low:g}, {domain.high + step:g}, {step:g})"
    points = [from_unit(domain.distribution(), unit) for unit in (0, 0.25, 0.5, 0.75, 1)]
    return f"choice({', '.join(f'{x:.6g}' for x in sorted(map(domain.to_value, points)))})"
