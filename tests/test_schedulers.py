"""What holds for every scheduler with rungs or a rule, in whole simulated sweeps."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sweeps.journal.events import Closed, Created, Ended, Event, Opened, Reported, Started
from sweeps.journal.status import Decision
from sweeps.schedulers import (
    Done,
    Observation,
    Promote,
    Scheduler,
    Start,
    make_scheduler,
)
from sweeps.simulate import Setup, simulate
from sweeps.space.space import parse_space

SPACE, _ = parse_space({"x": "interval(0, 1)"}, [])
SCHEDULERS: dict[str, dict[str, Any]] = {
    "asha": {"name": "asha", "max_t": 9},
    "asha_stop": {"name": "asha_stop", "max_t": 9, "brackets": 2},
    "hyperband": {"name": "hyperband", "max_t": 9},
    "median": {"name": "median", "max_t": 9, "min_samples_required": 2},
    "successive_halving": {"name": "successive_halving", "max_t": 9},
}
EVERY = {
    **SCHEDULERS,
    "none": {"name": "none"},
    "pbt": {
        "name": "pbt",
        "max_t": 9,
        "perturbation_interval": 2,
        "hyperparam_mutations": ["x"],
    },
}
every_scheduler = pytest.mark.parametrize("name", SCHEDULERS)


def curve(values: Mapping[str, Any], trial: int) -> Iterable[tuple[dict[str, float], float]]:
    """Some trials fail, some diverge and some return before `max_t`."""
    rng = random.Random(trial)
    if trial % 11 == 9:
        return
    for step in range(1, 5 if trial % 7 == 3 else 10):
        diverged = trial % 8 == 6 and step == 1 + trial // 8 % 2
        loss = math.nan if diverged else values["x"] + rng.random() / step
        yield {"objective": loss}, rng.choice([1.0, 1.0, 2.5])


def setup(name: str, seed: int = 0, **fields: Any) -> Setup:
    given = {"num_samples": 23, "workers": 4, "searcher": {"name": "random"}, **fields}
    return Setup(space=SPACE, seed=seed, scheduler=EVERY[name], **given)


def decisions(events: Iterable[Event]) -> str:
    """What was decided and when, without the words of drivers that come and go."""
    return repr(
        [
            event if isinstance(event, Ended | Created) else replace(event, run=0)
            for event in events
            if not isinstance(event, Opened | Closed)
            and not (isinstance(event, Started) and event.reason == "resume")
        ]
    )


@every_scheduler
def test_a_sweep_cut_anywhere_goes_on_as_if_it_had_not_been(name: str) -> None:
    unbroken = simulate(curve, setup(name))
    for kept in range(0, len(unbroken.events), 4):
        resumed = simulate(curve, setup(name), history=unbroken.events[:kept])
        assert decisions(resumed.events) == decisions(unbroken.events), kept


@every_scheduler
def test_without_checkpoints_nothing_pauses_and_a_cut_loses_no_trial(name: str) -> None:
    unbroken = simulate(curve, setup(name, checkpoints=False))
    for kept in range(0, len(unbroken.events), 40):
        history = unbroken.events[:kept]
        resumed = simulate(curve, setup(name, checkpoints=False), history=history)
        assert len(resumed.asks) == 23
        assert resumed.trials.counts["paused"] == resumed.trials.counts["running"] == 0


@every_scheduler
def test_no_slot_waits_for_ever_whatever_fails(name: str) -> None:
    for seed in range(6):
        for workers, num_samples in ((1, 7), (3, 23), (9, 31)):
            result = simulate(curve, setup(name, seed, workers=workers, num_samples=num_samples))
            assert len(result.asks) == num_samples
            counts = result.trials.counts
            assert counts["running"] == 0
            assert counts["failed"] == sum(trial % 11 == 9 for trial in range(num_samples))
            assert counts["complete"] >= (name != "asha")
            steps = [(e.trial, e.step) for e in result.events if isinstance(e, Reported)]
            assert len(set(steps)) == len(steps)


@every_scheduler
def test_a_diverged_trial_never_goes_on(name: str) -> None:
    result = simulate(curve, setup(name, num_samples=40))
    diverged = result.trials.with_status("diverged")
    assert diverged
    for trial in diverged:
        assert trial.step == 1 + trial.number // 8 % 2
        assert trial.cause == "diverged"


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("checkpoints", [True, False])
def test_who_says_so_judges_nothing_finite_between_rungs(name: str, checkpoints: bool) -> None:
    given = setup(name, num_samples=40, checkpoints=checkpoints)
    rungs = make_scheduler(**EVERY[name], space=SPACE, seed=0).rungs()
    between = [
        event.decision
        for event in simulate(curve, given).events
        if isinstance(event, Reported) and event.step not in rungs and math.isfinite(event.value)
    ]

    assert between or name == "pbt" or rungs == list(range(1, 10))
    judges = make_scheduler(**EVERY[name], space=SPACE, seed=0).judges_between_rungs
    assert judges == (set(between) != {Decision.CONTINUE})
    assert judges == (name == "median")


@every_scheduler
def test_asking_what_is_next_changes_nothing(name: str, monkeypatch: Any) -> None:
    plain = simulate(curve, setup(name))
    kind = type(make_scheduler(**SCHEDULERS[name], space=SPACE, seed=0))
    answer = kind.next

    def asks_thrice(self: Scheduler, *, can_start: bool, running: int) -> Any:
        for whatever in (True, False):
            answer(self, can_start=whatever, running=running)
        return answer(self, can_start=can_start, running=running)

    monkeypatch.setattr(kind, "next", asks_thrice)
    assert repr(simulate(curve, setup(name)).events) == repr(plain.events)


@every_scheduler
def test_the_global_generators_change_nothing(name: str) -> None:
    def events(seed: int) -> str:
        np.random.seed(seed)
        random.seed(seed)
        return repr(simulate(curve, setup(name)).events)

    assert events(1) == events(2)


@every_scheduler
def test_a_resumed_sweep_that_was_done_does_nothing_more(name: str) -> None:
    done = simulate(curve, setup(name))
    again = simulate(curve, setup(name), history=done.events)
    assert [type(e) for e in again.events[len(done.events) :]] == [Opened, Closed]


def drive(scheduler: Scheduler, trials: int) -> None:
    """Four slots that report each trial at its milestones."""
    slots, started, rng = list[int](), 0, random.Random(0)
    while True:
        what = scheduler.next(can_start=started < trials, running=len(slots))
        if len(slots) < 4 and isinstance(what, Start | Promote):
            slots.append(what.trial if isinstance(what, Promote) else started)
            started += isinstance(what, Start)
            scheduler.on_start(slots[-1], {})
            continue
        if isinstance(what, Done):
            return
        trial = slots.pop(0)
        step = scheduler.milestone(trial) or 9
        seen = Observation(trial=trial, step=step, loss=rng.random(), resumable=True)
        (decision,) = scheduler.on_reports([seen])
        if decision is Decision.CONTINUE:
            slots.append(trial)
        elif decision is not Decision.PAUSE:
            scheduler.on_end(trial)


@every_scheduler
def test_a_trial_trains_up_to_its_milestone_where_rungs_are_laid_down(name: str) -> None:
    scheduler = make_scheduler(**SCHEDULERS[name], space=SPACE, seed=0)
    scheduler.on_start(0, {})
    milestone = scheduler.milestone(0)
    assert milestone is None if name == "median" else milestone in scheduler.rungs()
    assert scheduler.rungs()[-1] == scheduler.max_t == 9


def test_only_the_asynchronous_take_a_larger_max_t() -> None:
    one_bracket = {
        name: {**o, "brackets": 1} if "brackets" in o else o for name, o in SCHEDULERS.items()
    }
    assert [
        name
        for name, options in one_bracket.items()
        if make_scheduler(**options, space=SPACE, seed=0).extends
    ] == ["asha", "asha_stop"]
    assert not make_scheduler(**SCHEDULERS["asha_stop"], space=SPACE, seed=0).extends


def test_what_a_trial_without_checkpoints_does_is_said_where_trials_pause() -> None:
    said = {
        name: make_scheduler(**options, space=SPACE, seed=0).without_checkpoint
        for name, options in SCHEDULERS.items()
    }
    assert said["asha_stop"] is said["median"] is None
    assert "stopped otherwise" in said["asha"]
    assert "runs on to max_t" in said["hyperband"]
    assert said["hyperband"] == said["successive_halving"]
