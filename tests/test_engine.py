from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sweeps.core.engine import Engine
from sweeps.core.limits import Limits
from sweeps.core.segment import Segment
from sweeps.errors import ConfigError, SweepError
from sweeps.journal.events import (
    Closed,
    Created,
    Ended,
    Event,
    Lost,
    Opened,
    Started,
)
from sweeps.journal.file import Journal, read_journal
from sweeps.journal.objective import Objective
from sweeps.journal.status import Decision, Status
from sweeps.schedulers import Done, Wait, make_scheduler
from sweeps.searchers import make_searcher
from sweeps.simulate import Curve, Setup, simulate
from sweeps.space.space import parse_space

SPACE, _ = parse_space({"lr": "tag(log, interval(1e-4, 1))", "net": "mlp, convnet"}, [])
TPE = {"name": "tpe", "n_startup_trials": 4}
ASHA = {"name": "asha", "max_t": 9}


class Memory:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def append(self, *events: Event) -> None:
        self.events.extend(events)


def open_engine(
    history: Iterable[Event] = (),
    *,
    num_samples: int = 20,
    searcher: Mapping[str, Any] = {"name": "random"},
    scheduler: Mapping[str, Any] = {"name": "none"},
    seed: int = 0,
    **limits: Any,
) -> tuple[Engine, list[Event]]:
    memory = Memory()
    memory.events.extend(history)
    engine = Engine(
        log=memory,
        objective=Objective(metric="loss"),
        make_searcher=lambda view: make_searcher(**searcher, space=SPACE, view=view, seed=seed),
        scheduler=make_scheduler(**scheduler, space=SPACE, seed=seed),
        limits=Limits(num_samples=num_samples, **limits),
        space=SPACE,
        clock=lambda: 0.0,
    )
    engine.open(list(history), name="test")
    return engine, memory.events


def begin(engine: Engine) -> int:
    segment = engine.next_segment()
    assert isinstance(segment, Segment)
    return segment.trial


def tell(engine: Engine, trial: int, step: int, loss: float, checkpoint: bool = True) -> Decision:
    folder = f"{trial}/{step}" if checkpoint else None
    return engine.on_report(trial, step=step, metrics={"loss": loss}, checkpoint=folder)


# A sweep that was cut and resumed


def curve_to(steps: int) -> Curve:
    def curve(values: Mapping[str, Any], trial: int) -> Iterable[tuple[dict[str, float], float]]:
        rng = random.Random(trial)
        for step in range(1, steps + 1):
            loss = abs(math.log10(values["lr"]) + 2) + (values["net"] == "mlp") + 1 / step
            diverged = values["lr"] > 0.3 and step == 2
            yield {"loss": math.nan if diverged else loss}, rng.choice([1.0, 1.0, 2.5])

    return curve


curve = curve_to(9)


def setup(seed: int, workers: int, **fields: Any) -> Setup:
    given = {"num_samples": 18, "searcher": TPE, "scheduler": ASHA, **fields}
    objective = Objective(metric="loss")
    return Setup(space=SPACE, objective=objective, seed=seed, workers=workers, **given)


def decisions(events: Iterable[Event]) -> list[Event]:
    """What was decided and when, without the words of drivers that come and go."""
    return [
        event if isinstance(event, Ended | Created) else replace(event, run=0)
        for event in events
        if not isinstance(event, Opened | Closed)
        and not (isinstance(event, Started) and event.reason == "resume")
    ]


@pytest.mark.parametrize(("seed", "workers"), [(0, 1), (2, 4)])
def test_a_sweep_cut_after_any_event_goes_on_as_if_it_had_not_been(
    tmp_path: Path, seed: int, workers: int
) -> None:
    path, cut = tmp_path / "journal.log", tmp_path / "cut.log"
    unbroken = simulate(curve, setup(seed, workers), log=Journal(path))
    assert list(map(repr, read_journal(path))) == list(map(repr, unbroken.events))
    lines = path.read_bytes().splitlines(keepends=True)
    for kept in range(len(lines)):
        cut.write_bytes(b"".join(lines[:kept]))
        resumed = simulate(curve, setup(seed, workers), history=read_journal(cut))
        assert repr(decisions(resumed.events)) == repr(decisions(unbroken.events)), kept


def test_a_simulation_is_the_same_for_the_same_seed_alone() -> None:
    first, again, other = (simulate(curve, setup(seed, 4)) for seed in (5, 5, 6))
    assert repr(first.events) == repr(again.events)
    assert first.asks[0].params != other.asks[0].params


def act(engine: Engine, slots: list[int], rng: random.Random, steps: dict[int, int]) -> Any:
    """One thing that happens to a sweep, drawn at random, and what the engine says to it."""
    if len(slots) < 3:
        segment = engine.next_segment()
        if isinstance(segment, Segment):
            steps[segment.trial] = int((segment.checkpoint or "/0").split("/")[1])
            slots.append(segment.trial)
            return replace(segment, run=0, life=0)  # they name folders alone
        if not slots:
            return type(segment)
    trial = slots.pop(rng.randrange(len(slots)))
    what = rng.random()
    if what < 0.05:
        return engine.on_error(trial, "raised")
    if what < 0.1:
        return engine.on_return(trial, {"loss": rng.random()})
    if what < 0.2:
        engine.on_lost(trial, "gone")
        return None
    steps[trial] += rng.choice([1, 1, 1, 3])
    loss = math.nan if rng.random() < 0.05 else rng.random()
    decision = tell(engine, trial, steps[trial], loss, checkpoint=rng.random() < 0.8)
    if decision is Decision.CONTINUE:
        slots.append(trial)
    return decision


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("name", ["asha", "asha_stop", "hyperband", "median", "successive_halving"])
def test_an_engine_on_a_copy_of_the_events_answers_as_the_one_that_wrote_them(
    name: str, seed: int
) -> None:
    scheduler = {"name": name, "max_t": 9}
    searcher = TPE if name == "asha" else {"name": "random"}
    options = {"searcher": searcher, "scheduler": scheduler, "seed": seed, "max_losses": 1}
    rng = random.Random(seed)
    engine, events = open_engine(**options)
    slots, steps = list[int](), dict[int, int]()
    for _ in range(rng.randrange(10, 90)):
        act(engine, slots, rng, steps)
    while len(slots) < 3 and isinstance(segment := engine.next_segment(), Segment):
        slots.append(segment.trial)  # one that was lost is in nobody's slot
        steps[segment.trial] = int((segment.checkpoint or "/0").split("/")[1])

    copy, _ = open_engine(list(events), **options)
    assert sorted(begin(copy) for _ in slots) == sorted(slots)
    here, there = random.Random(7), random.Random(7)
    there_slots, there_steps = list(slots), dict(steps)
    for _ in range(80):
        one = act(engine, slots, here, steps)
        assert act(copy, there_slots, there, there_steps) == one


# What a crash between two appends leaves


def reopened(events: list[Event], **options: Any) -> tuple[Engine, list[Event]]:
    assert not isinstance(events[-1], Ended)
    return open_engine(events, **options)


@pytest.mark.parametrize(
    ("loss", "step", "status"),
    [(0.5, 9, Status.COMPLETE), (math.nan, 1, Status.DIVERGED), (0.5, 1, Status.STOPPED)],
)
def test_an_end_that_was_decided_but_not_written_is_written_on_resume(
    loss: float, step: int, status: Status
) -> None:
    engine, events = open_engine(scheduler=ASHA)
    tell(engine, begin(engine), step, loss, checkpoint=False)
    engine, events = reopened(events[:-1], scheduler=ASHA)
    assert isinstance(events[-1], Ended)
    assert events[-1].status is status
    assert begin(engine) == 1


def test_a_divergence_below_the_highest_step_is_not_forgotten_on_resume() -> None:
    engine, events = open_engine()
    trial = begin(engine)
    tell(engine, trial, 1, 0.5)
    tell(engine, trial, 2, 0.4, checkpoint=False)
    tell(engine, trial, 3, 0.3, checkpoint=False)
    engine.on_lost(trial, "gone")
    begin(engine)
    assert tell(engine, trial, 2, math.nan, checkpoint=False) is Decision.STOP
    assert engine.trials[trial].status is Status.DIVERGED
    engine, events = reopened(events[:-1])
    assert engine.trials[trial].status is Status.DIVERGED


def test_a_last_loss_whose_failure_was_not_written_fails_on_resume() -> None:
    engine, events = open_engine(max_losses=0)
    engine.on_lost(begin(engine), "gone")
    engine, events = reopened(events[:-1], max_losses=0)
    assert engine.trials[0].status is Status.FAILED
    assert engine.trials[0].cause == "lost"


# A slot's words


def test_a_sweep_without_early_stopping_runs_each_trial_once_to_its_end() -> None:
    result = simulate(curve, setup(0, 4, scheduler={"name": "none"}, num_samples=11))
    assert len(result.asks) == 11
    ends = [event.trial for event in result.events if isinstance(event, Ended)]
    assert sorted(ends) == list(range(11))
    complete = result.trials.with_status(Status.COMPLETE)
    assert all(trial.step == 9 for trial in complete)
    assert {t.cause for t in result.trials if t not in complete} <= {"diverged"}


def test_a_resumed_sweep_that_was_done_does_nothing_more() -> None:
    done = simulate(curve, setup(0, 2))
    again = simulate(curve, setup(0, 2), history=done.events)
    new = again.events[len(done.events) :]
    assert [type(event) for event in new] == [Opened, Closed]


def test_an_engine_is_done_though_trials_are_paused_when_none_can_be_promoted() -> None:
    engine, _ = open_engine(scheduler={"name": "asha", "max_t": 9}, num_samples=2)
    for loss in (1.0, 2.0):
        assert not engine.is_done
        trial = begin(engine)
        engine.on_report(trial, step=1, metrics={"loss": loss}, checkpoint="1")
    assert engine.slots_wanted == 2
    assert engine.is_done


def test_a_sweep_is_extended_by_a_larger_num_samples() -> None:
    short = simulate(curve, setup(0, 1, scheduler={"name": "none"}, num_samples=5))
    longer = setup(0, 1, scheduler={"name": "none"}, num_samples=12)
    extended = simulate(curve, longer, history=short.events)
    whole = simulate(curve, longer)
    assert [ask.params for ask in extended.asks] == [ask.params for ask in whole.asks]
    assert repr(decisions(extended.events)) == repr(decisions(whole.events))


def test_a_sweep_is_extended_by_a_larger_max_t() -> None:
    short = simulate(curve, setup(0, 2, num_samples=12))
    longer = setup(0, 2, num_samples=30, scheduler={"name": "asha", "max_t": 27})
    extended = simulate(curve_to(27), longer, history=short.events)
    assert len(extended.asks) == 30
    ended = [event.trial for event in extended.events if isinstance(event, Ended)]
    assert len(set(ended)) == len(ended)
    assert max(trial.step for trial in extended.trials) == 27
    assert short.trials.with_status(Status.COMPLETE)
    for trial in short.trials.with_status(Status.COMPLETE):
        assert extended.trials[trial.number].step == 9


def test_a_finite_grid_ends_the_sweep_before_num_samples() -> None:
    space, _ = parse_space({"lr": "0.1, 0.2", "net": "mlp, convnet"}, [])
    given = setup(0, 3, searcher={"name": "grid"}, scheduler={"name": "none"})
    result = simulate(curve, replace(given, space=space))
    seen = [(ask.params["lr"], ask.params["net"]) for ask in result.asks]
    assert seen == [(0.1, "mlp"), (0.1, "convnet"), (0.2, "mlp"), (0.2, "convnet")]


def test_a_lost_trial_goes_on_from_its_checkpoint_until_it_was_lost_too_often() -> None:
    engine, events = open_engine(max_losses=2, num_samples=1)
    trial = begin(engine)
    tell(engine, trial, 1, 0.5)
    for _ in range(2):
        engine.on_lost(trial, "node died")
        assert engine.trials[trial].status is Status.RUNNING
        segment = engine.next_segment()
        assert isinstance(segment, Segment)
        assert (segment.trial, segment.checkpoint) == (trial, "0/1")
        assert isinstance(events[-1], Started)
        assert events[-1].reason == "retry"
    engine.on_lost(trial, "node died")
    assert engine.trials[trial].status is Status.FAILED
    assert (engine.trials[trial].cause, engine.trials[trial].error) == ("lost", "node died")
    assert isinstance(engine.next_segment(), Done)


def test_a_slot_that_dies_before_its_trial_began_is_not_held_against_the_trial() -> None:
    engine, events = open_engine(max_losses=0)
    engine.on_lost(begin(engine), "node died", counts=False)
    assert not any(isinstance(event, Lost) for event in events)
    assert begin(engine) == 0


def test_a_resumed_trial_is_given_its_newest_checkpoint() -> None:
    engine, events = open_engine(num_samples=1)
    trial = begin(engine)
    tell(engine, trial, 1, 0.5)
    tell(engine, trial, 2, 0.5)
    tell(engine, trial, 3, 0.5, checkpoint=False)
    engine, events = open_engine(events, num_samples=1)
    segment = engine.next_segment()
    assert isinstance(segment, Segment)
    assert (segment.checkpoint, segment.run) == ("0/2", 2)
    assert isinstance(events[-1], Started)
    assert events[-1].reason == "resume"
    assert isinstance(engine.next_segment(), Wait)


def test_too_many_failures_end_the_sweep_but_not_before_five_trials() -> None:
    engine, _ = open_engine(max_failure_rate=0.5)
    for _ in range(4):
        engine.on_error(begin(engine), "raised")
    message = "5 of 5 trials that ended or paused failed, more than hydra.sweeper.max_failure_rate"
    with pytest.raises(SweepError, match=message):
        engine.on_error(begin(engine), "raised")


def test_a_metric_nobody_gives_ends_the_sweep_and_names_those_there_were() -> None:
    engine, _ = open_engine()
    trial = begin(engine)
    engine.on_report(trial, step=1, metrics={"los": 0.5, "acc": 0.1}, checkpoint=None)
    message = (
        "hydra.sweeper.metric is 'loss', and trial 0 came without it: it gave acc, f1, los"
        r"; did you mean los\?"
    )
    with pytest.raises(SweepError, match=message):
        engine.on_return(trial, {"f1": 0.3})
    assert engine.trials[trial].status is Status.FAILED


def test_a_trial_without_the_metric_that_others_gave_only_fails_itself() -> None:
    engine, _ = open_engine()
    engine.on_return(begin(engine), {"loss": 0.5})
    engine.on_return(begin(engine), {})
    assert engine.trials[1].status is Status.FAILED
    assert "it reported and returned nothing" in (engine.trials[1].error or "")


@pytest.mark.parametrize(
    ("reports", "returned", "status", "value"),
    [
        ([], {"loss": 0.5}, Status.COMPLETE, 0.5),
        ([0.3, 0.4], {"loss": 0.5}, Status.COMPLETE, 0.3),
        ([0.3, 0.4], {}, Status.COMPLETE, 0.3),
        ([None], {"loss": 0.5}, Status.COMPLETE, 0.5),
        ([], {"loss": math.nan}, Status.DIVERGED, None),
    ],
)
def test_a_trials_value_is_its_best_report_else_what_it_returned(
    reports: list[float | None], returned: dict[str, float], status: Status, value: float | None
) -> None:
    engine, _ = open_engine()
    trial = begin(engine)
    for step, loss in enumerate(reports, start=1):
        metrics = {"other": 1.0} if loss is None else {"loss": loss}
        engine.on_report(trial, step=step, metrics=metrics, checkpoint=None)
    engine.on_return(trial, returned)
    assert (engine.trials[trial].status, engine.trials[trial].value) == (status, value)


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_diverged_trial_ends_at_once_and_is_never_the_incumbent(loss: float) -> None:
    engine, events = open_engine()
    trial = begin(engine)
    tell(engine, trial, 1, 0.1)
    assert tell(engine, trial, 2, loss) is Decision.STOP
    assert isinstance(events[-1], Ended)
    assert (events[-1].status, events[-1].cause) == (Status.DIVERGED, "diverged")
    assert engine.trials.best is None


def test_a_word_after_a_trials_end_is_refused() -> None:
    engine, _ = open_engine()
    trial = begin(engine)
    engine.on_return(trial, {"loss": 0.5})
    with pytest.raises(AssertionError, match="trial 0 is in no slot"):
        engine.on_error(trial, "late")


def test_slots_wanted_never_exceeds_what_is_left() -> None:
    engine, _ = open_engine(num_samples=3)
    assert engine.slots_wanted == 3
    trials = [begin(engine) for _ in range(3)]
    assert engine.slots_wanted == 3
    for trial in trials:
        assert not engine.is_done
        engine.on_return(trial, {"loss": 1.0})
    assert engine.slots_wanted == 0
    assert engine.is_done


# The simulated clock


def test_idle_time_and_incumbents_are_told_in_simulated_seconds() -> None:
    def steps(values: Mapping[str, Any], trial: int) -> Iterable[tuple[dict[str, float], float]]:
        yield {"loss": 5.0 - trial}, 10.0 if trial == 0 else 4.0

    result = simulate(steps, setup(0, 2, scheduler={"name": "none"}, num_samples=3))
    assert result.seconds == 10.0
    assert result.idle == [0.0, 2.0]
    assert result.incumbents() == [(4.0, 4.0), (8.0, 3.0)]


ASHA = {"name": "asha", "max_t": 9}


def test_a_trial_that_passes_a_rung_without_the_metric_ends_a_sweep_that_never_saw_it() -> None:
    engine, events = open_engine(scheduler=ASHA)
    trial = begin(engine)
    engine.on_report(trial, step=1, metrics={"acc": 0.1}, checkpoint=None)
    with pytest.raises(SweepError, match="trial 0 came without it: it gave acc"):
        engine.on_report(trial, step=2, metrics={"acc": 0.2}, checkpoint=None)
    assert isinstance(events[-1], Ended)
    assert events[-1].status is Status.FAILED


def test_it_fails_itself_alone_where_others_gave_the_metric() -> None:
    engine, _ = open_engine(scheduler=ASHA)
    tell(engine, begin(engine), 1, 0.5)
    trial = begin(engine)
    for step in (1, 2):
        decision = engine.on_report(trial, step=step, metrics={"acc": 0.1}, checkpoint=None)
    assert decision is Decision.STOP
    assert engine.trials[trial].status is Status.FAILED


def test_a_metric_that_comes_later_in_the_same_step_is_waited_for() -> None:
    engine, _ = open_engine(scheduler=ASHA)
    trial = begin(engine)
    engine.on_report(trial, step=1, metrics={"acc": 0.1}, checkpoint=None)
    assert tell(engine, trial, 1, 0.5) is Decision.PAUSE


def test_fewer_trials_than_there_are_is_refused() -> None:
    engine, events = open_engine(num_samples=4)
    for _ in range(3):
        engine.on_return(begin(engine), {"loss": 1.0})
    with pytest.raises(ConfigError, match="num_samples is 2, and the sweep has 3 trials already"):
        open_engine(events, num_samples=2)
