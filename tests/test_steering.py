"""What is asked of a running sweep: journaled, then in effect, once, whatever dies in between."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from sweeps.core.budget import Budget
from sweeps.core.engine import Engine
from sweeps.core.limits import Limits
from sweeps.core.segment import Segment
from sweeps.core.steering import Steering
from sweeps.errors import ConfigError
from sweeps.journal.events import Asked, Ended, Event, Requested
from sweeps.journal.objective import Objective
from sweeps.journal.records import decode, encode
from sweeps.journal.status import Decision, Status
from sweeps.schedulers import Done, make_scheduler
from sweeps.searchers import make_searcher
from sweeps.space.space import parse_space

SPACE, _ = parse_space(
    {
        "lr": "tag(log, interval(1e-4, 1))",
        "momentum": "tag(one_minus_log, interval(0.5, 0.99))",
        "net": "mlp, convnet",
        "width": "int(interval(1, 64))",
    },
    [],
    when={"width": {"net": "convnet"}},
    constraints=["width * lr <= 8"],
)
HALVING = {"name": "successive_halving", "max_t": 9}


class Sweep:
    """An engine over a journal in memory, which can be opened again."""

    def __init__(self, **options: Any) -> None:
        self.events: list[Event] = []
        self._options = options
        self.open()

    def open(self, **changed: Any) -> None:
        """Begin it, or take it up again with what the journal holds."""
        self._options |= changed
        options = {"num_samples": 6, "searcher": {"name": "random"}, "scheduler": {"name": "none"}}
        options |= self._options
        searcher, scheduler = options.pop("searcher"), options.pop("scheduler")
        initial, budget = options.pop("initial", ()), options.pop("budget", Budget())
        self.engine = Engine(
            log=self,
            objective=Objective(metric="loss"),
            make_searcher=lambda view: make_searcher(
                **searcher, space=SPACE, view=view, seed=7, initial=initial
            ),
            scheduler=make_scheduler(**scheduler, space=SPACE, seed=7),
            limits=Limits(**options),
            budget=budget,
            steering=Steering(budget=budget, seed=7),
            space=SPACE,
            clock=lambda: 0.0,
        )
        self.engine.open(list(self.events), name="steered")

    def append(self, *events: Event) -> None:
        for event in events:
            assert decode(encode(event)) == event
            self.events.append(event)

    def begin(self) -> Segment:
        segment = self.engine.next_segment()
        assert isinstance(segment, Segment), segment
        return segment

    def report(self, trial: int, step: int, loss: float) -> Decision:
        checkpoint = f"{trial}/{step}"
        return self.engine.on_report(
            trial, step=step, metrics={"loss": loss}, checkpoint=checkpoint
        )

    def ask(self, request: str = "a", **asked: Any) -> Requested:
        return self.engine.on_request(request, asked)

    def status(self, trial: int) -> Status:
        return self.engine.trials[trial].status


# Stop


def test_a_running_trial_is_stopped_at_its_next_report_and_may_still_lead() -> None:
    sweep = Sweep()
    sweep.begin()
    assert sweep.report(0, 1, 0.5) is Decision.CONTINUE
    answered = sweep.ask(stop=0)
    assert (answered.refusal, answered.trial) == (None, 0)
    assert sweep.status(0) is Status.RUNNING
    assert sweep.report(0, 2, 0.25) is Decision.STOP
    trial = sweep.engine.trials[0]
    assert (trial.status, trial.value, trial.cause) == (Status.STOPPED, 0.25, "request")
    assert list(trial.reports) == [1, 2]
    assert sweep.engine.trials.best is trial


def test_one_that_reaches_its_end_with_that_report_is_complete_and_one_that_diverges_diverged() -> (
    None
):
    sweep = Sweep(scheduler={"name": "asha", "max_t": 3, "grace_period": 3})
    for loss, status in ((0.5, Status.COMPLETE), (float("nan"), Status.DIVERGED)):
        trial = sweep.begin().trial
        sweep.ask(f"stop {trial}", stop=trial)
        sweep.report(trial, 3, loss)
        assert sweep.status(trial) is status


def test_a_trial_that_does_not_report_has_the_time_of_a_teardown() -> None:
    sweep = Sweep(teardown_timeout_s=12.0)
    sweep.begin()
    assert sweep.engine.seconds_left(0) == float("inf")
    sweep.ask(stop=0)
    assert sweep.engine.seconds_left(0) == 12.0
    sweep.engine.on_time_up(0)
    trial = sweep.engine.trials[0]
    assert (trial.status, trial.value, trial.cause) == (Status.STOPPED, None, "request")


@pytest.mark.parametrize("how", ["lost", "raised", "driver died"])
def test_one_that_is_to_stop_never_goes_on_elsewhere(how: str) -> None:
    sweep = Sweep(max_retries=5, num_samples=1)
    sweep.begin()
    sweep.report(0, 1, 0.5)
    sweep.ask(stop=0)
    if how == "lost":
        sweep.engine.on_lost(0, "its node died")
    elif how == "raised":
        sweep.engine.on_error(0, "Traceback")
    else:
        sweep.open()
    assert sweep.status(0) is (Status.FAILED if how == "raised" else Status.STOPPED)
    assert isinstance(sweep.engine.next_segment(), Done)


def test_a_trial_that_waits_for_a_slot_ends_at_once() -> None:
    sweep = Sweep(num_samples=2, max_retries=1, retry_backoff_s=5.0)
    sweep.begin(), sweep.begin()
    sweep.engine.on_lost(0, "its node died")
    sweep.engine.on_error(1, "Traceback")
    assert sweep.engine.due is not None
    sweep.ask("a", stop=0), sweep.ask("b", stop=1)
    assert sweep.engine.due is None
    assert [sweep.status(0), sweep.status(1)] == [Status.STOPPED] * 2
    assert sweep.engine.is_done


def test_a_paused_trial_ends_at_once_and_the_next_best_goes_on_in_its_place() -> None:
    for scheduler in (HALVING, {"name": "asha", "max_t": 9}):
        sweep = Sweep(scheduler=scheduler, num_samples=4)
        for trial, loss in enumerate((0.1, 0.2, 0.3, 0.4)):
            sweep.begin()
            if trial == 2:  # no third report yet: nothing is promoted
                sweep.ask(stop=0)
            assert sweep.report(trial, 1, loss) is Decision.PAUSE
        assert sweep.status(0) is Status.STOPPED
        assert sweep.begin().trial == 1, scheduler


def test_a_rung_does_not_wait_for_a_trial_that_was_stopped_on_its_way() -> None:
    sweep = Sweep(scheduler=HALVING, num_samples=9)
    for trial in range(9):
        sweep.begin()
        if trial < 8:
            sweep.report(trial, 1, trial / 10)
    sweep.ask(stop=8)
    assert sweep.report(8, 1, 0.01) is Decision.STOP
    assert [sweep.begin().trial for _ in range(2)] == [0, 1]


def test_a_member_of_a_population_leaves_it() -> None:
    pbt = {"name": "pbt", "max_t": 6, "perturbation_interval": 2, "hyperparam_mutations": ["lr"]}
    sweep = Sweep(scheduler=pbt, num_samples=4)
    for _ in range(4):
        sweep.begin()
    for trial in range(4):
        sweep.report(trial, 2, trial / 10)
    sweep.ask(stop=0)  # the one that others would copy
    sources = []
    for _ in range(3):
        segment = sweep.begin()
        sources.append(sweep.engine.trials[segment.trial].lineage[-1:])
    assert all(started.source != 0 for lineage in sources for started in lineage)
    assert any(sources)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"stop": 7}, "no trial 7: the sweep has trials 0 to 1"),
        ({"stop": -1}, "no trial -1"),
        ({"stop": 1}, "trial 1 is over: it is complete"),
        ({"stop": "1"}, "cannot be read"),
        ({"stop": True}, "cannot be read"),
        ({}, "cannot be read"),
        ({"stop": 0, "extend": {}}, "cannot be read"),
        ({"enqueue": {"lrr": 0.1}}, "names lrr, which is not in the search space; did you mean lr"),
        ({"enqueue": {"lr": 2}}, "lr: 2 is not between 0.0001 and 1.0"),
        ({"enqueue": {"net": "resnet"}}, "resnet"),
        ({"enqueue": {"net": "mlp", "width": 4}}, "which exists only when net=convnet"),
        ({"enqueue": {"net": "convnet", "width": 64, "lr": 0.5}}, "breaks 'width * lr <= 8'"),
        ({"extend": {"num_samples": 1}}, "num_samples is 1, and the sweep has 2 trials"),
        ({"extend": {"num_samples": None}}, "num_samples is None; it must be a whole number"),
        ({"extend": {"total_steps": 0.5}}, "total_steps is 0.5; it must be a whole number"),
        ({"extend": {"time_budget_s": 0}}, "time_budget_s is 0; it must be seconds above 0"),
        ({"extend": {"num_sample": 9}}, "did you mean num_samples"),
        ({"extend": {"scheduler.max_t": 9}}, "cannot be changed while a sweep runs"),
        ({"extend": {"cost.budget": 9}}, "needs hydra.sweeper.cost.metric"),
        ({"extend": {"total_steps": 10**400}}, "too large"),
        ({"enqueue": {"lr": 10**400}}, "too large"),
        ({"enqueue": {"lr": {"a": [1]}}}, "lr: {'a': [1]} is not a number"),
        ({"enqueue": ["lr"]}, "cannot be read"),
    ],
)
def test_what_is_wrong_or_too_late_is_refused_with_the_reason_and_changes_nothing(
    asked: Mapping[str, Any], words: str
) -> None:
    sweep = Sweep()
    sweep.begin(), sweep.begin()
    sweep.report(1, 1, 0.5)
    sweep.engine.on_return(1, {})
    before = len(sweep.events)
    answered = sweep.engine.on_request("a", asked)
    assert words in str(answered.refusal)
    assert sweep.events[before:] == [answered]
    assert sweep.engine.total == 6


def test_the_same_trial_is_asked_to_stop_once() -> None:
    sweep = Sweep()
    sweep.begin()
    sweep.ask("a", stop=0)
    assert "asked to stop already" in str(sweep.ask("b", stop=0).refusal)
    assert sweep.ask("a", stop=0).refusal is None


# Enqueue


def test_what_is_enqueued_runs_next_and_the_searcher_proposes_what_is_left_open() -> None:
    sweep = Sweep()
    sweep.begin()
    assert sweep.ask("a", enqueue={"lr": 0.5, "momentum": 0.75}).trial == 1
    assert sweep.ask("b", enqueue={"net": "convnet", "width": 3}).trial == 2
    first, second = sweep.begin().values, sweep.begin().values
    assert (first["lr"], first["momentum"]) == (0.5, 0.75)
    assert first["net"] in ("mlp", "convnet")
    assert (second["net"], second["width"]) == ("convnet", 3)
    assert sweep.engine.total == 6


def test_a_trial_is_enqueued_beyond_the_last_one_too() -> None:
    sweep = Sweep(num_samples=1)
    sweep.begin()
    sweep.report(0, 1, 0.5)
    sweep.engine.on_return(0, {})
    assert sweep.engine.is_done
    sweep.ask(enqueue={"lr": 0.25})
    assert (sweep.engine.total, sweep.engine.is_done) == (2, False)
    sweep.open()
    assert sweep.begin().values["lr"] == 0.25
    sweep.open()  # two trials where one was asked for
    assert sweep.engine.total == 2


def test_initial_points_are_pushed_back_and_none_is_lost() -> None:
    points = [{"lr": 0.001}, {"lr": 0.002}, {"lr": 0.003}]
    sweep = Sweep(initial=points)
    rates = [sweep.begin().values["lr"]]
    sweep.ask(enqueue={"lr": 0.9})
    rates += [sweep.begin().values["lr"] for _ in range(3)]
    assert rates == [0.001, 0.9, 0.002, 0.003]


def test_what_no_proposal_completes_is_completed_by_draws_or_refused() -> None:
    sweep = Sweep(searcher={"name": "tpe"}, num_samples=30)
    for trial in range(12):
        sweep.begin()
        sweep.report(trial, 1, trial)
        sweep.engine.on_return(trial, {})
    number = sweep.ask("a", enqueue={"net": "convnet", "width": 64}).trial
    assert number == 12
    values = sweep.begin().values
    assert values["width"] == 64
    assert values["width"] * values["lr"] <= 8


def test_nothing_is_enqueued_where_every_configuration_is_laid_down() -> None:
    steering = Steering(no_points="the searcher grid tries every combination as it is")
    with pytest.raises(ConfigError, match="the searcher grid tries every combination"):
        steering.check({"enqueue": {"lr": 0.1}}, Sweep().engine.trials)


# Bounds


def test_a_sweep_gets_more_trials_and_fewer() -> None:
    sweep = Sweep(num_samples=2)
    sweep.begin(), sweep.begin()
    sweep.ask("a", extend={"num_samples": 5})
    assert sweep.engine.total == 5
    assert sweep.begin().trial == 2
    sweep.ask("b", extend={"num_samples": 3})
    assert sweep.engine.total == 3


def test_budgets_change_at_once() -> None:
    sweep = Sweep(budget=Budget(total_steps=2), time_budget_s=60.0)
    sweep.begin()
    sweep.report(0, 2, 0.5)
    assert "total_steps, 2, are spent" in str(sweep.engine.spent)
    sweep.ask("a", extend={"total_steps": 4, "time_budget_s": 90})
    assert (sweep.engine.spent, sweep.engine.time_budget_s) == (None, 90)
    sweep.report(0, 4, 0.5)
    assert "total_steps, 4, are spent" in str(sweep.engine.spent)
    sweep.ask("b", extend={"total_steps": None, "time_budget_s": None})
    assert (sweep.engine.spent, sweep.engine.time_budget_s) == (None, None)


def test_what_was_granted_holds_for_later_drivers_until_a_command_says_something_else() -> None:
    sweep = Sweep(num_samples=4, budget=Budget(total_steps=100))
    sweep.ask(extend={"num_samples": 9, "total_steps": 200, "stop.target": 0.1})
    for _ in range(2):  # the same command again, as a submission sends it
        sweep.open()
        assert sweep.engine.total == 9
    sweep.open(num_samples=5)
    assert sweep.engine.total == 5
    granted = {"total_steps": 200, "stop.target": 0.1}
    assert sweep.engine.trials.steered.granted == granted
    sweep.open()
    assert sweep.engine.total == 5


# Whatever dies in between


def steered() -> Sweep:
    """A sweep of which everything was asked, and that went on."""
    sweep = Sweep(scheduler=HALVING, num_samples=4)
    for trial in range(3):
        sweep.begin()
        sweep.report(trial, 1, trial / 10)
    sweep.begin()
    sweep.ask("1", stop=1)  # paused
    sweep.ask("2", enqueue={"lr": 0.125})
    sweep.ask("3", extend={"num_samples": 6})
    sweep.ask("4", stop=3)  # in a slot
    return sweep


REQUESTS: list[tuple[str, dict[str, Any]]] = [
    ("1", {"stop": 1}),
    ("2", {"enqueue": {"lr": 0.125}}),
    ("3", {"extend": {"num_samples": 6}}),
    ("4", {"stop": 3}),
]


def test_a_driver_killed_between_any_two_records_takes_every_request_exactly_once() -> None:
    """The file is there until the journal has it, so a later driver finds each of them again."""
    whole = steered()
    first = next(i for i, event in enumerate(whole.events) if isinstance(event, Requested))
    for kept in range(first, len(whole.events) + 1):
        sweep = Sweep(scheduler=HALVING, num_samples=4)
        sweep.events = whole.events[:kept]
        sweep.open()
        for request, asked in REQUESTS:
            sweep.engine.on_request(request, asked)
        taken = [e.request for e in sweep.events if isinstance(e, Requested)]
        assert taken == ["1", "2", "3", "4"], kept
        ended = [e.trial for e in sweep.events if isinstance(e, Ended)]
        assert sorted(ended) == [1, 3], kept
        assert sweep.engine.total == 6
        asked_for = sweep.begin()
        while asked_for.trial < 4:  # one that waits at a rung may go on first
            asked_for = sweep.begin()
        assert asked_for.values["lr"] == 0.125, kept
        assert [e.trial for e in sweep.events if isinstance(e, Asked)] == [0, 1, 2, 3, 4]


def test_the_journal_alone_gives_the_same_decisions() -> None:
    whole = steered()
    again = Sweep(scheduler=HALVING, num_samples=4)
    again.events = list(whole.events)
    again.open()  # which ends what was to stop; there it does so at its next report
    assert whole.report(3, 1, 0.7) is Decision.STOP
    for _ in range(2):
        assert replace(whole.begin(), run=0) == replace(again.begin(), run=0)
