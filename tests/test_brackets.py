from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from sweeps.errors import ConfigError
from sweeps.journal.events import Asked, Reported
from sweeps.journal.status import Decision
from sweeps.schedulers import (
    Hyperband,
    Next,
    Observation,
    Promote,
    Scheduler,
    SuccessiveHalving,
    make_scheduler,
)
from sweeps.simulate import Setup, Simulated, simulate
from sweeps.space.space import parse_space

SPACE, _ = parse_space({"x": "interval(0, 1)"}, [])
CONTINUE, PAUSE, STOP, COMPLETE = Decision


def report(
    scheduler: Scheduler, trial: int, step: int, loss: float, *, resumable: bool = True
) -> Decision:
    seen = Observation(trial=trial, step=step, loss=loss, resumable=resumable)
    (decision,) = scheduler.on_reports([seen])
    if decision in (STOP, COMPLETE):
        scheduler.on_end(trial)
    return decision


def start(scheduler: Scheduler, trial: int, step: int, loss: float, **options: bool) -> Decision:
    scheduler.on_start(trial, {})
    return report(scheduler, trial, step, loss, **options)


def following(scheduler: Scheduler, *, can_start: bool = True, running: int = 0) -> int | str:
    step: Next = scheduler.next(can_start=can_start, running=running)
    return step.trial if isinstance(step, Promote) else type(step).__name__


def rows(scheduler: SuccessiveHalving | Hyperband) -> list[list[tuple[int, int]]]:
    return [[(level.configurations, level.step) for level in table] for table in scheduler.tables]


# The papers' tables


def test_hyperbands_brackets_are_those_of_the_papers_table_1() -> None:
    """R = 81, eta = 3; see `Hyperband` on algorithm 1, which would begin with 81, 34, 15, 8, 5."""
    hyperband = Hyperband(max_t=81, reduction_factor=3)
    assert rows(hyperband) == [
        [(81, 1), (27, 3), (9, 9), (3, 27), (1, 81)],
        [(27, 3), (9, 9), (3, 27), (1, 81)],
        [(9, 9), (3, 27), (1, 81)],
        [(6, 27), (2, 81)],
        [(5, 81)],
    ]
    assert hyperband.rungs() == [1, 3, 9, 27, 81]


def test_where_the_table_and_algorithm_1_agree_so_do_we() -> None:
    for max_t, eta in ((81, 3), (27, 3), (16, 2), (64, 4)):
        tables = rows(Hyperband(max_t=max_t, reduction_factor=eta))
        s_max = len(tables) - 1
        assert max_t == eta**s_max  # exact where a logarithm is a hair below
        for table, s in zip(tables, range(s_max, -1, -1), strict=True):
            n = math.ceil((s_max + 1) / (s + 1) * eta**s)
            assert table[0][0] <= n
            assert [step for _, step in table] == [max_t // eta ** (s - i) for i in range(s + 1)]
            if (s_max + 1) % (s + 1) == 0:
                assert table[0][0] == n


def test_a_logarithm_a_hair_below_loses_no_bracket() -> None:
    assert len(Hyperband(max_t=243).tables) == 6
    assert len(Hyperband(max_t=1000, reduction_factor=10).tables) == 4


def test_hyperbands_first_rungs_are_whole_and_no_less_than_the_grace_period() -> None:
    assert rows(Hyperband(max_t=100))[0] == [(81, 1), (27, 3), (9, 11), (3, 33), (1, 100)]
    assert rows(Hyperband(max_t=100, grace_period=5)) == [
        [(9, 11), (3, 33), (1, 100)],
        [(3, 33), (1, 100)],
        [(3, 100)],
    ]
    assert rows(Hyperband(max_t=5, grace_period=5)) == [[(1, 5)]]


def test_successive_halving_of_16_by_2_is_16_8_4_2_1() -> None:
    halving = SuccessiveHalving(max_t=16, reduction_factor=2)
    assert rows(halving) == [[(16, 1), (8, 2), (4, 4), (2, 8), (1, 16)]]
    result = run(halving_of(16, 2), num_samples=16, workers=1)
    assert arrivals(result) == {1: 16, 2: 8, 4: 4, 8: 2, 16: 1}


def test_successive_halving_takes_more_configurations_and_its_own_first_rung() -> None:
    halving = SuccessiveHalving(max_t=100, grace_period=4, n=32)
    assert rows(halving) == [[(32, 4), (10, 12), (3, 36), (1, 100)]]
    assert halving.rungs() == [4, 12, 36, 100]


# One bracket, by hand


def halves(**options: int) -> SuccessiveHalving:
    return SuccessiveHalving(**{"max_t": 4, "reduction_factor": 2, **options})


def test_a_bracket_worked_by_hand() -> None:
    halving = halves()  # four at step 1, two at 2, one at 4
    for trial, loss in enumerate((0.4, 0.1, 0.3)):
        assert start(halving, trial, 1, loss) is PAUSE
        assert following(halving) == "Start"
    halving.on_start(3, {})
    assert following(halving, running=1) == "Start"  # of the next bracket: this one waits
    assert following(halving, can_start=False, running=1) == "Wait"
    assert report(halving, 3, 1, 0.2) is PAUSE
    assert following(halving) == 1
    halving.on_start(1, {})
    assert halving.milestone(1) == 2
    assert following(halving) == 3
    assert report(halving, 1, 2, 0.1) is PAUSE
    assert following(halving) == 3  # still the first rung's: the second is not complete
    halving.on_start(3, {})
    assert following(halving, can_start=False, running=1) == "Wait"
    assert report(halving, 3, 2, 0.05) is PAUSE
    assert following(halving) == 3
    halving.on_start(3, {})
    assert report(halving, 3, 3, 0.04) is CONTINUE
    assert report(halving, 3, 4, 0.03) is COMPLETE
    assert following(halving) == "Start"
    assert following(halving, can_start=False) == "Done"


def test_the_oldest_bracket_is_served_first() -> None:
    halving = halves()
    for trial in range(4):
        halving.on_start(trial, {})
    for trial in range(3):
        report(halving, trial, 1, trial)
    for trial in range(4, 8):
        start(halving, trial, 1, trial / 100)
    assert following(halving, running=1) == 4  # the first bracket waits for trial 3
    report(halving, 3, 1, 3.0)
    assert following(halving) == 0


@pytest.mark.parametrize("cause", ["diverged", "failed", "returned"])
def test_what_ends_on_its_way_counts_as_arrived_and_ranks_last(cause: str) -> None:
    halving = halves()
    for trial in range(4):
        halving.on_start(trial, {})
    for trial in (0, 1, 2):
        assert report(halving, trial, 1, 9.0 - trial) is PAUSE
    assert following(halving, can_start=False, running=1) == "Wait"
    if cause == "diverged":
        assert report(halving, 3, 1, math.inf) is STOP
    else:
        halving.on_end(3)
    assert following(halving) == 2
    for trial in (2, 1):
        halving.on_start(trial, {})
    halving.on_end(2)  # on the way to step 2
    assert report(halving, 1, 2, 9.0) is PAUSE
    assert following(halving) == 1


def test_a_bracket_in_which_all_diverge_is_over() -> None:
    halving = halves()
    for trial in range(4):
        assert start(halving, trial, 1, math.inf) is STOP
    assert following(halving) == "Start"
    assert following(halving, can_start=False) == "Done"


def test_an_ended_paused_trial_is_not_promoted_but_keeps_its_rank() -> None:
    halving = halves()
    for trial in range(4):
        start(halving, trial, 1, trial)
    halving.on_end(0)
    assert following(halving) == 1
    halving.on_start(1, {})
    assert following(halving, can_start=False, running=1) == "Wait"  # two is the rung's share


def test_a_step_reported_again_after_a_crash_counts_once() -> None:
    halving = halves()
    for trial in range(4):
        start(halving, trial, 1, trial)
    halving.on_start(0, {})
    halving.on_start(0, {})  # its worker died
    assert report(halving, 0, 1, 0.0) is CONTINUE
    assert following(halving) == 1
    halving.on_start(1, {})
    assert report(halving, 0, 2, 0.0) is PAUSE
    assert following(halving, can_start=False, running=1) == "Wait"
    halving.on_start(1, {})
    assert report(halving, 1, 2, 1.0) is PAUSE
    assert following(halving) == 0


def test_a_report_that_jumps_over_rungs_ranks_at_all_of_them() -> None:
    halving = halves()
    assert start(halving, 0, 3, 0.9) is PAUSE
    for trial in (1, 2, 3):
        assert start(halving, trial, 1, trial / 10) is PAUSE
    assert following(halving) == 1
    halving.on_start(1, {})
    assert following(halving) == 2
    halving.on_start(2, {})
    report(halving, 1, 2, 0.5)
    report(halving, 2, 2, 0.6)
    assert following(halving) == 1  # of three that came to step 2


def test_without_checkpoints_trials_run_on_to_max_t() -> None:
    halving = halves()
    for trial in range(4):
        assert start(halving, trial, 1, trial, resumable=False) is CONTINUE
        assert halving.milestone(trial) == 2
    assert following(halving, can_start=False, running=4) == "Wait"
    for trial in range(4):
        assert report(halving, trial, 2, trial, resumable=False) is CONTINUE
        assert report(halving, trial, 4, trial, resumable=False) is COMPLETE
    assert following(halving, can_start=False) == "Done"
    result = run(halving_of(4, 2), num_samples=6, workers=2, checkpoints=False)
    assert [trial.step for trial in result.trials] == [4] * 6


# Whole sweeps


def halving_of(max_t: int, eta: int, **options: int) -> dict[str, Any]:
    return {"name": "successive_halving", "max_t": max_t, "reduction_factor": eta, **options}


def curve(values: Mapping[str, Any], trial: int):
    return (({"objective": values["x"] + 1 / step}, 1.0 + values["x"]) for step in range(1, 82))


def run(
    scheduler: Mapping[str, Any],
    num_samples: int,
    workers: int = 4,
    curve: Any = curve,
    history: Any = (),
    **fields: Any,
) -> Simulated:
    setup = Setup(
        space=SPACE,
        num_samples=num_samples,
        workers=workers,
        searcher={"name": "random"},
        scheduler=scheduler,
        **fields,
    )
    result = simulate(curve, setup, history=history)
    steps = [(e.trial, e.step) for e in result.events if isinstance(e, Reported)]
    assert len(set(steps)) == len(steps)
    assert result.trials.counts["running"] == 0
    return result


def arrivals(result: Simulated, trials: Any = None) -> dict[int, int]:
    """By step at which a trial ended or paused: how many got as far."""
    chosen = [t for t in result.trials if trials is None or t.number in trials]
    stood = sorted(Counter(trial.step for trial in chosen))
    return {step: sum(trial.step >= step for trial in chosen) for step in stood}


@pytest.mark.parametrize("workers", [1, 5])
def test_hyperband_runs_its_table_and_begins_again(workers: int) -> None:
    scheduler = {"name": "hyperband", "max_t": 27}
    sizes = [27, 9, 6, 4]
    result = run(scheduler, num_samples=2 * sum(sizes), workers=workers)
    tables = rows(Hyperband(max_t=27))
    first = 0
    for size, table in zip(sizes * 2, tables * 2, strict=True):
        seen = arrivals(result, range(first, first + size))
        assert seen == {step: n for n, step in table}
        best = min(range(first, first + size), key=lambda t: result.trials[t].params["x"])
        assert result.trials[best].status == "complete"
        first += size
    assert result.trials.counts["complete"] == 2 * (1 + 1 + 2 + 4)


def test_no_slot_idles_while_there_are_configurations_to_start() -> None:
    result = run(halving_of(27, 3), num_samples=81, workers=4)
    last_start = max(e.time for e in result.events if isinstance(e, Asked))
    unbusy = sum(result.idle) - 4 * (result.seconds - last_start)
    assert unbusy <= 0
    assert last_start > 0.6 * result.seconds


@pytest.mark.parametrize(("samples", "reached"), [(1, 1), (2, 1), (8, 1), (10, 2), (12, 2)])
def test_an_incomplete_last_bracket_closes_with_what_is_there(samples: int, reached: int) -> None:
    result = run(halving_of(9, 3), num_samples=samples, workers=3)
    assert arrivals(result)[9] == reached  # one of each bracket reaches max_t


@pytest.mark.parametrize("more", [13, 18, 40])
def test_an_extended_sweep_fills_the_bracket_that_was_closed_early(more: int) -> None:
    short = run(halving_of(9, 3), num_samples=12, workers=3)
    assert arrivals(short, range(9, 12)) == {1: 3, 9: 1}
    longer = run(halving_of(9, 3), num_samples=more, workers=3, history=short.events)
    assert longer.events[: len(short.events)] == short.events
    best = min(range(9, min(18, more)), key=lambda t: longer.trials[t].params["x"])
    assert longer.trials[best].status == "complete"
    second = arrivals(longer, range(9, min(18, more)))
    if more >= 18:
        assert second[1] == 9
        assert second.get(3, second[9]) in (3, 4)  # its share, and one that went on early
        assert second[9] in (1, 2)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("hyperband", {}, "max_t"),
        ("hyperband", {"max_t": 9, "reduction_factor": 1}, "reduction_factor is 1; it must be 2"),
        ("hyperband", {"max_t": 2, "grace_period": 3}, "max_t is 2; it must be at least"),
        ("hyperband", {"max_t": 9, "n": 9}, "hydra.sweeper.scheduler.n is not an option of"),
        (
            "successive_halving",
            {"max_t": 9, "n": 8},
            r"hydra.sweeper.scheduler \(successive_halving\): n is 8; it must be 9 or more, so "
            r"that one reaches max_t",
        ),
        ("successive_halving", {"max_t": 9, "n": 0}, "n is 0; it must be 9 or more"),
    ],
)
def test_a_wrong_option_is_answered_with_the_rule_or_the_choices(
    name: str, options: dict[str, int], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        make_scheduler(name, space=SPACE, seed=0, **options)
