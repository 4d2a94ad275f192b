"""Which trials the report compares to tell which parameter mattered, and at which step."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sweeps.journal.status import Decision, Status
from sweeps.reports import importances
from sweeps.reports.importances import importance, ranking
from sweeps.results import SweepResults, load_sweep

TRIALS = 20


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch) -> None:
    """Three samples of each measure are enough here."""
    monkeypatch.setattr(importances, "_SECONDS", 0.0)


@pytest.fixture
def under_asha(make_sweep) -> SweepResults:
    """Whether a trial goes on is lr's doing alone; of those that do, dropout decides."""
    made = make_sweep(
        {"lr": "interval(0, 1)", "dropout": "interval(0, 1)"},
        scheduler={"name": "asha", "max_t": 9},
    )
    for trial in range(TRIALS):
        lr, dropout = trial / TRIALS, (trial * 17 % TRIALS) / TRIALS
        made.ask(trial, lr=lr, dropout=dropout)
        made.report(trial, 1, lr + dropout / 100, Decision.PAUSE)
    for trial in range(TRIALS // 4, TRIALS):
        dropout = (trial * 17 % TRIALS) / TRIALS
        made.promote(trial)
        made.report(trial, 3, 2 + dropout, Decision.PAUSE)
    made.close()
    return load_sweep(made.folder)


def shares(sweep: SweepResults) -> dict[str, dict[str, float]]:
    """By measure and parameter."""
    figure = importance(sweep).figure
    assert figure is not None
    return {bars.name: dict(zip(bars.y, bars.x, strict=True)) for bars in figure.data}


def test_what_got_trials_stopped_matters_though_the_others_no_longer_differ_in_it(under_asha):
    for measure, share in shares(under_asha).items():
        assert share["lr"] > 2 * share["dropout"], measure
    assert ranking(under_asha)[0].full == "lr"


def test_the_words_say_which_trials_at_which_step(under_asha):
    words = importance(under_asha).words
    assert words.startswith("From all 20 trials with a value, each by its best up to step 1,")
    assert "Later steps are not compared" in words


@pytest.fixture
def all_the_way(make_sweep) -> Callable[..., SweepResults]:
    """Every trial trains four steps, the last few are still running."""

    def make(running: int, diverged: int = 0) -> SweepResults:
        made = make_sweep({"lr": "interval(0, 1)"})
        for trial in range(TRIALS):
            made.ask(trial, lr=trial / TRIALS)
            is_running = trial >= TRIALS - running
            for step in range(1, 2 if is_running else 5):
                made.report(trial, step, trial / TRIALS + step)
            if trial < diverged:
                made.end(trial, Status.DIVERGED)
            elif not is_running:
                made.end(trial, Status.COMPLETE, trial / TRIALS + step)
        return load_sweep(made.folder)

    return make


def test_trials_that_still_run_do_not_hold_the_others_back(all_the_way):
    words = importance(all_the_way(running=5)).words
    assert words.startswith("From 15 of 20 trials with a value, each by its best up to step 4,")
    assert "Later steps" not in words


def test_trials_that_diverged_are_said_to_be_left_out(all_the_way):
    words = importance(all_the_way(running=0, diverged=3)).words
    assert words.startswith("From all 17 trials with a value,")
    assert "Not among them: 3 that failed or diverged." in words


def test_a_single_trial_that_ended_early_is_left_out(make_sweep):
    made = make_sweep({"lr": "interval(0, 1)"})
    for trial in range(TRIALS):
        made.ask(trial, lr=trial / TRIALS)
        for step in range(1, 2 if trial == 5 else 3):
            made.report(trial, step, trial / TRIALS + step)
        made.end(trial, Status.COMPLETE, trial / TRIALS + step)
    words = importance(load_sweep(made.folder)).words
    assert words.startswith("From 19 of 20 trials with a value, each by its best up to step 2,")


def test_steps_that_count_from_zero_are_steps(make_sweep):
    made = make_sweep({"lr": "interval(0, 1)"}, scheduler={"name": "asha", "max_t": 9})
    for trial in range(TRIALS):
        made.ask(trial, lr=trial / TRIALS)
        made.report(trial, 0, trial / TRIALS, Decision.PAUSE)
    made.promote(TRIALS - 1)
    made.report(TRIALS - 1, 1, 5.0, Decision.PAUSE)
    made.close()
    words = importance(load_sweep(made.folder)).words
    assert words.startswith("From all 20 trials with a value, each by its best up to step 0,")
