"""What to know of a sweep before its first trial: one line each, of what is not as it may seem."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from sweeps.journal.events import Event
from sweeps.journal.trials import Trials
from sweeps.planning import changes
from sweeps.schedulers.brackets import Synchronous

if TYPE_CHECKING:
    from sweeps.planning.plan import Plan

_DEAF = ("grid", "qmc", "random")
"""Searchers that learn from no trial."""
_NEEDS_ALL = ("bohb", "cmaes", "controller", "genetic", "gp")
"""Searchers that learn from no trial that lacks a parameter."""


def notices(plan: Plan) -> Iterator[str]:
    """Of a plan."""
    yield from _of_size(plan)
    yield from _of_initial(plan)
    yield from _of_first_objective(plan)
    yield from _of_repeats(plan)
    if not plan.settings.resume:
        yield from _of_warm_start(plan)
    if isinstance(plan.scheduler, Synchronous) and plan.num_samples < plan.scheduler.full_round:
        yield (
            f"hydra.sweeper.num_samples is {plan.num_samples}, and a full round of the brackets "
            f"takes {plan.scheduler.full_round}: {plan.scheduler.filled(plan.num_samples)}"
        )


def of_changed_space(plan: Plan, history: Iterable[Event]) -> Iterator[str]:
    """What becomes of the trials of a sweep that goes on in another space."""
    trials = Trials(plan.settings.objective)
    for event in history:
        trials.apply(event)
    if not trials.spaces or trials.spaces[-1] == plan.space:
        return
    fit = sum(plan.space.holds(trials.values(trial)) for trial in trials)
    yield (
        f"the search space is another from here on: "
        f"{'; '.join(changes.of_space(trials.spaces[-1], plan.space))}. {fit} of {len(trials)} "
        f"trials fit it and count on; the others stay in the results and are not trained further"
    )


def _of_size(plan: Plan) -> Iterator[str]:
    asked, size = plan.settings.num_samples, plan.space.size()
    if plan.settings.searcher["name"] == "grid":
        if asked is not None and asked > plan.num_samples:
            yield f"the grid has {plan.num_samples} combinations, so {asked} trials become as many"
    elif size is not None and size < plan.num_samples:
        yield (
            f"the space has {size} combinations only, so some will be tried again; "
            f"hydra/sweeper/searcher=grid tries each once"
        )


def _of_initial(plan: Plan) -> Iterator[str]:
    points, trials = len(plan.settings.initial), plan.num_samples
    if points > trials:
        yield (
            f"hydra.sweeper.initial has {points} points and hydra.sweeper.num_samples is {trials}: "
            f"the last {points - trials} will not be tried"
        )


def _of_first_objective(plan: Plan) -> Iterator[str]:
    objective, budget = plan.settings.objective, plan.settings.budget
    for key, value in (("target", budget.target), ("patience", budget.patience)):
        if objective.others and value is not None:
            yield f"hydra.sweeper.stop.{key} is of the first objective alone, {objective.metric}"


def _of_repeats(plan: Plan) -> Iterator[str]:
    if plan.repeating is not None and plan.repeating.key is None:
        yield (
            "the app's config has no key 'seed' to set: repeats differ in what the generators of "
            "Python, NumPy and torch give, seeded for each of them; where the app seeds these "
            "itself, name the key of its seed with hydra.sweeper.repeats_key"
        )


def _of_warm_start(plan: Plan) -> Iterator[str]:
    searcher = plan.settings.searcher["name"]
    if not plan.known:
        return
    if searcher in _DEAF:
        yield (
            f"hydra.sweeper.warm_start changes nothing: the searcher {searcher} learns from no "
            f"trial; tpe does"
        )
    elif searcher in _NEEDS_ALL and not any(plan.space.holds(k["params"]) for k in plan.known):
        yield (
            f"hydra.sweeper.warm_start changes nothing: none of its trials has all parameters of "
            f"this space, and {searcher} learns from no other; tpe does"
        )
