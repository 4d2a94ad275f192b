from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest

from sweeps.errors import ConfigError
from sweeps.journal.events import Reported
from sweeps.journal.status import Decision
from sweeps.schedulers import Asha, Done, Observation, Promote, Start, Wait, make_scheduler
from sweeps.simulate import Setup, simulate
from sweeps.space.space import parse_space

SPACE, _ = parse_space({"x": "interval(0, 1)"}, [])


def report(asha: Asha, trial: int, step: int, loss: float, *, resumable: bool = True) -> Decision:
    seen = Observation(trial=trial, step=step, loss=loss, resumable=resumable)
    (decision,) = asha.on_reports([seen])
    if decision in (Decision.STOP, Decision.COMPLETE):
        asha.on_end(trial)
    return decision


def start(asha: Asha, trial: int, step: int, loss: float, **options: bool) -> Decision:
    asha.on_start(trial, {})
    return report(asha, trial, step, loss, **options)


def promotion(asha: Asha) -> int | None:
    step = asha.next(can_start=False, running=0)
    return step.trial if isinstance(step, Promote) else None


def promote(asha: Asha) -> int:
    trial = promotion(asha)
    assert trial is not None
    asha.on_start(trial, {})
    return trial


@pytest.mark.parametrize(
    ("max_t", "grace_period", "eta", "rungs"),
    [
        (81, 1, 3, [1, 3, 9, 27, 81]),
        (98, 1, 3, [1, 3, 9, 27, 98]),  # 81 would be a fifth of the way short
        (200, 1, 3, [1, 3, 9, 27, 81, 200]),
        (98, 1, 4, [1, 4, 16, 98]),
        (20, 1, 4, [1, 4, 20]),
        (3, 2, 3, [2, 3]),  # the first one was asked for
        (1, 1, 3, [1]),
    ],
)
def test_no_rung_stands_just_below_max_t(
    max_t: int, grace_period: int, eta: int, rungs: list[int]
) -> None:
    asha = Asha(max_t=max_t, grace_period=grace_period, reduction_factor=eta)
    assert asha.rungs() == rungs


def test_promotes_as_the_paper_does_worked_by_hand() -> None:
    asha = Asha(max_t=9, grace_period=1, reduction_factor=3)
    assert asha.rungs() == [1, 3, 9]
    assert start(asha, 0, 1, 0.5) is Decision.PAUSE
    assert start(asha, 1, 1, 0.3) is Decision.PAUSE
    assert promotion(asha) is None  # a third of two is none
    start(asha, 2, 1, 0.4)
    assert promote(asha) == 1
    assert promotion(asha) is None  # the best third is one trial, and it went
    start(asha, 3, 1, 0.1)
    start(asha, 4, 1, 0.2)
    start(asha, 5, 1, 0.6)
    assert promote(asha) == 3  # best two of six: 3 and 4, the better first
    assert promote(asha) == 4
    assert promotion(asha) is None
    for trial, loss in [(1, 0.3), (3, 0.1), (4, 0.2)]:
        assert report(asha, trial, 2, loss) is Decision.CONTINUE
        assert report(asha, trial, 3, loss) is Decision.PAUSE
    assert promote(asha) == 3
    assert report(asha, 3, 9, 0.1) is Decision.COMPLETE


def test_a_free_slot_promotes_from_the_highest_rung_first() -> None:
    asha = Asha(max_t=4, reduction_factor=2)
    for trial in range(4):
        start(asha, trial, 1, trial)
    for trial in (promote(asha), promote(asha)):
        report(asha, trial, 2, trial)
    start(asha, 4, 1, -1.0)
    start(asha, 5, 1, 9.0)
    assert promote(asha) == 0  # at step 2; trial 4 could go on from step 1
    assert promote(asha) == 4


def test_what_cannot_promote_starts_waits_or_is_done() -> None:
    asha = Asha(max_t=9)
    assert isinstance(asha.next(can_start=True, running=0), Start)
    assert isinstance(asha.next(can_start=False, running=1), Wait)
    assert isinstance(asha.next(can_start=False, running=0), Done)


@pytest.mark.parametrize("loss", [math.inf, math.nan])
def test_a_diverged_trial_ranks_last_and_is_never_promoted(loss: float) -> None:
    asha = Asha(max_t=9)
    assert start(asha, 0, 1, math.inf if math.isnan(loss) else loss) is Decision.STOP
    start(asha, 1, 1, 0.5)
    assert promotion(asha) is None
    start(asha, 2, 1, 0.6)
    assert promote(asha) == 1  # the diverged one counts among the three
    asha = Asha(max_t=9)
    for trial in range(9):
        assert start(asha, trial, 1, math.inf) is Decision.STOP
    assert promotion(asha) is None


def test_never_promotes_a_trial_twice_from_a_rung() -> None:
    asha = Asha(max_t=9)
    for trial in range(30):
        start(asha, trial, 1, trial)
    promoted = [promote(asha) for _ in range(10)]
    assert promoted == list(range(10))
    assert promotion(asha) is None


def test_an_ended_trial_keeps_its_rank_but_is_not_promoted() -> None:
    asha = Asha(max_t=9)
    for trial in range(6):
        start(asha, trial, 1, trial)
    asha.on_end(0)
    assert promote(asha) == 1
    assert promotion(asha) is None


def test_a_step_reported_again_after_a_crash_counts_once() -> None:
    asha = Asha(max_t=9)
    for trial in range(3):
        start(asha, trial, 1, trial)
    assert promote(asha) == 0
    report(asha, 0, 2, 0.0)
    asha.on_start(0, {})  # its worker died: it goes on from an older checkpoint
    assert report(asha, 0, 1, 0.0) is Decision.CONTINUE
    assert report(asha, 0, 2, 0.0) is Decision.CONTINUE
    assert promotion(asha) is None
    assert report(asha, 0, 3, 0.0) is Decision.PAUSE
    start(asha, 3, 1, 5.0)
    start(asha, 4, 1, 6.0)
    assert promotion(asha) is None  # five at the first rung, not seven


def test_a_report_that_jumps_over_rungs_ranks_at_all_of_them_and_waits_at_the_highest() -> None:
    asha = Asha(max_t=27)
    assert start(asha, 0, 5, 0.0) is Decision.PAUSE
    for trial in (1, 2):
        start(asha, trial, 1, trial)
    assert promotion(asha) is None  # best of three at step 1, but it stands at step 3
    for trial in (3, 4):
        start(asha, trial, 3, trial)
    assert promote(asha) == 0
    assert report(asha, 0, 30, 0.0) is Decision.COMPLETE


def test_without_a_checkpoint_a_trial_runs_on_or_stops_but_never_pauses() -> None:
    asha = Asha(max_t=9)
    assert start(asha, 0, 1, 0.5, resumable=False) is Decision.STOP
    assert start(asha, 1, 1, 0.4) is Decision.PAUSE
    assert start(asha, 2, 1, 0.3, resumable=False) is Decision.CONTINUE
    assert promotion(asha) is None  # trial 2 took the place
    assert start(asha, 3, 1, 0.6, resumable=False) is Decision.STOP
    assert report(asha, 2, 9, 0.3, resumable=False) is Decision.COMPLETE


def test_a_trial_is_complete_at_max_t_where_that_is_the_grace_period() -> None:
    asha = Asha(max_t=4, grace_period=4)
    assert asha.rungs() == [4]
    assert start(asha, 0, 3, 1.0) is Decision.CONTINUE
    assert report(asha, 0, 4, 1.0) is Decision.COMPLETE


def test_the_top_rung_is_max_t_where_that_is_not_on_the_ladder() -> None:
    assert Asha(max_t=20, grace_period=2, reduction_factor=4).rungs() == [2, 8, 20]


class PaperAsha:
    """Algorithm 2, word for word: slow and plain."""

    def __init__(self, rungs: int, eta: int) -> None:
        self.losses: list[dict[int, float]] = [{} for _ in range(rungs)]
        self.promoted: list[set[int]] = [set() for _ in range(rungs)]
        self.eta = eta

    def get_job(self) -> int | None:
        for losses, promoted in reversed(list(zip(self.losses, self.promoted, strict=True))):
            top = sorted(losses, key=lambda t: (losses[t], t))[: len(losses) // self.eta]
            for trial in top:
                if trial not in promoted:
                    promoted.add(trial)
                    return trial
        return None


@pytest.mark.parametrize("seed", range(20))
def test_agrees_with_the_papers_algorithm_on_random_losses(seed: int) -> None:
    rng = random.Random(seed)
    eta = rng.choice([2, 3, 4])
    asha, paper = Asha(max_t=eta**3, reduction_factor=eta), PaperAsha(3, eta)
    reached = dict[int, int]()
    for _ in range(200):
        expected = paper.get_job()
        assert promotion(asha) == expected
        trial = len(reached) if expected is None else expected
        asha.on_start(trial, {})
        rung = reached[trial] = reached.get(trial, -1) + 1
        loss = rng.choice([rng.random(), 0.5])  # with ties
        if rung < 3:
            paper.losses[rung][trial] = loss
        report(asha, trial, eta**rung, loss)


def curve_of(loss: Callable[[int, int], float]):
    return lambda values, trial: (({"objective": loss(trial, step)}, 1.0) for step in range(1, 28))


@pytest.mark.parametrize("workers", [1, 8])
def test_64_configurations_end_as_64_21_7_and_2(workers: int) -> None:
    setup = Setup(
        space=SPACE,
        num_samples=64,
        workers=workers,
        searcher={"name": "random"},
        scheduler={"name": "asha", "max_t": 27},
    )
    result = simulate(curve_of(lambda trial, step: trial + 1 / step), setup)
    steps = [(e.trial, e.step) for e in result.events if isinstance(e, Reported)]
    assert len(set(steps)) == len(steps)
    assert [sum(s == rung for _, s in steps) for rung in (1, 3, 9, 27)] == [64, 21, 7, 2]
    assert result.trials.counts["complete"] == 2
    assert result.trials.counts["paused"] == 62


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "max_t"),
        ({"max_t": 2, "grace_period": 3}, "max_t is 2; it must be at least grace_period, 3"),
        ({"max_t": 9, "grace_period": 0}, "grace_period is 0; it must be 1 or more"),
        ({"max_t": 9, "reduction_factor": 1}, "reduction_factor is 1; it must be 2 or more"),
        (
            {"max_t": 9, "grace_perod": 2},
            r"hydra.sweeper.scheduler.grace_perod is not an option of asha; it takes max_t, "
            r"grace_period, reduction_factor; did you mean grace_period\?",
        ),
    ],
)
def test_a_wrong_option_is_answered_with_the_rule_or_the_choices(
    options: dict[str, int], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        make_scheduler("asha", space=SPACE, seed=0, **options)


def test_an_unknown_scheduler_is_answered_with_the_choices() -> None:
    with pytest.raises(ConfigError, match=r"is 'ahsa'; choose from asha, .* did you mean asha\?"):
        make_scheduler("ahsa", space=SPACE, seed=0, max_t=9)


# A larger max_t


@pytest.mark.parametrize("old_max_t", [9, 10])
def test_after_max_t_was_raised_what_was_complete_waits_at_the_rung_it_reached(
    old_max_t: int,
) -> None:
    asha = Asha(max_t=81)  # what was reported under the old max_t, told again
    for trial in range(6):
        for step in sorted({1, 3, 9, old_max_t}):
            asha.on_start(trial, {})
            report(asha, trial, step, trial)
        asha.on_reopen(trial)
    assert promote(asha) == 0  # of six at step 9, two
    assert asha.milestone(0) == 27
    assert promote(asha) == 1
    assert promotion(asha) is None
    assert report(asha, 0, 27, 0.0) is Decision.PAUSE


@pytest.mark.parametrize("old_max_t", [9, 10])
def test_a_sweep_goes_on_with_its_best_trials_under_a_larger_max_t(old_max_t: int) -> None:
    def setup(num_samples: int, max_t: int) -> Setup:
        return Setup(
            space=SPACE,
            num_samples=num_samples,
            workers=3,
            searcher={"name": "random"},
            scheduler={"name": "asha", "max_t": max_t},
        )

    curve = curve_of(lambda trial, step: (trial * 7 % 40) + 1 / step)
    short = simulate(curve, setup(40, old_max_t))
    complete = [t.number for t in short.trials if t.status == "complete"]
    assert 0 in complete
    longer = simulate(curve, setup(44, 27), history=short.events)
    steps = [(e.trial, e.step) for e in longer.events if isinstance(e, Reported)]
    assert len(set(steps)) == len(steps)
    assert longer.trials[0].step == 27
    assert [longer.trials[t].step for t in complete].count(27) == 1  # of four at step 9
    again = simulate(curve, setup(44, 27), history=longer.events)
    assert [type(e).__name__ for e in again.events[len(longer.events) :]] == ["Opened", "Closed"]
