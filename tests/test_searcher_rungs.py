from __future__ import annotations

import math
from typing import Any

import pytest
from optuna.trial import FrozenTrial, TrialState

from sweeps.journal.events import Asked, Ended, Reported, Started
from sweeps.journal.objective import Objective
from sweeps.journal.status import Decision, Status
from sweeps.searchers import View
from sweeps.searchers.rungs import Carried, HighestRung, RungByRung
from sweeps.space.space import parse_space

SPACE, _ = parse_space({"x": "interval(0, 1)"}, [])
COMPLETE, PRUNED, RUNNING, FAIL = (
    TrialState.COMPLETE,
    TrialState.PRUNED,
    TrialState.RUNNING,
    TrialState.FAIL,
)


def ask(view: View, *trials: int) -> None:
    for trial in trials:
        distributions = SPACE.distributions()
        view.apply(
            Asked(trial=trial, run=1, params={"x": 0.5}, distributions=distributions, time=0.0)
        )


def report(view: View, trial: int, step: int, value: float, decision: str = "pause") -> None:
    view.apply(
        Reported(
            trial=trial,
            run=1,
            step=step,
            metrics={},
            value=value,
            checkpoint="x",
            decision=Decision(decision),
            time=1.0,
        )
    )


def end(view: View, trial: int, status: Status, value: float | None = None) -> None:
    view.apply(
        Ended(trial=trial, status=status, value=value, metrics={}, error=None, cause=None, time=2.0)
    )


def promote(view: View, trial: int) -> None:
    view.apply(Started(trial=trial, run=1, reason="promote", checkpoint="x", time=1.0))


def trials(view: View) -> list[FrozenTrial]:
    return view.get_all_trials(0, deepcopy=False)


def shown(view: View) -> list[tuple[TrialState, float | None]]:
    return [(t.state, t.values[0] if t.values else None) for t in trials(view)]


def highest(rungs: list[int], enough: int, mode: Any = "min") -> View:
    view = View(Objective(mode=mode))
    view.lens = HighestRung(view, rungs, enough=enough)
    return view


def test_what_reached_the_highest_rung_with_enough_trials_is_complete_with_its_value_there() -> (
    None
):
    view = highest([1, 3, 9], enough=2)
    ask(view, 0, 1, 2, 3)
    report(view, 0, 1, 0.5)
    assert shown(view) == [(COMPLETE, 0.5), (RUNNING, None), (RUNNING, None), (RUNNING, None)]
    report(view, 1, 1, 0.4)
    report(view, 2, 1, 0.6)
    promote(view, 1)
    report(view, 1, 3, 0.3)
    assert shown(view)[:3] == [(COMPLETE, 0.5), (COMPLETE, 0.4), (COMPLETE, 0.6)]
    promote(view, 0)
    report(view, 0, 3, 0.2)
    promote(view, 0)
    assert shown(view) == [(COMPLETE, 0.2), (COMPLETE, 0.3), (PRUNED, None), (RUNNING, None)]


def test_a_trial_counts_at_a_rung_whether_it_waits_runs_on_was_stopped_or_is_complete() -> None:
    view = highest([1, 9], enough=9)
    ask(view, 0, 1, 2, 3)
    for trial, decision in enumerate(["pause", "continue", "stop", "continue"]):
        report(view, trial, 1, float(trial), decision)
    end(view, 2, Status.STOPPED, 2.0)
    report(view, 3, 2, -1.0, "complete")
    end(view, 3, Status.COMPLETE, -1.0)
    assert shown(view) == [(COMPLETE, 0.0), (COMPLETE, 1.0), (COMPLETE, 2.0), (COMPLETE, 3.0)]


def test_a_report_beyond_a_rung_is_the_first_that_counts_there() -> None:
    view = highest([2, 4], enough=1)
    ask(view, 0)
    report(view, 0, 3, 0.7)
    report(view, 0, 1, 0.9)  # trained again after a crash
    assert shown(view) == [(COMPLETE, 0.7)]


def test_a_trial_that_ended_without_reports_has_its_value_at_every_rung() -> None:
    view = highest([1, 3], enough=1)
    ask(view, 0)
    end(view, 0, Status.COMPLETE, 0.25)
    assert shown(view) == [(COMPLETE, 0.25)]


def test_without_rungs_only_what_is_complete_is() -> None:
    view = highest([], enough=1)
    ask(view, 0, 1, 2)
    report(view, 0, 5, 0.4, "continue")
    report(view, 1, 5, 0.4, "stop")
    end(view, 1, Status.STOPPED, 0.4)
    end(view, 2, Status.COMPLETE, 0.3)
    assert shown(view) == [(RUNNING, None), (PRUNED, None), (COMPLETE, 0.3)]


@pytest.mark.parametrize(("mode", "worst"), [("min", 0.9), ("max", 0.2)])
@pytest.mark.parametrize("rungs", [[], [1]])
def test_a_diverged_trial_has_the_worst_value_of_those_shown(
    rungs: list[int], mode: Any, worst: float
) -> None:
    view = highest(rungs, enough=1, mode=mode)
    ask(view, 0, 1, 2)
    report(view, 0, 1, math.nan, "stop")
    end(view, 0, Status.DIVERGED)
    assert shown(view)[0] == (PRUNED, None)  # there is none to compare with
    for trial, value in [(1, 0.5), (2, 0.9 if mode == "min" else 0.2)]:
        report(view, trial, 1, value, "continue")
        end(view, trial, Status.COMPLETE, value)
        assert shown(view)[0] == (COMPLETE, value)
    assert shown(view)[0] == (COMPLETE, worst)


def test_a_crash_takes_a_trial_out() -> None:
    view = highest([1], enough=1)
    ask(view, 0)
    report(view, 0, 1, 0.5, "continue")
    assert shown(view) == [(COMPLETE, 0.5)]
    end(view, 0, Status.FAILED)
    assert shown(view) == [(FAIL, None)]


def test_a_higher_rung_beats_all_below_and_within_one_the_value_decides() -> None:
    for mode, sign in (("min", 1.0), ("max", -1.0)):
        view = View(Objective(mode=mode))
        view.lens = RungByRung(view, [1, 3])
        ask(view, 0, 1, 2, 3, 4, 5)
        for trial, loss in enumerate([5.0, 1e6, -7.0, 5.1]):
            report(view, trial, 1, sign * loss)
        for trial, loss in [(0, 1e9), (1, -3.0)]:
            promote(view, trial)
            report(view, trial, 3, sign * loss)
        report(view, 4, 1, math.nan, "stop")
        end(view, 4, Status.DIVERGED)
        measured = [t for t in trials(view) if t.state is COMPLETE]
        ranked = sorted(measured, key=lambda t: sign * t.values[0])
        assert [t.number for t in ranked] == [1, 0, 2, 3, 4]


def test_for_regression_a_trial_below_has_the_value_it_would_have_at_the_highest_rung() -> None:
    view = View(Objective())
    view.lens = Carried(view, [1, 3, 9], enough=3)
    ask(view, 0, 1, 2, 3, 4)
    for trial in range(4):
        report(view, trial, 1, 0.5 + trial)
    assert shown(view)[3:] == [(COMPLETE, 3.5), (RUNNING, None)]
    for trial, value in ((0, 0.4), (1, 1.1), (2, 1.7)):
        promote(view, trial)
        report(view, trial, 3, value)
    assert [value for _, value in shown(view)] == [0.4, 1.1, 1.7, 3.5 - 0.4, None]
    report(view, 4, 1, math.nan, "stop")
    end(view, 4, Status.DIVERGED)
    assert shown(view)[4] == (COMPLETE, 1.7)


def test_what_did_not_change_is_not_made_again() -> None:
    view = highest([1, 3], enough=2)
    ask(view, 0, 1, 2)
    report(view, 0, 1, 0.5)
    before = trials(view)
    report(view, 1, 1, 0.4)
    after = trials(view)
    assert after[0] is before[0]
    assert after[2] is before[2]
    assert after[1] is not before[1]


def test_what_was_taken_back_is_not_shown() -> None:
    view = highest([1], enough=1)
    ask(view, 0)
    number = view.create_new_trial(0)
    assert len(trials(view)) == 2
    view.retract()
    assert len(trials(view)) == 1
    assert view.create_new_trial(0) == number
    assert shown(view) == [(RUNNING, None), (RUNNING, None)]
    view.retract()
    view.retract()  # there is nothing more to take back
    assert len(trials(view)) == 1
