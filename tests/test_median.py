from __future__ import annotations

import math
import random
import statistics

import pytest

from sweeps.errors import ConfigError
from sweeps.journal.status import Decision
from sweeps.schedulers import Done, Median, Observation, Start, Wait, make_scheduler
from sweeps.space.space import parse_space

SPACE, _ = parse_space({"x": "interval(0, 1)"}, [])
CONTINUE, STOP, COMPLETE = Decision.CONTINUE, Decision.STOP, Decision.COMPLETE


def report(median: Median, trial: int, step: int, loss: float) -> Decision:
    seen = Observation(trial=trial, step=step, loss=loss, resumable=False)
    (decision,) = median.on_reports([seen])
    if decision in (STOP, COMPLETE):
        median.on_end(trial)
    return decision


def run(median: Median, trial: int, *losses: float) -> list[Decision]:
    """Reports at steps 1, 2, ... until the trial is stopped."""
    median.on_start(trial, {})
    decisions = []
    for step, loss in enumerate(losses, start=1):
        decisions.append(report(median, trial, step, loss))
        if decisions[-1] is not CONTINUE:
            break
    return decisions


def test_stops_as_the_paper_does_worked_by_hand() -> None:
    median = Median(min_samples_required=3)
    assert run(median, 0, 6, 4, 2) == [CONTINUE] * 3  # running averages 6, 5, 4
    assert run(median, 1, 9, 7, 5) == [CONTINUE] * 3  # 9, 8, 7
    assert run(median, 2, 3, 3, 3) == [CONTINUE] * 3  # 3, 3, 3
    assert run(median, 3, 6, 5, 4.5) == [CONTINUE, CONTINUE, STOP]  # medians 6, 5, 4
    assert run(median, 4, 6.1) == [STOP]  # worse than the median of 3, 6, 6, 9
    assert run(median, 5, 4, 9, 9) == [CONTINUE] * 3  # its best loss counts, not its last


def test_equal_is_not_strictly_worse() -> None:
    median = Median(min_samples_required=2)
    for trial in range(8):
        assert run(median, trial, *[0.1] * 30) == [CONTINUE] * 30


def test_no_trial_is_stopped_before_the_grace_period_or_without_enough_samples() -> None:
    median = Median(grace_period=3, min_samples_required=2)
    assert run(median, 0, 1, 1, 1) == [CONTINUE] * 3
    assert run(median, 1, 9, 9, 9) == [CONTINUE] * 3  # one other is not enough
    assert run(median, 2, 9, 9, 9) == [CONTINUE, CONTINUE, STOP]


def test_trials_that_still_run_count_and_those_that_did_not_get_as_far_do_not() -> None:
    median = Median(min_samples_required=2)
    for trial in range(4):
        median.on_start(trial, {})
    assert report(median, 0, 1, 1.0) is CONTINUE
    assert report(median, 1, 1, 1.0) is CONTINUE
    assert report(median, 2, 1, 2.0) is STOP
    assert report(median, 0, 2, 1.0) is CONTINUE
    assert report(median, 3, 2, 9.0) is CONTINUE  # only trial 0 got to step 2


def test_a_diverged_trial_is_stopped_at_once_and_ranks_last_at_its_step() -> None:
    median = Median(min_samples_required=3)
    for trial in range(3):
        assert run(median, trial, math.inf) == [STOP]
    assert run(median, 3, 50.0) == [CONTINUE]  # better than the median, which is infinite
    for trial in range(4, 8):
        run(median, trial, 1.0)
    assert run(median, 8, 20.0) == [CONTINUE]  # 25.5, the median of 1, 1, 1, 1, 50 and three inf
    assert run(median, 9, 20.5) == [STOP]  # 20, now that there is one more


def test_a_step_reported_again_after_a_crash_counts_once() -> None:
    def decisions(crashes: bool) -> list[Decision]:
        median = Median(min_samples_required=3)
        made = []
        for trial, losses in enumerate([(1, 1, 1), (2, 2, 2), (4, 4, 1), (2.1, 2.1, 2.1)]):
            median.on_start(trial, {})
            for step, loss in enumerate(losses, start=1):
                made.append(report(median, trial, step, loss))
                if crashes:
                    median.on_start(trial, {})
                    for again in range(1, step + 1):
                        assert report(median, trial, again, losses[again - 1]) is CONTINUE
        return made

    assert decisions(crashes=True) == decisions(crashes=False)


def test_a_trial_is_complete_at_max_t_where_there_is_one() -> None:
    assert run(Median(max_t=3), 0, 1, 1, 1, 1) == [CONTINUE, CONTINUE, COMPLETE]
    assert run(Median(), 0, *[1] * 50) == [CONTINUE] * 50
    assert Median(max_t=3).rungs() == [3]


class PlainMedian:
    """The rule over everything that was ever reported: slow and plain."""

    def __init__(self, grace: int, samples: int) -> None:
        self.reports: dict[int, list[tuple[int, float]]] = {}
        self.grace, self.samples = grace, samples

    def stops(self, trial: int, step: int, loss: float) -> bool:
        own = self.reports.setdefault(trial, [])
        own.append((step, loss))
        means = [
            statistics.fmean(x for s, x in seen if s <= step)
            for other, seen in self.reports.items()
            if other != trial and seen[0][0] <= step <= seen[-1][0]
        ]
        if step < self.grace or len(means) < self.samples:
            return False
        return min(x for _, x in own) > statistics.median(means)


@pytest.mark.parametrize("seed", range(15))
def test_agrees_with_the_rule_written_out_whatever_the_steps(seed: int) -> None:
    rng = random.Random(seed)
    median, plain = Median(grace_period=3, min_samples_required=2), PlainMedian(3, 2)
    running, steps = list[int](), dict[int, int]()
    stopped = 0
    for _ in range(400):
        if len(running) < 4:
            trial = len(steps)
            median.on_start(trial, {})
            running.append(trial)
            steps[trial] = 0
        trial = rng.choice(running)
        steps[trial] += rng.choice([1, 1, 2, 5]) if seed % 2 else 1
        loss = 37 * trial % 11 + 5 * rng.random()
        stops = plain.stops(trial, steps[trial], loss)
        assert report(median, trial, steps[trial], loss) is (STOP if stops else CONTINUE)
        stopped += stops
        if stops or steps[trial] > 15:
            running.remove(trial)
    assert stopped > 5


def test_what_is_free_starts_waits_or_is_done() -> None:
    median = Median()
    assert isinstance(median.next(can_start=True, running=0), Start)
    assert isinstance(median.next(can_start=False, running=1), Wait)
    assert isinstance(median.next(can_start=False, running=0), Done)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"grace_period": 0}, "grace_period is 0; it must be 1 or more"),
        ({"min_samples_required": 0}, "min_samples_required is 0; it must be 1 or more"),
        ({"max_t": 3, "grace_period": 4}, "max_t is 3; it must be at least grace_period, 4"),
        ({"min_samples": 3}, r"did you mean min_samples_required\?"),
    ],
)
def test_a_wrong_option_is_answered_with_the_rule_or_the_choices(
    options: dict[str, int], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        make_scheduler("median", space=SPACE, seed=0, **options)
