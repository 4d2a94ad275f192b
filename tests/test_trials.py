from __future__ import annotations

from dataclasses import replace

import pytest

from sweeps.journal.events import Asked, Created, Ended, Event, Lost, Opened, Reported, Started
from sweeps.journal.objective import Objective
from sweeps.journal.status import Decision, Status
from sweeps.journal.trials import Trials


def asked(trial: int) -> Asked:
    return Asked(trial=trial, run=1, params={}, distributions={}, time=1.0)


def reported(trial: int, step: int, value: float | None, **fields: object) -> Reported:
    given = {"decision": Decision.CONTINUE, "checkpoint": None, **fields}
    metrics = {} if value is None else {"loss": value}
    return Reported(trial=trial, run=1, step=step, metrics=metrics, value=value, time=2.0, **given)


def ended(trial: int, status: Status, value: float | None = None) -> Ended:
    return Ended(
        trial=trial, status=status, value=value, metrics={}, error=None, cause=None, time=3.0
    )


def fold(*events: Event, mode: str = "min") -> Trials:
    trials = Trials(Objective(metric="loss", mode=mode))
    for event in (
        Created(name="s", modes=(mode,), space={"parameters": []}, time=0.0),
        Opened(run=1, time=0.0),
        *events,
    ):
        trials.apply(event)
    return trials


def test_a_trials_value_is_its_best_report_and_its_checkpoint_the_newest() -> None:
    trials = fold(
        asked(0),
        reported(0, 1, 0.5, checkpoint="a"),
        reported(0, 2, 0.3, checkpoint="b"),
        reported(0, 3, 0.4),
    )
    assert (trials[0].value, trials[0].best.step) == (0.3, 2)
    assert (trials[0].checkpoint, trials[0].step) == ("b", 3)


def test_counts_follow_every_change_of_status() -> None:
    trials = fold(*(asked(trial) for trial in range(4)))
    assert trials.counts[Status.RUNNING] == 4
    trials.apply(reported(0, 1, 0.5, decision=Decision.PAUSE))
    trials.apply(ended(1, Status.FAILED))
    assert trials.counts == {Status.RUNNING: 2, Status.PAUSED: 1, Status.FAILED: 1}
    trials.apply(Started(trial=0, run=1, reason="promote", checkpoint=None, time=2.0))
    assert trials.counts[Status.RUNNING] == 3
    assert trials[0].promotions == 1
    assert [t.number for t in trials.with_status(Status.RUNNING)] == [0, 2, 3]


def test_a_step_trained_again_after_a_crash_is_spent_once() -> None:
    trials = fold(asked(0), reported(0, 1, 0.5), reported(0, 3, 0.4))
    trials.apply(Lost(trial=0, reason="gone", time=2.0))
    trials.apply(reported(0, 2, 0.45))
    trials.apply(reported(0, 3, 0.41))
    trials.apply(reported(0, 4, 0.3))
    assert trials.steps == 4
    assert trials[0].losses == 1
    assert trials[0].reports[3].value == 0.41
    assert trials[0].last.step == 4


@pytest.mark.parametrize(("mode", "best"), [("min", 1), ("max", 2)])
def test_the_incumbent_is_the_best_trial_in_the_objectives_direction(mode: str, best: int) -> None:
    trials = fold(*map(asked, range(3)), mode=mode)
    for trial, value in [(0, 0.5), (1, 0.2), (2, 0.9)]:
        trials.apply(reported(trial, 1, value))
    assert trials.best.number == best


def test_of_equally_good_trials_the_first_by_number_leads_in_whatever_order_they_came() -> None:
    trials = fold(*map(asked, range(3)), *(reported(trial, 1, 0.5) for trial in (2, 1, 0)))
    assert trials.best.number == 0
    trials.apply(ended(0, Status.FAILED))
    assert trials.best.number == 1


@pytest.mark.parametrize("status", [Status.FAILED, Status.DIVERGED])
def test_an_incumbent_that_fails_or_diverges_gives_way_to_the_next(status: Status) -> None:
    trials = fold(asked(0), asked(1), reported(0, 1, 0.1), reported(1, 1, 0.2))
    assert trials.best.number == 0
    trials.apply(ended(0, status))
    assert trials.best.number == 1


def test_a_nan_report_is_never_the_best() -> None:
    trials = fold(asked(0), reported(0, 1, float("nan")))
    assert trials.best is None
    assert trials[0].value is None


def test_a_trial_asked_out_of_order_is_refused() -> None:
    with pytest.raises(ValueError, match="trial 2 was asked after 0 trials"):
        fold(asked(2))


def test_time_in_slots_is_added_up_over_segments_and_drivers_without_what_lies_between() -> None:
    def at(time: float, event: Event) -> Event:
        return replace(event, time=time)

    started = Started(trial=0, run=1, reason="promote", checkpoint=None, time=0.0)
    lost = Lost(trial=0, reason="raised", cause="error", time=0.0)
    trials = fold(
        at(10.0, asked(0)),
        at(13.0, reported(0, 1, 0.5, decision=Decision.PAUSE)),
        at(100.0, started),
        at(104.0, lost),
        at(200.0, started),
        at(205.0, reported(0, 2, 0.4)),
        Opened(run=2, time=300.0),  # the driver died some time after that report
        at(310.0, started),
    )
    assert trials[0].seconds == 3 + 4 + 5
    assert trials[0].seconds_at(316.0) == 3 + 4 + 5 + 6
    trials.apply(at(317.0, ended(0, Status.COMPLETE, 0.4)))
    assert trials[0].seconds == trials[0].seconds_at(400.0) == 3 + 4 + 5 + 7


def test_a_loss_counts_by_its_cause() -> None:
    causes = ("lost", "out_of_memory", "error", "error")
    losses = [Lost(trial=0, reason=f"it was {c}", cause=c, time=2.0) for c in causes]
    trial = fold(asked(0), *losses)[0]
    assert (trial.losses, trial.memory_losses) == (2, 1)
    assert [lost.reason for lost in trial.failures] == ["it was error"] * 2
