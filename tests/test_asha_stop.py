from __future__ import annotations

import math
import random
from collections import Counter

import numpy as np
import pytest

from sweeps.errors import ConfigError
from sweeps.journal.events import Reported
from sweeps.journal.status import Decision
from sweeps.schedulers import AshaStop, Done, Observation, Promote, Start, Wait, make_scheduler
from sweeps.simulate import Setup, simulate
from sweeps.space.space import parse_space

SPACE, _ = parse_space({"x": "interval(0, 1)"}, [])
CONTINUE, STOP, COMPLETE = Decision.CONTINUE, Decision.STOP, Decision.COMPLETE


def report(asha: AshaStop, trial: int, step: int, loss: float) -> Decision:
    seen = Observation(trial=trial, step=step, loss=loss, resumable=False)
    (decision,) = asha.on_reports([seen])
    if decision in (STOP, COMPLETE):
        asha.on_end(trial)
    return decision


def start(asha: AshaStop, trial: int, step: int, loss: float) -> Decision:
    asha.on_start(trial, {})
    return report(asha, trial, step, loss)


def test_a_trial_goes_on_while_it_is_in_the_top_of_those_so_far_worked_by_hand() -> None:
    asha = AshaStop(max_t=9)
    assert asha.rungs() == [1, 3, 9]
    assert start(asha, 0, 1, 0.5) is CONTINUE  # the best of one
    assert start(asha, 1, 1, 0.6) is STOP  # a third of two, rounded up, is one
    assert start(asha, 2, 1, 0.3) is CONTINUE
    assert start(asha, 3, 1, 0.4) is CONTINUE  # of four, two
    assert start(asha, 4, 1, 0.45) is STOP
    assert [report(asha, 2, step, 0.3) for step in (2, 3, 4)] == [CONTINUE] * 3
    assert report(asha, 0, 3, 0.4) is STOP
    assert report(asha, 3, 3, 0.2) is CONTINUE
    assert report(asha, 3, 9, 0.2) is COMPLETE


@pytest.mark.parametrize("seed", range(20))
def test_agrees_with_the_rule_written_out_on_random_losses(seed: int) -> None:
    rng = random.Random(seed)
    eta = rng.choice([2, 3, 4])
    asha, arrived = AshaStop(max_t=eta**3, reduction_factor=eta), [list[float]() for _ in range(3)]
    for trial in range(150):
        asha.on_start(trial, {})
        for rung in range(4):
            loss = rng.random()
            decision = report(asha, trial, eta**rung, loss)
            if rung == 3:
                assert decision is COMPLETE
                break
            arrived[rung].append(loss)
            top = sorted(arrived[rung])[: math.ceil(len(arrived[rung]) / eta)]
            assert decision is (CONTINUE if loss in top else STOP)
            if decision is STOP:
                break


def test_it_lets_few_more_than_its_share_of_exchangeable_trials_pass() -> None:
    rng = random.Random(0)
    passed = []
    for _ in range(20):
        asha = AshaStop(max_t=27)
        passed.append(sum(start(asha, t, 1, rng.random()) is CONTINUE for t in range(300)))
    assert 100 <= sum(passed) / 20 <= 106


@pytest.mark.parametrize("seed", range(5))
def test_the_best_so_far_is_never_stopped_so_one_reaches_max_t(seed: int) -> None:
    losses = np.random.default_rng(seed).random(7)
    setup = Setup(
        space=SPACE,
        num_samples=7,
        workers=3,
        searcher={"name": "random"},
        scheduler={"name": "asha_stop", "max_t": 27},
        checkpoints=False,
    )
    steps = range(1, 28)
    result = simulate(lambda v, t: (({"objective": losses[t]}, 1.0) for _ in steps), setup)
    assert result.trials[int(losses.argmin())].step == 27
    assert set(result.trials.counts) >= {"stopped", "complete"}
    assert result.trials.counts["paused"] == 0


def test_a_diverged_trial_is_stopped_at_once_and_ranks_last() -> None:
    asha = AshaStop(max_t=9)
    assert start(asha, 0, 1, math.inf) is STOP  # though it is the first
    assert start(asha, 1, 1, 0.9) is CONTINUE
    assert start(asha, 2, 1, 0.8) is CONTINUE
    assert start(asha, 3, 1, 0.85) is CONTINUE  # second of four
    assert report(asha, 1, 2, math.inf) is STOP
    assert report(asha, 2, 3, 0.9) is CONTINUE
    assert report(asha, 3, 3, 0.95) is STOP
    assert start(asha, 4, 1, 0.86) is STOP


def test_a_step_reported_again_after_a_crash_counts_once() -> None:
    asha = AshaStop(max_t=9)
    assert start(asha, 0, 1, 0.5) is CONTINUE
    for _ in range(5):
        asha.on_start(0, {})
        assert report(asha, 0, 1, 0.5) is CONTINUE
    assert start(asha, 1, 1, 0.6) is STOP  # second of two, not of seven
    assert asha.milestone(0) == 3


def test_a_report_that_jumps_over_rungs_is_judged_at_the_highest_and_never_below_again() -> None:
    asha = AshaStop(max_t=27)
    assert start(asha, 0, 4, 0.5) is CONTINUE
    assert report(asha, 0, 5, 9.0) is CONTINUE
    assert asha.milestone(0) == 9
    assert start(asha, 1, 1, 0.6) is STOP  # the other ranks at step 1 too
    assert start(asha, 2, 2, 0.4) is CONTINUE
    assert report(asha, 2, 3, 0.7) is STOP  # and at step 3, with what it reported at 4


def test_what_is_free_starts_waits_or_is_done() -> None:
    asha = AshaStop(max_t=9)
    assert isinstance(asha.next(can_start=True, running=0), Start)
    assert isinstance(asha.next(can_start=False, running=1), Wait)
    assert isinstance(asha.next(can_start=False, running=0), Done)


# Brackets


def milestones(seed: int, trials: int = 1500) -> list[int]:
    asha = AshaStop(max_t=27, brackets=3, seed=seed)
    for trial in range(trials):
        asha.on_start(trial, {})
    return [asha.milestone(trial) for trial in range(trials)]


def test_a_trials_bracket_is_drawn_by_seed_and_number_alone() -> None:
    np.random.seed(1)
    first = milestones(0)
    np.random.seed(2)
    assert milestones(0) == first
    assert milestones(0, 50) == first[:50]
    assert milestones(1) != first
    asha = AshaStop(max_t=27, brackets=3, seed=0)
    asha.on_start(1200, {})  # whatever was drawn before
    assert asha.milestone(1200) == first[1200]


def test_brackets_are_drawn_in_proportion_to_hyperbands_sizes() -> None:
    share = Counter(milestones(0))
    assert sorted(share) == [1, 3, 9]
    for step, size in ((1, 27), (3, 9), (9, 6)):
        assert share[step] / 1500 == pytest.approx(size / 42, abs=0.04)


def test_brackets_do_not_compare_with_each_other() -> None:
    asha = AshaStop(max_t=27, brackets=2, seed=0)
    for trial in range(40):
        asha.on_start(trial, {})
    early = [t for t in range(40) if asha.milestone(t) == 1]
    late = [t for t in range(40) if asha.milestone(t) == 3]
    assert report(asha, early[0], 1, 0.1) is CONTINUE
    assert report(asha, early[0], 3, 0.1) is CONTINUE
    assert report(asha, late[0], 1, 0.9) is CONTINUE
    assert report(asha, late[0], 3, 0.9) is CONTINUE  # first of its own bracket
    assert report(asha, late[1], 3, 0.95) is STOP


# A larger max_t


def test_after_max_t_was_raised_the_best_of_the_complete_go_on() -> None:
    asha = AshaStop(max_t=27)  # what was reported under max_t=9, told again
    for trial, loss in enumerate((0.5, 0.4, 0.3, 0.2)):
        for step in (1, 3, 9):
            asha.on_start(trial, {}) if step == 1 else None
            report(asha, trial, step, loss)
        asha.on_reopen(trial)
    promoted = asha.next(can_start=True, running=0)
    assert isinstance(promoted, Promote)
    assert promoted.trial == 3  # of four at step 9, two
    asha.on_start(3, {})
    assert asha.milestone(3) == 27
    again = asha.next(can_start=True, running=1)
    assert isinstance(again, Promote)
    assert again.trial == 2
    asha.on_start(2, {})
    assert isinstance(asha.next(can_start=True, running=2), Start)
    assert report(asha, 3, 27, 0.2) is COMPLETE


def test_a_sweep_goes_on_under_a_larger_max_t() -> None:
    def setup(num_samples: int, max_t: int) -> Setup:
        scheduler = {"name": "asha_stop", "max_t": max_t}
        searcher = {"name": "random"}
        return Setup(
            space=SPACE, num_samples=num_samples, workers=3, searcher=searcher, scheduler=scheduler
        )

    def curve(values, trial):
        return (({"objective": values["x"] + 1 / step}, 1.0) for step in range(1, 31))

    short = simulate(curve, setup(30, 10))
    assert max(trial.step for trial in short.trials) == 10
    complete = [t.number for t in short.trials if t.status == "complete"]
    longer = simulate(curve, setup(40, 30), history=short.events)
    steps = [(e.trial, e.step) for e in longer.events if isinstance(e, Reported)]
    assert len(set(steps)) == len(steps)
    assert longer.trials.counts["running"] == 0
    gone_on = [trial for trial in complete if longer.trials[trial].step == 30]
    assert 1 <= len(gone_on) < len(complete)
    best = min(complete, key=lambda t: short.trials[t].value)
    assert best in gone_on


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_t": 9, "brackets": 0}, "brackets is 0; it must be between 1 and 3, the number of"),
        ({"max_t": 9, "brackets": 4}, "brackets is 4; it must be between 1 and 3"),
        ({"max_t": 2, "grace_period": 3}, "max_t is 2; it must be at least grace_period, 3"),
        ({"max_t": 9, "bracket": 2}, r"did you mean brackets\?"),
    ],
)
def test_a_wrong_option_is_answered_with_the_rule_or_the_choices(
    options: dict[str, int], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        make_scheduler("asha_stop", space=SPACE, seed=0, **options)
