"""Failures, retries and time limits, as the engine and the lanes decide on them."""

from __future__ import annotations

import errno
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from sweeps.core.engine import Engine
from sweeps.core.limits import Limits
from sweeps.core.memory import ran_out_of_memory
from sweeps.core.segment import Segment
from sweeps.driver.lanes import Lanes
from sweeps.errors import SweepError
from sweeps.journal.events import Ended, Event, Lost, Reported, Started
from sweeps.journal.file import Journal, read_journal
from sweeps.journal.objective import Objective
from sweeps.journal.status import Decision, Status
from sweeps.schedulers import Done, Wait, make_scheduler
from sweeps.searchers import make_searcher
from sweeps.simulate import Setup, simulate
from sweeps.space.space import parse_space
from sweeps.storage.folder import SweepFolder
from sweeps.worker.messages import Idle, Left, Report, Rest

SPACE, _ = parse_space({"lr": "interval(0, 1)"}, [])
NONE = {"name": "none"}
ASHA = {"name": "asha", "max_t": 9}


class Clock:
    def __init__(self, now: float = 100.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Memory:
    def __init__(self, events: Iterable[Event]) -> None:
        self.events = list(events)

    def append(self, *events: Event) -> None:
        self.events.extend(events)


def open_engine(
    history: Iterable[Event] = (),
    *,
    clock: Clock | None = None,
    scheduler: Mapping[str, Any] = NONE,
    num_samples: int = 20,
    **limits: Any,
) -> tuple[Engine, list[Event]]:
    log = Memory(history)
    engine = Engine(
        log=log,
        objective=Objective(metric="loss"),
        make_searcher=lambda view: make_searcher("random", space=SPACE, view=view, seed=0),
        scheduler=make_scheduler(**scheduler, space=SPACE, seed=0),
        limits=Limits(num_samples=num_samples, **limits),
        space=SPACE,
        clock=clock or Clock(),
    )
    engine.open(list(log.events), name="test")
    return engine, log.events


def begin(engine: Engine) -> int:
    segment = engine.next_segment()
    assert isinstance(segment, Segment)
    return segment.trial


def tell(engine: Engine, trial: int, step: int, loss: float) -> Decision:
    name = f"trials/{trial}/1/checkpoints/{step:06d}"
    return engine.on_report(trial, step=step, metrics={"loss": loss}, checkpoint=name)


# Retries


def test_a_trial_that_raises_goes_on_from_its_checkpoint_as_often_as_allowed() -> None:
    engine, events = open_engine(max_retries=2, retry_backoff_s=0)
    trial = begin(engine)
    tell(engine, trial, 1, 0.5)
    for attempt in (1, 2):
        engine.on_error(trial, f"Traceback {attempt}")
        assert engine.trials[trial].status is Status.RUNNING
        segment = engine.next_segment()
        assert isinstance(segment, Segment)
        assert (segment.trial, segment.checkpoint) == (trial, "trials/0/1/checkpoints/000001")
        assert isinstance(events[-1], Started)
        assert events[-1].reason == "retry"
    engine.on_error(trial, "Traceback 3")
    ended = engine.trials[trial]
    assert (ended.status, ended.cause, ended.error) == (Status.FAILED, "error", "Traceback 3")
    assert [lost.reason for lost in ended.failures] == ["Traceback 1", "Traceback 2"]
    assert ended.losses == 0


def test_without_retries_a_trial_that_raises_fails_at_once() -> None:
    engine, events = open_engine()
    trial = begin(engine)
    engine.on_error(trial, "Traceback")
    assert engine.trials[trial].status is Status.FAILED
    assert not any(isinstance(event, Lost) for event in events)


def test_a_retry_waits_twice_as_long_each_time_and_holds_up_no_other_work() -> None:
    clock = Clock()
    engine, _ = open_engine(max_retries=3, retry_backoff_s=10, num_samples=4, clock=clock)
    trial = begin(engine)
    for number, wait in enumerate((10, 20, 40), start=1):
        engine.on_error(trial, "Traceback")
        assert begin(engine) == number  # another trial, in the meantime
        engine.on_return(number, {"loss": 1.0})
        clock.now += wait - 0.5
        assert engine.due == clock.now + 0.5
        if number == 3:
            assert isinstance(engine.next_segment(), Wait)
        assert not engine.is_done
        clock.now += 0.5
        assert begin(engine) == trial
    assert engine.due is None


def test_a_sweep_is_not_done_while_a_retry_waits_and_wants_one_slot_for_it() -> None:
    clock = Clock()
    engine, _ = open_engine(max_retries=1, num_samples=1, clock=clock)
    engine.on_error(begin(engine), "Traceback")
    assert isinstance(engine.next_segment(), Wait)
    assert not engine.is_done
    assert engine.slots_wanted == 1
    clock.now += 1
    engine.on_return(begin(engine), {"loss": 1.0})
    assert engine.is_done
    assert engine.slots_wanted == 0
    assert isinstance(engine.next_segment(), Done)


def test_a_resumed_sweep_knows_how_often_a_trial_failed_and_how_long_it_still_waits() -> None:
    options: dict[str, Any] = {"max_retries": 2, "retry_backoff_s": 10, "num_samples": 1}
    clock = Clock()
    engine, events = open_engine(clock=clock, **options)
    trial = begin(engine)
    engine.on_error(trial, "Traceback")
    clock.now += 10
    begin(engine)
    engine.on_error(trial, "Traceback")
    clock.now += 15
    engine, events = open_engine(events, clock=clock, **options)
    assert engine.due == clock.now + 5
    assert isinstance(engine.next_segment(), Wait)
    assert not engine.is_done
    clock.now += 5
    assert begin(engine) == trial
    assert isinstance(events[-1], Started)
    assert events[-1].reason == "resume"
    engine.on_error(trial, "Traceback")
    assert engine.trials[trial].status is Status.FAILED


def test_a_clock_that_was_set_back_makes_no_retry_wait_longer() -> None:
    clock = Clock()
    engine, events = open_engine(max_retries=1, num_samples=1, clock=clock)
    engine.on_error(begin(engine), "Traceback")
    clock.now -= 50
    engine, events = open_engine(events, max_retries=1, num_samples=1, clock=clock)
    assert engine.due == clock.now + 1


@pytest.mark.parametrize("cause", ["import", "no_metric"])
def test_what_a_retry_cannot_mend_is_not_tried_again(cause: str) -> None:
    engine, events = open_engine(max_retries=5)
    engine.on_return(begin(engine), {"loss": 0.5})
    engine.on_error(begin(engine), "Traceback", cause=cause)
    assert engine.trials[1].status is Status.FAILED
    assert not any(isinstance(event, Lost) for event in events)


def test_only_final_failures_count_towards_the_failure_rate() -> None:
    engine, _ = open_engine(max_retries=1, retry_backoff_s=0, max_failure_rate=0.5)
    for number in range(4):
        engine.on_return(begin(engine), {"loss": 1.0 + number})
    for number in range(4, 7):
        trial = begin(engine)
        engine.on_error(trial, "Traceback")
        engine.on_return(begin(engine), {"loss": 1.0})
        assert engine.trials[number].status is Status.COMPLETE


def test_paused_trials_count_among_those_that_did_not_fail() -> None:
    halving = {"name": "successive_halving", "max_t": 9, "n": 40}
    engine, _ = open_engine(scheduler=halving, num_samples=40, max_failure_rate=0.5)
    for number in range(18):
        trial = begin(engine)
        if number % 3 == 0:
            engine.on_error(trial, "Traceback")
        else:
            engine.on_report(trial, step=1, metrics={"loss": 1.0}, checkpoint="c")
            assert engine.trials[trial].status is Status.PAUSED
    for _ in range(6):
        engine.on_error(begin(engine), "Traceback")
    with pytest.raises(SweepError, match="13 of 25 trials that ended or paused failed"):
        engine.on_error(begin(engine), "Traceback")


@pytest.mark.parametrize("scheduler", [NONE, ASHA])
def test_failures_before_there_were_enough_to_judge_count_when_there_are(
    scheduler: dict[str, Any],
) -> None:
    engine, events = open_engine(scheduler=scheduler, max_failure_rate=0.5)
    for _ in range(4):
        engine.on_error(begin(engine), "Traceback")
    with pytest.raises(SweepError, match="4 of 5 trials"):
        work(engine, scheduler)

    mended, events = open_engine(events, scheduler=scheduler, max_failure_rate=0.5)
    work(mended, scheduler)  # what works ends no sweep, so that a mended one goes on
    with pytest.raises(SweepError, match="5 of 7 trials"):
        mended.on_error(begin(mended), "Traceback")


def work(engine: Engine, scheduler: Mapping[str, Any]) -> None:
    trial = begin(engine)
    if scheduler is NONE:
        engine.on_return(trial, {"loss": 1.0})
    else:
        engine.on_report(trial, step=1, metrics={"loss": 1.0}, checkpoint="c")


def test_a_synchronous_wait_counts_a_trial_that_is_to_be_tried_again_as_running() -> None:
    clock = Clock()
    engine, _ = open_engine(scheduler=ASHA, num_samples=3, max_retries=1, clock=clock)
    first, second, third = (begin(engine) for _ in range(3))
    engine.on_error(first, "Traceback")
    assert tell(engine, second, 1, 0.5) is Decision.PAUSE
    assert tell(engine, third, 1, 0.6) is Decision.PAUSE
    assert isinstance(engine.next_segment(), Wait)
    clock.now += 1
    assert begin(engine) == first
    assert tell(engine, first, 1, 0.1) is Decision.PAUSE
    assert begin(engine) == first


def test_attempts_and_their_tracebacks_are_in_the_journal(tmp_path: Path) -> None:
    engine, events = open_engine(max_retries=1)
    engine.on_error(begin(engine), "Traceback: «Ärger»\n")
    journal = tmp_path / "journal.log"
    Journal(journal).append(*events)
    (lost,) = [event for event in read_journal(journal) if isinstance(event, Lost)]
    assert (lost.cause, lost.reason) == ("error", "Traceback: «Ärger»\n")


@pytest.mark.parametrize("workers", [1, 2])
def test_the_simulated_clock_goes_on_to_where_a_trial_may_be_tried_again(workers: int) -> None:
    def curve(values: Mapping[str, Any], trial: int) -> Iterable[tuple[dict[str, float], float]]:
        for step in range(1, 4):
            yield {"loss": 1 / step}, 2.0

    setup = Setup(
        space=SPACE,
        num_samples=1,
        workers=workers,
        objective=Objective(metric="loss"),
        searcher={"name": "random"},
    )
    first = simulate(curve, setup)
    kept = next(i for i, event in enumerate(first.events) if isinstance(event, Reported)) + 1
    lost = Lost(trial=0, reason="Traceback", cause="error", time=2.5)
    resumed = simulate(curve, setup, history=[*first.events[:kept], lost])
    started = [event for event in resumed.events if isinstance(event, Started)]
    assert [(event.time, event.reason) for event in started] == [(3.5, "resume")]
    assert resumed.trials[0].status is Status.COMPLETE
    assert resumed.seconds == 3.5 + 2 * 2.0


# Out of memory


def raised_from(error: BaseException) -> BaseException:
    try:
        raise RuntimeError("training failed") from error
    except RuntimeError as outer:
        return outer


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (raised_from(MemoryError()), True),
        (torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"), True),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied (4x3 and 4x3)"), False),
        (OSError(errno.ENOSPC, "No space left on device"), False),
        (ValueError("the memory cell has no input"), False),
        (raised_from(KeyError("memory")), False),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_a_lack_of_memory_is_told_from_a_bug(error: BaseException, expected: bool) -> None:
    assert ran_out_of_memory(error) is expected


def test_torchs_own_refusal_on_the_cpu_is_a_lack_of_memory() -> None:
    with pytest.raises(RuntimeError) as refused:
        torch.empty(2**46)
    assert ran_out_of_memory(refused.value)


def test_a_trial_that_runs_out_of_memory_diverges_and_is_neither_retried_nor_a_failure() -> None:
    engine, events = open_engine(max_retries=5, max_failure_rate=0)
    for _ in range(6):
        trial = begin(engine)
        tell(engine, trial, 1, 0.1)
        engine.on_error(trial, "Traceback\nMemoryError", cause="out_of_memory")
        ended = engine.trials[trial]
        assert (ended.status, ended.cause) == (Status.DIVERGED, "out_of_memory")
    assert not any(isinstance(event, Lost) for event in events)
    assert engine.trials.best is None


def test_a_trial_that_runs_out_of_memory_teaches_the_sampler_to_keep_away() -> None:
    engine, _ = open_engine()
    engine.on_error(begin(engine), "Traceback\nMemoryError", cause="out_of_memory")
    (shown,) = engine.state.view.get_all_trials(0)
    assert shown.state.name == "PRUNED"
    assert [math.isnan(value) for value in shown.intermediate_values.values()] == [True]


def test_losses_to_memory_end_a_trial_as_diverged_and_others_as_failed() -> None:
    engine, _ = open_engine(max_losses=1)
    big, unlucky, both = (begin(engine) for _ in range(3))
    for trial, causes in {
        big: ("out_of_memory", "out_of_memory"),
        unlucky: ("lost", "lost"),
        both: ("out_of_memory", "lost"),
    }.items():
        for cause in causes:
            engine.on_lost(trial, f"it was {cause}", cause=cause)
            if engine.trials[trial].status is Status.RUNNING:
                assert begin(engine) == trial
    ends = [(t.status.value, t.cause, t.error) for t in engine.trials]
    assert ends == [
        ("diverged", "out_of_memory", "it was out_of_memory"),
        ("failed", "lost", "it was lost"),
        ("failed", "lost", "it was lost"),
    ]


def test_a_last_loss_to_memory_whose_end_was_not_written_diverges_on_resume() -> None:
    engine, events = open_engine(max_losses=0)
    engine.on_lost(begin(engine), "gone", cause="out_of_memory")
    assert isinstance(events[-1], Ended)
    engine, events = open_engine(events[:-1], max_losses=0)
    assert (engine.trials[0].status, engine.trials[0].cause) == (Status.DIVERGED, "out_of_memory")


# Time limits


def test_a_report_beyond_the_time_limit_ends_the_trial_with_its_value() -> None:
    clock = Clock()
    engine, events = open_engine(trial_time_limit_s=10, clock=clock)
    trial = begin(engine)
    clock.now += 10
    assert tell(engine, trial, 1, 0.5) is Decision.CONTINUE
    clock.now += 1
    assert tell(engine, trial, 2, 0.7) is Decision.STOP
    ended = engine.trials[trial]
    assert (ended.status, ended.value, ended.cause) == (Status.STOPPED, 0.5, "time_limit")
    assert isinstance(events[-2], Reported)
    assert events[-2].decision is Decision.STOP


def test_paused_time_does_not_count_and_that_of_all_segments_does() -> None:
    clock = Clock()
    engine, _ = open_engine(trial_time_limit_s=10, scheduler=ASHA, clock=clock, num_samples=3)
    trials = [begin(engine) for _ in range(3)]
    clock.now += 6
    for trial in trials:
        tell(engine, trial, 1, float(trial))
    clock.now += 1000
    assert begin(engine) == 0
    assert engine.seconds_left(0) == 4
    clock.now += 4
    assert tell(engine, 0, 2, 0.5) is Decision.CONTINUE
    clock.now += 0.5
    assert tell(engine, 0, 3, 0.4) is Decision.STOP  # where it would have been paused
    assert engine.trials[0].cause == "time_limit"
    assert engine.is_done  # so nothing waits for it, nor is it promoted


def test_a_trial_that_reaches_its_last_step_too_late_is_complete_nevertheless() -> None:
    clock = Clock()
    engine, _ = open_engine(trial_time_limit_s=10, scheduler=ASHA, clock=clock)
    trial = begin(engine)
    clock.now += 11
    assert tell(engine, trial, 9, 0.5) is Decision.COMPLETE
    assert engine.trials[trial].cause is None


def test_the_time_of_earlier_drivers_counts_up_to_their_last_word_and_no_longer() -> None:
    clock = Clock()
    engine, events = open_engine(trial_time_limit_s=10, clock=clock)
    trial = begin(engine)
    clock.now += 7
    tell(engine, trial, 1, 0.5)
    clock.now += 1000
    engine, events = open_engine(events, trial_time_limit_s=10, clock=clock)
    assert begin(engine) == trial
    assert engine.seconds_left(trial) == 3
    clock.now += 4
    assert tell(engine, trial, 2, 0.4) is Decision.STOP


def test_a_late_report_without_the_objective_ends_the_trial_once() -> None:
    clock = Clock()
    engine, events = open_engine(trial_time_limit_s=10, scheduler=ASHA, clock=clock)
    trial = begin(engine)
    clock.now += 11
    engine.on_report(trial, step=2, metrics={"other": 1.0}, checkpoint=None)
    ends = [event for event in events if isinstance(event, Ended)]
    assert [(end.trial, end.cause) for end in ends] == [(trial, "time_limit")]


def test_an_end_at_the_time_limit_that_was_not_written_is_written_on_resume() -> None:
    clock = Clock()
    engine, events = open_engine(trial_time_limit_s=10, clock=clock)
    trial = begin(engine)
    clock.now += 11
    tell(engine, trial, 1, 0.5)
    assert isinstance(events[-1], Ended)
    engine, events = open_engine(events[:-1], trial_time_limit_s=10, clock=clock)
    ended = engine.trials[trial]
    assert (ended.status, ended.value, ended.cause) == (Status.STOPPED, 0.5, "time_limit")


@pytest.mark.parametrize(("reported", "status"), [(True, Status.STOPPED), (False, Status.FAILED)])
def test_a_trial_that_does_not_report_ends_by_whether_it_has_a_value(
    reported: bool, status: Status
) -> None:
    engine, _ = open_engine(trial_time_limit_s=10)
    trial = begin(engine)
    if reported:
        tell(engine, trial, 1, 0.5)
    engine.on_time_up(trial)
    ended = engine.trials[trial]
    assert (ended.status, ended.cause) == (status, "time_limit")
    said = "longer than hydra.sweeper.trial_time_limit_s, 10 s, and never reported loss"
    assert reported or said in (ended.error or "")


@pytest.mark.parametrize("lost", [True, False])
def test_a_trial_whose_time_is_up_is_not_tried_again(lost: bool) -> None:
    clock = Clock()
    engine, _ = open_engine(trial_time_limit_s=10, max_retries=5, clock=clock)
    trial = begin(engine)
    tell(engine, trial, 1, 0.5)
    clock.now += 11
    if lost:
        engine.on_lost(trial, "killed")
    else:
        engine.on_error(trial, "Traceback")
    expected = (Status.STOPPED, "time_limit") if lost else (Status.FAILED, "error")
    assert (engine.trials[trial].status, engine.trials[trial].cause) == expected


# Lanes


RAY_KILLED_IT = """\
1 worker(s) were killed due to the node running low on memory. Memory on the node (IP: 10.0.0.1, \
ID: 1f2394fb9c9fdaa7347ba2802295aaec3fc6e4027a58a3bde15b85ae) was 22.76GB used / 23.54GB limit \
(0.966)
OOM kill reason: Memory usage 24438648832B exceeded threshold of 24012676915B (95.0% of \
25276502016B limit)
Refer to the documentation on how to address the out of memory issue: https://docs.ray.io/"""
"""What Ray 2.60 says; its middle, of many lines, is left out."""

RAY_LOST_IT = """\
The actor died unexpectedly before finishing this task.
\tclass_name: with_resources.<locals>.ResourceTrainable
The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit \
detail: Worker unexpectedly exits with a connection error code 2. End of file. Some common causes \
include: (1) the process was killed by the OOM killer due to high memory usage"""


def make_lanes(tmp_path: Path, engine: Engine, clock: Clock) -> Lanes:
    return Lanes(
        engine,
        lambda segment, says_left: segment,  # type: ignore[arg-type, return-value]
        folder=SweepFolder(tmp_path),
        max_lanes=None,
        interrupted=lambda: False,
        clock=clock,
    )


def report(lanes: Lanes, lane: str, trial: int, step: int, loss: float) -> Any:
    given = Report(trial=trial, step=step, metrics={"loss": loss}, checkpoint=None)
    return lanes.on_messages(lane, [given])


@pytest.mark.parametrize(
    ("said", "cause", "reason"),
    [
        (RAY_KILLED_IT, "out_of_memory", "memory ran low on its node: try a smaller batch"),
        (RAY_LOST_IT, "lost", "its process or node died (killed, or out of memory)"),
        ("", "lost", "its process or node died (killed, or out of memory)"),
    ],
)
def test_what_ray_says_of_a_dead_process_is_told_in_a_line(
    tmp_path: Path, said: str, cause: str, reason: str
) -> None:
    engine, events = open_engine()
    lanes = make_lanes(tmp_path, engine, Clock())
    lanes.on_messages("a", [Idle()])
    lanes.on_lane_lost("a", said)
    (lost,) = [event for event in events if isinstance(event, Lost)]
    assert lost.cause == cause
    assert reason in lost.reason
    assert "\n" not in lost.reason


def test_a_lane_that_trains_beyond_a_trials_time_without_a_word_is_killed(tmp_path: Path) -> None:
    clock = Clock()
    engine, events = open_engine(trial_time_limit_s=10, clock=clock)
    lanes = make_lanes(tmp_path, engine, clock)
    lanes.on_messages("a", [Idle()])
    lanes.on_messages("b", [Idle()])
    clock.now += 10
    assert report(lanes, "b", 1, 1, 0.5) is None
    assert lanes.overdue() == []
    clock.now += 1
    assert lanes.overdue() == ["a", "b"]
    assert [t.status for t in engine.trials] == [Status.FAILED, Status.STOPPED]
    assert lanes.overdue() == []

    told = len(events)
    assert isinstance(report(lanes, "a", 0, 1, 0.1), Done)  # it reports after all, too late
    lanes.on_lane_lost("b", RAY_LOST_IT)
    assert len(events) == told
    assert lanes.error is None
    segment = lanes.on_messages("b", [Idle()])  # the lane that Tune started in its place
    assert isinstance(segment, Segment)
    assert segment.trial == 2


def test_a_trials_time_begins_when_the_one_before_has_left_the_lane(tmp_path: Path) -> None:
    clock = Clock()
    engine, _ = open_engine(trial_time_limit_s=10, clock=clock)
    lanes = make_lanes(tmp_path, engine, clock)
    lanes.on_messages("a", [Idle()])
    assert isinstance(report(lanes, "a", 0, 1, math.nan), Segment)
    clock.now += 25
    assert lanes.overdue() == []
    assert lanes.on_messages("a", [Left()]) is None
    clock.now += 9
    assert lanes.overdue() == []
    clock.now += 2
    assert lanes.overdue() == ["a"]


def test_a_lane_says_that_a_trial_has_left_it_only_where_it_may_go_on_or_its_time_is_counted(
    tmp_path: Path,
) -> None:
    asked: list[bool] = []

    def says_left(given: dict[str, Any], loss: float) -> bool:
        engine, _ = open_engine(**given)
        lanes = make_lanes(tmp_path, engine, Clock())
        lanes._make_job = lambda segment, says_left: asked.append(says_left)  # type: ignore
        lanes.on_messages("a", [Idle()])
        message = Report(trial=0, step=1, metrics={"loss": loss}, checkpoint=tmp_path / "1")
        lanes.on_messages("a", [message])
        return asked[-1]

    assert not says_left({}, math.nan)
    assert says_left({"trial_time_limit_s": 10}, math.nan)
    assert says_left({"scheduler": {"name": "asha", "max_t": 9}}, 1.0)


def test_what_follows_the_message_that_ends_a_trial_is_not_heard(tmp_path: Path) -> None:
    engine, events = open_engine()
    lanes = make_lanes(tmp_path, engine, Clock())
    lanes.on_messages("a", [Idle()])
    reports = [
        Report(trial=0, step=step, metrics={"loss": loss}, checkpoint=None)
        for step, loss in ((1, 1.0), (2, math.nan), (3, 1.0))
    ]

    assert isinstance(lanes.on_messages("a", reports), Segment)
    assert [event.step for event in events if isinstance(event, Reported)] == [1, 2]


def test_more_overdue_trials_than_may_fail_end_the_sweep(tmp_path: Path) -> None:
    clock = Clock()
    engine, _ = open_engine(trial_time_limit_s=10, max_failure_rate=0.5, clock=clock)
    lanes = make_lanes(tmp_path, engine, clock)
    for number in range(6):
        lanes.on_messages(f"lane {number}", [Idle()])
    clock.now += 11
    assert len(lanes.overdue()) == 6
    assert isinstance(lanes.error, SweepError)
    assert lanes.over()


def test_idle_lanes_rest_while_a_retry_waits(tmp_path: Path) -> None:
    engine, _ = open_engine(max_retries=1, num_samples=1)
    lanes = make_lanes(tmp_path, engine, Clock())
    lanes.on_messages("a", [Idle()])
    engine.on_error(0, "Traceback")
    assert isinstance(lanes.on_messages("b", [Idle()]), Rest)
    assert not lanes.over()
