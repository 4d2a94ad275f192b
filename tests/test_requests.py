"""Requests as files, the driver's inbox, lanes that a stop reaches, and the verbs."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sweeps.core.engine import Engine
from sweeps.core.limits import Limits
from sweeps.driver.inbox import Inbox
from sweeps.driver.lanes import Lanes
from sweeps.journal.events import Requested
from sweeps.journal.file import Journal
from sweeps.journal.objective import Objective
from sweeps.journal.status import Decision, Status
from sweeps.reports.answers import answer
from sweeps.schedulers import make_scheduler
from sweeps.searchers import make_searcher
from sweeps.space.space import parse_space
from sweeps.storage.durable import write_whole
from sweeps.storage.folder import SweepFolder
from sweeps.storage.lease import Lease
from sweeps.storage.requests import Requests
from sweeps.worker.messages import Idle, Report


@pytest.fixture(params=["disk", pytest.param("bucket", marks=pytest.mark.slow)])
def folder(request: Any, tmp_path: Path) -> SweepFolder:
    if request.param == "disk":
        (tmp_path / "s").mkdir()
        return SweepFolder(tmp_path / "s")
    from cluster.bucket import Bucket

    return SweepFolder.at(Bucket.parse(request.getfixturevalue("bucket")), "s")


def wait_for(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 20
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found


# Files


def test_requests_are_found_whole_and_in_their_order(folder: SweepFolder) -> None:
    requests = Requests(folder)
    assert requests.waiting() == []
    put = [requests.put({"stop": number}) for number in range(5)]
    assert requests.waiting() == put
    assert [requests.read(one) for one in put] == [{"stop": number} for number in range(5)]
    requests.discard(put[1])
    requests.discard(put[1])
    assert requests.waiting() == [put[0], *put[2:]]
    with pytest.raises(FileNotFoundError):
        requests.read(put[1])


def test_files_that_are_no_requests_are_passed_over(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path)
    request = Requests(folder).put({"stop": 1})
    for name in (f".{request}.json.partial", "README", "1.json", f"{request}.json.bak"):
        (folder.requests / name).write_text("{}")
    assert Requests(folder).waiting() == [request]


@pytest.mark.parametrize(
    "text", ["", "{", "[1]", '"stop"', "[" * 40_000, json.dumps({"enqueue": {"x": "x" * 70_000}})]
)
def test_what_cannot_be_read_is_empty(text: str, tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path)
    request = Requests(folder).put({})
    write_whole(folder.requests / f"{request}.json", text)
    assert Requests(folder).read(request) == {}


# The inbox


def test_what_was_asked_before_a_driver_begins_is_there_at_once(folder: SweepFolder) -> None:
    requests = Requests(folder)
    put = [requests.put({"stop": 1}), requests.put({"stop": 2})]
    with Inbox(folder, every_s=60) as inbox:
        came = list(inbox.take())
        assert came == [(put[0], {"stop": 1}), (put[1], {"stop": 2})]
        assert not list(inbox.take())
        assert requests.waiting() == put  # nothing goes before the journal has it
        inbox.done(put[0])
    assert requests.waiting() == [put[1]]


def test_each_request_comes_once_as_it_is_put(folder: SweepFolder) -> None:
    requests, came = Requests(folder), list[tuple[str, Any]]()
    with Inbox(folder, every_s=0.01) as inbox:
        put = [requests.put({"stop": number}) for number in range(3)]
        wait_for(lambda: came.extend(inbox.take()) or len(came) == 3)
        for request in put:
            inbox.done(request)
        wait_for(lambda: not requests.waiting())
        assert not list(inbox.take())
    assert [request for request, _ in came] == put


def test_storage_that_fails_is_looked_at_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder, fails = SweepFolder(tmp_path), threading.Event()
    waiting = Requests.waiting

    def failing(self: Requests) -> list[str]:
        if not fails.is_set():
            raise OSError("stale file handle")
        return waiting(self)

    monkeypatch.setattr(Requests, "waiting", failing)
    with Inbox(folder, every_s=0.01) as inbox:
        request = Requests(folder).put({"stop": 1})
        assert not list(inbox.take())
        fails.set()
        assert wait_for(lambda: list(inbox.take())) == [(request, {"stop": 1})]
    assert caplog.text.count("stale file handle") == 1


# The verbs, without a driver


@pytest.fixture
def made(make_sweep: Callable[..., Any]) -> Any:
    made = make_sweep({"lr": "tag(log, interval(0.001, 1))", "net": "mlp, convnet"})
    for trial in range(3):
        made.ask(trial, lr=0.1, net="mlp")
    made.report(0, 1, 0.5, Decision.PAUSE, checkpoint="c")
    made.end(1, Status.COMPLETE, 0.75)
    return made


def asked_of(made: Any) -> list[dict[str, Any]]:
    requests = Requests(made.folder)
    return [requests.read(request) for request in requests.waiting()]


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [
        (["stop", "--trial", "0,2"], [{"stop": 0}, {"stop": 2}]),
        (["stop", "--trial", "2", "--trial", "0"], [{"stop": 2}, {"stop": 0}]),
        (["enqueue", "lr=0.5", "net=convnet"], [{"enqueue": {"lr": 0.5, "net": "convnet"}}]),
        (["enqueue"], [{"enqueue": {}}]),
        (
            ["enqueue", "lr=0.5,0.25", "net=mlp"],
            [{"enqueue": {"lr": 0.5, "net": "mlp"}}, {"enqueue": {"lr": 0.25, "net": "mlp"}}],
        ),
        (["enqueue", "net='mlp'"], [{"enqueue": {"net": "mlp"}}]),
        (
            ["extend", "hydra.sweeper.num_samples=64", "time_budget_s=1e4", "stop.target=null"],
            [{"extend": {"num_samples": 64, "time_budget_s": 1e4, "stop.target": None}}],
        ),
    ],
)
def test_what_is_asked_stays_where_no_driver_runs_and_it_is_said_so(
    made: Any, start: Any, arguments: list[str], asked: list[dict[str, Any]]
) -> None:
    verb, *rest = arguments
    ran = start.caviar(verb, str(made.folder.path), *rest)
    assert ran.code == 0, ran.err
    assert "no driver runs sweep now" in ran.err
    assert f"caviar resume {made.folder.path}" in ran.err
    assert asked_of(made) == asked


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["stop", "--trial", "3"], "no trial 3: the sweep has trials 0 to 2"),
        (["stop", "--trial", "x"], "'x' is no number of a trial, nor several such as 3,5"),
        (["enqueue", "lrs=0.1"], "lrs, which is not in the search space; did you mean lr"),
        (["enqueue", "lr=5"], "lr: 5 is not between 0.001 and 1.0"),
        (["enqueue", "net=convnets"], "convnet"),
        (["enqueue", "lr=interval(0.1,0.2)"], "give values, such as lr=0.1 or lr=0.1,0.2"),
        (["enqueue", "lr"], "'lr' is not a value such as lr=0.1"),
        (["enqueue", "~lr"], "'~lr' is not a value such as lr=0.1"),
        (["enqueue", "lr=0.1", "lr=0.2"], "lr is given twice"),
        (["extend", "num_samples=2"], "num_samples is 2, and the sweep has 3 trials already"),
        (["extend", "num_samples=10,20"], "num_samples is given 2 values; say one"),
        (["extend", "num_sampels=10"], "did you mean num_samples"),
        (["extend", "max_concurrent_trials=10"], "cannot be changed while a sweep runs"),
        (["extend"], "KEY=VALUE"),
    ],
)
def test_what_is_wrong_is_refused_before_anything_is_written(
    made: Any, start: Any, arguments: list[str], words: str
) -> None:
    verb, *rest = arguments
    ran = start.caviar(verb, str(made.folder.path), *rest)
    assert ran.code == 2
    assert words in ran.err
    assert asked_of(made) == []


@pytest.mark.parametrize("trials", ["1", "0,1"])
def test_what_comes_too_late_is_refused_before_anything_is_written(
    made: Any, start: Any, trials: str
) -> None:
    ran = start.caviar("stop", str(made.folder.path), "--trial", trials)
    assert ran.code == 1
    assert ran.err == "trial 1 is over: it is complete\n"
    assert "Traceback" not in ran.err
    assert asked_of(made) == []


def test_a_sweep_that_is_over_is_not_asked(made: Any, start: Any) -> None:
    made.close("done")
    ran = start.caviar("enqueue", str(made.folder.path), "lr=0.1")
    assert ran.code == 1
    assert "is over" in ran.err
    assert "hydra.sweeper.num_samples=6" in ran.err
    assert asked_of(made) == []


# The verbs, with a driver that answers


@pytest.fixture
def answering(made: Any) -> Iterator[Callable[..., None]]:
    """A driver that takes the first request up as it is told."""
    threads: list[threading.Thread] = []

    def answer_with(act: Callable[[str, dict[str, Any]], None]) -> None:
        def drive() -> None:
            requests = Requests(made.folder)
            (request,) = wait_for(requests.waiting)
            act(request, requests.read(request))

        threads.append(threading.Thread(target=drive))
        threads[-1].start()

    with Lease(made.folder.lease):
        yield answer_with
        for thread in threads:
            thread.join()


def test_the_answer_is_told_and_what_became_of_the_trial(
    made: Any, start: Any, answering: Callable[..., None]
) -> None:
    def act(request: str, asked: dict[str, Any]) -> None:
        made.add(Requested, request=request, asked=asked, trial=2)
        made.report(2, 4, 0.875, Decision.STOP)
        made.end(2, Status.STOPPED, 0.875)

    answering(act)
    ran = start.caviar("stop", str(made.folder.path), "--trial", "2")
    assert ran.code == 0
    assert "trial 2 is to stop" in ran.err
    assert "trial 2 stopped at step 4, val_accuracy 0.875" in ran.err


def test_a_refusal_is_told_and_fails(made: Any, start: Any, answering: Callable[..., None]) -> None:
    def act(request: str, asked: dict[str, Any]) -> None:
        made.add(Requested, request=request, asked=asked, refusal="trial 2 is over: it is complete")

    answering(act)
    ran = start.caviar("stop", str(made.folder.path), "--trial", "2")
    assert ran.code == 1
    assert "asked to stop trial 2, and refused: trial 2 is over: it is complete" in ran.err


def test_a_sweep_that_ends_before_it_answers_keeps_the_request(
    made: Any, start: Any, answering: Callable[..., None]
) -> None:
    answering(lambda request, asked: made.close("interrupted"))
    ran = start.caviar("enqueue", str(made.folder.path), "lr=0.5")
    assert ran.code == 0
    assert "ended before it was taken up" in ran.err
    assert asked_of(made) == [{"enqueue": {"lr": 0.5}}]


def test_a_driver_that_does_not_answer_in_time_is_told_of(
    made: Any, start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeps.commands.steer._PATIENCE_S", 0.3)
    with Lease(made.folder.lease):
        ran = start.caviar("extend", str(made.folder.path), "num_samples=64")
    assert ran.code == 0
    assert "has not answered within 0.3 s" in ran.err
    assert asked_of(made) == [{"extend": {"num_samples": 64}}]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"stop": 3}, "trial 3 is to stop"),
        ({"enqueue": {"optimizer.lr": 0.5}}, "trial 3 is enqueued: lr=0.5"),
        ({"enqueue": {}}, "trial 3 is enqueued: as proposed"),
        ({"extend": {"num_samples": 64, "stop.target": None}}, "num_samples=64, stop.target=null"),
    ],
)
def test_answers_in_words(asked: dict[str, Any], words: str) -> None:
    event = Requested(request="a", asked=asked, trial=3, time=0.0)
    assert words in answer(event)
    refused = Requested(request="a", asked=asked, refusal="it is over", time=0.0)
    assert answer(refused).endswith(", and refused: it is over")


# Lanes


class Asking:
    """An inbox that holds what a test puts into it."""

    def __init__(self) -> None:
        self.held: list[tuple[str, dict[str, Any]]] = []
        self.taken: list[str] = []

    def take(self) -> Iterator[tuple[str, dict[str, Any]]]:
        while self.held:
            yield self.held.pop(0)

    def done(self, request: str) -> None:
        self.taken.append(request)


@pytest.fixture
def lanes(tmp_path: Path) -> Any:
    """Two lanes with a trial each, and an inbox; the clock stands still until it is set."""
    space, _ = parse_space({"x": "interval(0, 1)"}, [])
    journal = Journal(tmp_path / "journal.log")
    engine = Engine(
        log=journal,
        objective=Objective(metric="loss"),
        make_searcher=lambda view: make_searcher("random", space=space, view=view, seed=0),
        scheduler=make_scheduler("none", space=space, seed=0),
        limits=Limits(num_samples=5, teardown_timeout_s=8, time_budget_s=3600),
        space=space,
    )
    engine.open([], name="s")
    made = Lanes(
        engine,
        lambda segment, says_left: SimpleNamespace(trial=segment.trial),  # type: ignore[arg-type,return-value]
        folder=SweepFolder(tmp_path),
        max_lanes=2,
        inbox=Asking(),  # type: ignore[arg-type]
        interrupted=lambda: False,
        clock=lambda: made.now,  # type: ignore[attr-defined]
    )
    made.now = 0.0  # type: ignore[attr-defined]
    for lane in ("a", "b"):
        made.open_lane(lane)
        made.on_messages(lane, [Idle()])
    return made


def say(lanes: Any, lane: str, trial: int, step: int) -> Any:
    report = Report(trial=trial, step=step, metrics={"loss": 1.0}, checkpoint=None)
    return lanes.on_messages(lane, [report])


def test_a_lane_whose_trial_is_to_stop_has_until_its_next_report(lanes: Any) -> None:
    lanes._inbox.held.append(("1", {"stop": 0}))
    assert not lanes.over()
    assert lanes._inbox.taken == ["1"]
    lanes.now = 7.9
    assert lanes.overdue() == []
    assert say(lanes, "a", 0, 1).trial == 2
    lanes.now = 100.0
    assert lanes.overdue() == []
    assert lanes.engine.trials[0].status is Status.STOPPED


def test_and_is_ended_where_none_comes(lanes: Any) -> None:
    assert say(lanes, "a", 0, 1) is None
    lanes._inbox.held.append(("1", {"stop": 0}))
    lanes.over()
    lanes.now = 8.1
    assert lanes.overdue() == ["a"]
    assert lanes.engine.trials[0].cause == "request"
    assert lanes.engine.trials[0].value == 1.0
    lanes.on_lane_lost("a", "killed")
    assert lanes.engine.trials[1].status is Status.RUNNING


def test_a_sweep_that_has_finished_takes_no_request(lanes: Any) -> None:
    lanes.finished = True
    lanes._inbox.held.append(("1", {"stop": 0}))
    assert lanes.over()
    assert lanes._inbox.taken == []


def test_a_time_budget_may_shrink_to_what_is_over(lanes: Any) -> None:
    lanes._inbox.held.append(("1", {"extend": {"time_budget_s": 1e-9}}))
    assert lanes.over()
    assert lanes.ending == "hydra.sweeper.time_budget_s is over"
