"""Every searcher with every scheduler: cut anywhere and resumed, a sweep goes on as if unbroken;
also where others stop its trials, enqueue some and change its bounds at random moments."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from sweeps.core.compatible import refusal
from sweeps.core.fidelity import Fidelity
from sweeps.journal.events import (
    Asked,
    Closed,
    Created,
    Ended,
    Event,
    Opened,
    Requested,
    Started,
)
from sweeps.journal.objective import Objective
from sweeps.journal.pareto import pareto_front
from sweeps.journal.status import BY_REQUEST, Status
from sweeps.journal.trials import Trials
from sweeps.schedulers import SCHEDULERS
from sweeps.searchers import SEARCHERS
from sweeps.simulate import Curve, Setup, Simulated, simulate
from sweeps.space.space import Space, parse_space

MIXED, _ = parse_space(
    {
        "lr": "tag(log, interval(1e-4, 1))",
        "momentum": "tag(one_minus_log, interval(0.5, 0.99))",
        "width": "int(interval(4, 64))",
        "net": "mlp, convnet, resnet",
    },
    [],
)
FINITE, _ = parse_space(
    {"lr": "1e-4, 1e-3, 1e-2, 1e-1", "width": "range(4, 64, 12)", "net": "mlp, convnet, resnet"}, []
)
GIVEN: dict[str, Any] = {
    "when": {
        "channels": {"net": ["convnet", "resnet"]},
        "blocks": {"net": "resnet"},
    },
    "constraints": ["width * lr <= 8", "channels * blocks <= 12", "net != 'mlp' or width >= 8"],
}
CONDITIONAL, _ = parse_space(
    {
        "lr": "tag(log, interval(1e-4, 1))",
        "width": "int(interval(4, 64))",
        "net": "mlp, convnet, resnet",
        "channels": "int(interval(1, 8))",
        "blocks": "range(1, 4)",
    },
    [],
    **GIVEN,
)
CONDITIONAL_FINITE, _ = parse_space(
    {
        "lr": "1e-3, 1e-2, 1e-1, 1",
        "width": "range(4, 64, 12)",
        "net": "mlp, convnet, resnet",
        "channels": "2, 4, 8",
        "blocks": "range(1, 4)",
    },
    [],
    **GIVEN,
)
INITIAL: list[dict[str, Any]] = [
    {"lr": 0.01, "width": 16, "net": "resnet", "channels": 4, "blocks": 2},
    {"net": "convnet"},
]
SEARCHER_OPTIONS: dict[str, dict[str, Any]] = {
    "annealing": {},
    "bohb": {},
    "cmaes": {},
    "coarse_to_fine": {},
    "controller": {},
    "genetic": {"population_size": 4},
    "gp": {"n_startup_trials": 11},
    "grid": {},
    "qmc": {},
    "random": {},
    "tpe": {"n_startup_trials": 4},
}
SCHEDULER_OPTIONS: dict[str, dict[str, Any]] = {
    "asha": {"max_t": 9},
    "asha_stop": {"max_t": 9},
    "hyperband": {"max_t": 9},
    "learning_curve": {"max_t": 9},
    "median": {},
    "none": {},
    "pb2": {"max_t": 9, "perturbation_interval": 3, "hyperparam_mutations": ["lr"]},
    "pbt": {"max_t": 9, "perturbation_interval": 3, "hyperparam_mutations": ["lr"]},
    "successive_halving": {"max_t": 9},
}
IN_A_HARD_SPACE = {
    "annealing": "asha",
    "bohb": "hyperband",
    "cmaes": "median",
    "coarse_to_fine": "successive_halving",
    "controller": "asha_stop",
    "genetic": "pbt",
    "gp": "asha",
    "grid": "asha",
    "qmc": "learning_curve",
    "random": "pb2",
    "tpe": "asha",
}
"""With which scheduler each searcher meets conditions, constraints and initial points at once."""
WITH_SEVERAL_OBJECTIVES = {
    "genetic": "median",
    "gp": "none",
    "grid": "asha_stop",
    "qmc": "successive_halving",
    "random": "hyperband",
    "tpe": "asha",
}
"""The searchers that take them, and with which scheduler each does."""
PAIRS = [(s, p) for s in sorted(SEARCHERS) for p in sorted(SCHEDULERS)]
TOGETHER = [(s, p) for s, p in PAIRS if refusal(s, p) is None]
DEAR = [("gp", p) for p in SCHEDULERS]


def cases(pairs: Iterable[tuple[str, str]]) -> list[Any]:
    """These for a test; those that take seconds are slow."""
    return [pytest.param(*pair, marks=pytest.mark.slow if pair in DEAR else ()) for pair in pairs]


def space_of(searcher: str) -> Space:
    return FINITE if searcher in ("grid", "controller") else MIXED


def hard_space_of(searcher: str) -> Space:
    return CONDITIONAL_FINITE if searcher in ("grid", "controller") else CONDITIONAL


def curve(values: Mapping[str, Any], trial: int) -> Iterable[tuple[dict[str, float], float]]:
    """Worse away from lr 0.01, diverging for large ones; epochs of uneven length."""
    rng = random.Random(trial)
    bad = abs(math.log10(values["lr"]) + 2) + (values["net"] == "mlp")
    bad += 0.1 * abs(values.get("channels", 3) - 3)
    for step in range(1, 10):
        diverged = values["lr"] > 0.3 and step == 2
        loss = bad + (1 + 0.2 * rng.random()) / step
        size = float(values["width"])
        yield {"loss": math.nan if diverged else loss, "size": size}, rng.choice([1.0, 1.0, 2.5])


def setup(searcher: str, scheduler: str, seed: int, **fields: Any) -> Setup:
    given: dict[str, Any] = {
        "space": space_of(searcher),
        "num_samples": 14,
        "objective": Objective(metric="loss"),
        "searcher": {"name": searcher, **SEARCHER_OPTIONS[searcher]},
        "scheduler": {"name": scheduler, **SCHEDULER_OPTIONS[scheduler]},
        "workers": 3,
        "seed": seed,
    }
    return Setup(**{**given, **fields})


def decisions(events: Iterable[Event]) -> list[str]:
    """What was decided and when, without the words of drivers that come and go."""
    return [
        repr(event if isinstance(event, Ended | Created | Requested) else replace(event, run=0))
        for event in events
        if not isinstance(event, Opened | Closed)
        and not (isinstance(event, Started) and event.reason == "resume")
    ]


def test_every_searcher_and_scheduler_is_in_this_suite() -> None:
    assert set(SEARCHER_OPTIONS) == set(SEARCHERS)
    assert set(SCHEDULER_OPTIONS) == set(SCHEDULERS)


@pytest.mark.parametrize(("searcher", "scheduler"), cases(TOGETHER))
def test_a_sweep_cut_at_a_random_event_decides_as_the_unbroken_one(
    searcher: str, scheduler: str
) -> None:
    rng = random.Random(f"{searcher} {scheduler}")
    check_cut_and_resumed(setup(searcher, scheduler, rng.randrange(100)), rng)


@pytest.mark.parametrize("searcher", SEARCHERS)
def test_so_does_one_with_conditions_constraints_and_initial_points(searcher: str) -> None:
    rng = random.Random(searcher)
    space, initial = hard_space_of(searcher), [] if searcher == "grid" else INITIAL
    given = setup(
        searcher, IN_A_HARD_SPACE[searcher], rng.randrange(100), space=space, initial=initial
    )
    unbroken = check_cut_and_resumed(given, rng)
    proposed = [space.values(ask.params) for ask in unbroken.asks]
    assert not any(map(space.violated, proposed))
    assert {tuple(values) for values in proposed} <= {
        ("lr", "width", "net"),
        ("lr", "width", "net", "channels"),
        ("lr", "width", "net", "channels", "blocks"),
    }
    for point, values in zip(initial, proposed, strict=False):
        assert point.items() <= values.items()


@pytest.mark.parametrize(("searcher", "scheduler"), cases(WITH_SEVERAL_OBJECTIVES.items()))
def test_so_does_one_of_several_objectives(searcher: str, scheduler: str) -> None:
    rng = random.Random(f"{searcher} objectives")
    size = Objective(metric="size", mode="max")
    objective = Objective(metric="loss", others=(size,))
    unbroken = check_cut_and_resumed(
        setup(searcher, scheduler, rng.randrange(100), objective=objective), rng
    )
    assert all(trial.values for trial in pareto_front(unbroken.trials, objective))


def curve_of_share(values: Mapping[str, Any], trial: int) -> Iterable[Any]:
    """The more of the data a trial gets, the better it is and the longer a step takes."""
    for metrics, seconds in curve(values, trial):
        yield {"loss": metrics["loss"] - values["share"]}, seconds * values["share"]


@pytest.mark.parametrize("scheduler", ["asha", "asha_stop", "successive_halving", "hyperband"])
def test_so_does_one_whose_fidelity_is_a_parameter(scheduler: str) -> None:
    share = Fidelity(name="+share", min=0.1, max=1.0)
    rng = random.Random(scheduler)
    given = setup("tpe", scheduler, 1, fidelity=share)
    unbroken = check_cut_and_resumed(given, rng, curve_of_share)
    assert unbroken.trials.best is not None
    assert unbroken.trials.best.step == share.rungs
    given = setup("random", scheduler, 1, fidelity=share)
    check_cut_and_resumed(given, rng, curve_of_share, cuts=20)


def check_cut_and_resumed(
    given: Setup, rng: random.Random, curve: Curve = curve, *, cuts: int = 2
) -> Simulated:
    """Cut at random events and resumed, the sweep decides as the unbroken one; that one."""
    unbroken = simulate(curve, given)
    check_whole(unbroken)
    for kept in rng.sample(range(1, len(unbroken.events)), cuts):
        resumed = simulate(curve, given, history=unbroken.events[:kept])
        assert decisions(resumed.events) == decisions(unbroken.events), (given.seed, kept)
    return unbroken


def check_whole(sweep: Simulated) -> None:
    """Every trial is asked once, ends at most once, and none is left in a slot."""
    asked = [event.trial for event in sweep.events if isinstance(event, Asked)]
    assert asked == list(range(14))
    ends = Counter(event.trial for event in sweep.events if isinstance(event, Ended))
    assert set(ends.values()) <= {1}
    assert not sweep.trials.with_status(Status.RUNNING)
    assert sweep.trials.best is not None
    assert sweep.trials.closed.reason == "done"


@pytest.mark.parametrize(
    ("searcher", "scheduler"), [pair for pair in PAIRS if pair not in TOGETHER]
)
def test_what_makes_no_sense_together_is_refused_with_the_reason(
    searcher: str, scheduler: str
) -> None:
    reason = refusal(searcher, scheduler)
    assert reason is not None
    assert searcher in reason
    assert scheduler in reason
    assert "choose" in reason


# Steered

POINTS: list[dict[str, Any]] = [
    {"lr": 0.0125, "net": "mlp"},
    {"lr": 0.01, "width": 32, "net": "resnet"},
    {},
]


def requests_of(rng: random.Random) -> list[tuple[float, dict[str, Any]]]:
    """Stops, points and bounds at random seconds, some too early or too late to be granted."""
    asked = [{"enqueue": point} for point in POINTS]
    asked += [{"extend": {"num_samples": n}} for n in (15, 17)]
    requests = [(rng.uniform(0.5, 10), one) for one in asked]
    for _ in range(16):  # of a trial that may well be there by then
        second = rng.uniform(0.5, rng.choice([8, 45]))
        requests.append((second, {"stop": rng.randrange(2 + int(second))}))
    return sorted(requests, key=lambda request: request[0])


def steady(events: Iterable[Event], given: Setup) -> Iterator[int]:
    """After how many events no trial is on its way to a stop: there a cut changes nothing."""
    trials = Trials(given.objective)
    for count, event in enumerate(events, start=1):
        trials.apply(event)
        if trials.run and not any(t.stopping and not t.status.is_final for t in trials):
            yield count


def check_steered(given: Setup, rng: random.Random, curve: Curve = curve) -> Simulated:
    whole = simulate(curve, given)
    granted = [e for e in whole.events if isinstance(e, Requested) and e.refusal is None]
    check_all_done(whole, granted)
    cuts = [count for count in steady(whole.events, given) if count < len(whole.events)]
    for kept in rng.sample(cuts, 3):
        resumed = simulate(curve, given, history=whole.events[:kept])
        assert decisions(resumed.events) == decisions(whole.events), (given.seed, kept)
    dying = sorted(set(range(1, len(whole.events))) - set(cuts))[1:]
    for kept in rng.sample(dying, min(2, len(dying))):
        resumed = simulate(curve, given, history=whole.events[:kept])
        check_all_done(
            resumed, [e for e in resumed.events if isinstance(e, Requested) and not e.refusal]
        )
    return whole


def check_all_done(sweep: Simulated, granted: list[Requested]) -> None:
    """Nothing is lost, waits for ever or runs twice; who was stopped stayed so."""
    asked = [event.trial for event in sweep.events if isinstance(event, Asked)]
    assert asked == list(range(len(sweep.trials)))
    assert len(sweep.trials) >= 14
    ends = Counter(event.trial for event in sweep.events if isinstance(event, Ended))
    assert set(ends.values()) <= {1}
    assert not sweep.trials.with_status(Status.RUNNING)
    assert sweep.trials.closed.reason == "done"
    for event in granted:
        match event.asked:
            case {"stop": number}:
                trial = sweep.trials[number]
                assert trial.status.is_final
                assert trial.status is not Status.STOPPED or trial.cause == BY_REQUEST
            case {"enqueue": values}:
                trial = sweep.trials[event.trial]
                given = sweep.trials.spaces[0].values(sweep.asks[event.trial].params)
                assert given.items() >= values.items()


@pytest.mark.parametrize(
    "scheduler",
    [pytest.param(s, marks=[pytest.mark.slow] * (s == "pb2")) for s in sorted(SCHEDULER_OPTIONS)],
)
def test_every_scheduler_goes_on_rightly_whatever_is_asked_of_it(scheduler: str) -> None:
    stops = 0
    for seed in range(2):
        rng = random.Random(f"{scheduler} {seed}")
        whole = check_steered(setup("random", scheduler, seed, requests=requests_of(rng)), rng)
        stops += sum(trial.cause == BY_REQUEST for trial in whole.trials)
        if scheduler in ("successive_halving", "hyperband"):
            assert max(trial.step for trial in whole.trials) == 9  # a bracket still ends
    assert stops >= 2


LEARNING = [s for s in sorted(SEARCHER_OPTIONS) if s not in ("grid", "gp", "random")]


@pytest.mark.slow
@pytest.mark.parametrize("searcher", LEARNING)
def test_every_searcher_takes_points_and_stops_as_they_come(searcher: str) -> None:
    rng = random.Random(searcher)
    points = [{"lr": 0.01, "net": "mlp"}, {"net": "convnet", "channels": 4}, {"width": 16}]
    finite = hard_space_of(searcher) is not CONDITIONAL
    requests = [(rng.uniform(1, 30), {"stop": rng.randrange(10)}) for _ in range(4)]
    requests += [(rng.uniform(1, 20), {"enqueue": p}) for p in points if not finite or "width" in p]
    space = hard_space_of(searcher)
    assert refusal(searcher, "asha") is None
    given = setup(searcher, "asha", 3, space=space, requests=sorted(requests, key=lambda r: r[0]))
    whole = check_steered(given, rng)
    assert not any(space.violated(space.values(ask.params)) for ask in whole.asks)


@pytest.mark.parametrize("scheduler", ["asha", "asha_stop", "hyperband"])
def test_so_it_is_where_the_fidelity_is_a_parameter(scheduler: str) -> None:
    rng = random.Random(scheduler)
    share = Fidelity(name="+share", min=0.1, max=1.0)
    given = setup("random", scheduler, 1, fidelity=share, requests=requests_of(rng))
    check_steered(given, rng, curve_of_share)


def test_a_stopped_trial_may_be_the_best_and_what_it_reported_counts() -> None:
    found = 0
    for seed in range(6):
        rng = random.Random(seed)
        sweep = simulate(curve, setup("random", "none", seed, requests=requests_of(rng)))
        for trial in sweep.trials:
            if trial.cause == BY_REQUEST:
                found += 1
                losses = [report.value for report in trial.reports.values()]
                assert trial.value == min(losses, default=None)
                assert all(map(math.isfinite, losses))
        best = min(t.value for t in sweep.trials if t.status is not Status.DIVERGED and t.value)
        assert sweep.trials.best.value == best
    assert found >= 3
