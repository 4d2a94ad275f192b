"""What trackers are shown of a sweep, and when: through a tracker that only remembers."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from sweeps.core.settings import Settings
from sweeps.core.tracking import check_folders, check_installed, parse_tracking
from sweeps.errors import ConfigError, SweepError
from sweeps.journal.events import Started
from sweeps.journal.status import Decision, Status
from sweeps.tracking.ledger import Ledger, Sent
from sweeps.tracking.task import Task, in_one_line
from sweeps.tracking.tracker import Ending, Point, Run, Sweep


@dataclass
class Remembers:
    """A tracker that keeps what it is told, and raises as often as it is to."""

    raises: int = 0
    sweep: Sweep | None = None
    calls: list[tuple[Any, ...]] = field(default_factory=list)
    points: dict[int, list[Point]] = field(default_factory=dict)
    runs: dict[int, Run] = field(default_factory=dict)
    ending: Ending | None = None

    def open(self, sweep: Sweep) -> None:
        self.sweep = sweep
        self.calls.append(("open",))

    def begin(self, run: Run, known: str | None) -> str:
        self.calls.append(("begin", run.number, known))
        return f"id-{run.number}"

    def log(self, run: Run, points: Sequence[Point]) -> None:
        if self.raises:
            self.raises -= 1
            raise ConnectionError("no route")
        self.calls.append(("log", run.number, [point.step for point in points]))
        self.points.setdefault(run.number, []).extend(points)

    def settle(self, run: Run) -> None:
        self.calls.append(("settle", run.number, run.status))
        self.runs[run.number] = run

    def close(self, ending: Ending | None) -> None:
        self.ending = ending


Show = Callable[..., Any]


# What is shown


def test_each_report_is_a_point_at_its_own_step(make_sweep: Any, show: Show) -> None:
    made, tracker = make_sweep(), Remembers()
    made.ask(0, lr=0.1)
    made.report(0, 10, 0.5, loss=1.0)
    made.report(0, 20, float("nan"))
    made.end(0, Status.COMPLETE, 0.5)
    show(made, tracker)
    first, second = tracker.points[0]
    assert (first.step, dict(first.metrics)) == (10, {"val_accuracy": 0.5, "loss": 1.0})
    assert second.step == 20
    assert second.metrics["val_accuracy"] != second.metrics["val_accuracy"]
    run = tracker.runs[0]
    assert (run.status, run.values, run.best_step) == (Status.COMPLETE, {"val_accuracy": 0.5}, 10)
    assert run.params == {"lr": pytest.approx(0.1)}


def test_a_trial_that_only_returns_has_a_point_of_that(make_sweep: Any, show: Show) -> None:
    made, tracker = make_sweep(), Remembers()
    made.ask(0, lr=0.1)
    made.end(0, Status.COMPLETE, 0.5, metrics={"val_accuracy": 0.5})
    show(made, tracker)
    (point,) = tracker.points[0]
    assert (point.step, point.metrics, point.returned) == (0, {"val_accuracy": 0.5}, True)


def test_what_was_reported_is_not_shown_again_when_it_is_returned(
    make_sweep: Any, show: Show
) -> None:
    made, tracker = make_sweep(), Remembers()
    made.ask(0, lr=0.1)
    made.report(0, 3, 0.5)
    made.end(0, Status.COMPLETE, 0.5, metrics={"val_accuracy": 0.5, "size": 7.0})
    show(made, tracker)
    assert [dict(point.metrics) for point in tracker.points[0]] == [
        {"val_accuracy": 0.5},
        {"size": 7.0},
    ]


def test_a_step_that_is_trained_again_is_marked_so(make_sweep: Any, show: Show) -> None:
    made, tracker = make_sweep(), Remembers()
    made.ask(0, lr=0.1)
    for step in (1, 2, 3, 2, 3, 4):
        made.report(0, step, 0.5)
    show(made, tracker)
    repeats = [point.repeats for point in tracker.points[0]]
    assert repeats == [False, False, False, True, True, False]


def test_changed_parameters_go_with_the_next_new_step(make_sweep: Any, show: Show) -> None:
    made, tracker = make_sweep(), Remembers()
    for trial in (0, 1):
        made.ask(trial, lr=0.1)
        made.report(trial, 2, 0.5 + trial, checkpoint=f"trials/{trial}/1/checkpoints/2")
    made.add(
        Started,
        trial=0,
        run=1,
        reason="exploit",
        checkpoint="trials/1/1/checkpoints/2",
        source=1,
        step=1,
        params={"lr": 0.2},
    )
    made.report(0, 2, 0.6)
    made.report(0, 3, 0.9)
    made.end(0, Status.COMPLETE, 0.9)
    show(made, tracker)
    assert [set(point.metrics) for point in tracker.points[0]] == [
        {"val_accuracy"},
        {"val_accuracy"},
        {"val_accuracy", "params/lr"},
    ]
    assert tracker.runs[0].params == {"lr": pytest.approx(0.1)}
    assert tracker.runs[0].best_params == {"lr": pytest.approx(0.2)}


def test_secrets_are_masked_and_lists_are_text(make_sweep: Any, show: Show) -> None:
    space = {"api_key": "choice(abc,def)", "widths": "choice([1,2],[3])", "lr": "interval(0,1)"}
    made, tracker = make_sweep(space), Remembers()
    made.ask(0, api_key="abc", widths=[1, 2], lr=0.5)
    made.end(0, Status.FAILED, error="Traceback\nValueError: bad")
    show(made, tracker)
    assert tracker.runs[0].params == {"api_key": "***", "widths": "[1, 2]", "lr": 0.5}
    assert tracker.runs[0].error == "ValueError: bad"
    assert tracker.runs[0].values == {}


def test_a_sweep_tells_what_was_asked_and_how_it_ended(make_sweep: Any, show: Show) -> None:
    made, tracker = make_sweep(name="my sweep!"), Remembers()
    for trial, value in enumerate((0.5, 0.7)):
        made.ask(trial, lr=0.1)
        made.report(trial, 1, value)
        made.end(trial, Status.COMPLETE, value)
    made.close()
    show(made, tracker)
    assert tracker.sweep is not None
    assert tracker.sweep.id.startswith("my-sweep--")
    assert tracker.sweep.app == "app"
    assert tracker.sweep.config["searcher"] == "random"
    assert tracker.ending is not None
    assert (tracker.ending.best_trial, tracker.ending.is_done) == (1, True)
    assert tracker.ending.values == {"val_accuracy": 0.7}


# When


def test_a_trial_that_is_paused_when_the_sweep_is_over_has_stopped(
    make_sweep: Any, show: Show
) -> None:
    made, tracker = make_sweep(), Remembers()
    made.ask(0, lr=0.1)
    made.report(0, 1, 0.5, Decision.PAUSE)
    show(made, tracker)
    assert tracker.runs[0].status is Status.PAUSED
    made.close()
    show(made, tracker)
    assert tracker.runs[0].status is Status.STOPPED


def test_the_next_driver_sends_only_what_is_new(make_sweep: Any, show: Show) -> None:
    made = make_sweep()
    made.ask(0, lr=0.1)
    made.report(0, 1, 0.5)
    made.end(0, Status.COMPLETE, 0.5)
    made.ask(1, lr=0.2)
    made.report(1, 1, 0.6)
    show(made, Remembers())
    made.opened_again()
    made.add(Started, trial=1, run=2, reason="resume", checkpoint=None)
    made.report(1, 2, 0.7)
    again = Remembers()
    show(made, again)
    assert again.calls == [("open",), ("begin", 1, "id-1"), ("log", 1, [2])]


def test_a_sweep_that_is_tracked_late_is_shown_from_its_beginning(
    make_sweep: Any, show: Show
) -> None:
    made = make_sweep()
    made.ask(0, lr=0.1)
    made.report(0, 1, 0.5)
    show(made, Remembers(), ledger="one.jsonl")
    made.report(0, 2, 0.6)
    other = Remembers()
    show(made, other, ledger="other.jsonl")
    assert ("log", 0, [1, 2]) in other.calls


def test_nothing_new_is_nothing_to_send(make_sweep: Any, show: Show) -> None:
    made = make_sweep()
    made.ask(0, lr=0.1)
    made.end(0, Status.COMPLETE, 0.5)
    made.close()
    show(made, Remembers())
    again = Remembers()
    show(made, again)
    assert again.calls == []


def test_a_sweep_without_trials_opens_no_tracker(make_sweep: Any, show: Show) -> None:
    made, tracker = make_sweep(), Remembers()
    made.close()
    show(made, tracker)
    assert tracker.calls == []


def test_what_failed_is_sent_again_after_connecting_anew(
    make_sweep: Any, show: Show, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeps.tracking.follower._BACKOFF_S", (0.0, 0.0))
    made, tracker = make_sweep(), Remembers(raises=2)
    made.ask(0, lr=0.1)
    made.report(0, 1, 0.5)
    made.close()
    with pytest.raises(ConnectionError):
        show(made, tracker)
    assert [call[0] for call in tracker.calls] == [
        *("open", "begin", "open", "begin", "open", "begin", "log", "settle")
    ]
    assert [point.step for point in tracker.points[0]] == [1]


def test_what_a_tracker_never_takes_is_left_for_the_next_driver(
    make_sweep: Any, show: Show, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeps.tracking.follower._BACKOFF_S", (0.0, 0.0))
    made, tracker = make_sweep(), Remembers(raises=99)
    made.ask(0, lr=0.1)
    made.report(0, 1, 0.5)
    made.close()
    with pytest.raises(ConnectionError):
        show(made, tracker)
    assert 99 - tracker.raises <= 4  # once while it lives, three times at the end
    made.opened_again()
    made.close()
    later = Remembers()
    show(made, later)
    assert later.calls[:3] == [("open",), ("begin", 0, "id-0"), ("log", 0, [1])]


def test_a_ledger_survives_a_torn_last_line(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    with closing(Ledger(path)) as ledger:
        ledger.note(3, Sent(id="a", points=2, status=Status.PAUSED))
    with path.open("a") as file:
        file.write('[4,1,"run')
    with closing(Ledger(path)) as again:
        assert (again[3], again[4]) == (Sent(id="a", points=2, status=Status.PAUSED), Sent())
        again.note(4, Sent(id="b"))
    with closing(Ledger(path)) as third:
        assert third[4] == Sent(id="b")


def test_a_ledger_has_one_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweeps.tracking.ledger._WAIT_S", 0.0)
    with closing(Ledger(tmp_path / "l")), pytest.raises(SweepError, match="an earlier driver"):
        Ledger(tmp_path / "l")


# Options


@pytest.mark.parametrize(
    ("override", "names"),
    [
        ("null", []),
        ("tensorboard", ["tensorboard"]),
        ("[mlflow,wandb]", ["mlflow", "wandb"]),
        ("{wandb: {mode: offline}}", ["wandb"]),
        ("[tensorboard,{mlflow: {experiment_name: e}}]", ["tensorboard", "mlflow"]),
    ],
)
def test_one_line_of_config_says_where(
    settings: Callable[..., Settings], override: str, names: list[str]
) -> None:
    found = settings(f"hydra.sweeper.tracking={override}").tracking
    assert [tracking.name for tracking in found] == names


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("tensorbord", "did you mean tensorboard?"),
        ({"mlflow": {"experiment": "a"}}, "did you mean hydra.sweeper.tracking.mlflow.exp"),
        ({"mlflow": "http://x"}, "must be a mapping of options"),
        ({"wandb": {"mode": "ofline"}}, "choose online or offline"),
        ({"wandb": {"api_key": "sk-1"}}, "W&B takes its key from WANDB_API_KEY"),
        ({"wandb": {"tags": "a"}}, "a list, such as [a]"),
    ],
)
def test_a_wrong_option_is_answered_with_the_rule(given: Any, told: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_tracking(given)
    assert told in str(error.value)
    assert "sk-1" not in str(error.value)


def test_a_library_that_is_missing_is_told_with_the_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "mlflow").mkdir()  # a folder of that name is no library
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "mlflow", raising=False)
    with pytest.raises(ConfigError, match=r"mlflow, which is not .*pip install 'caviar\[mlflow\]'"):
        check_installed(parse_tracking("mlflow"))


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ("tensorboard", "tensorboard.folder"),
        ({"tensorboard": {"folder": "/data"}}, None),
        ({"wandb": {"mode": "offline"}}, "wandb.dir"),
        ("wandb", None),
        ("mlflow", None),
    ],
)
def test_in_a_bucket_files_need_a_folder(
    given: Any, key: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    tracking = parse_tracking(given)
    check_folders(tracking, in_bucket=False)
    if key is None:
        check_folders(tracking, in_bucket=True)
    else:
        with pytest.raises(ConfigError, match=key):
            check_folders(tracking, in_bucket=True)


def test_another_place_has_another_ledger() -> None:
    def of(**options: Any) -> str:
        return parse_tracking({"wandb": options})[0].destination

    assert of(project="a") != of(project="b")
    assert of(project="a", mode="offline") == of(project="a", mode="online")


def test_a_task_survives_its_line(settings: Callable[..., Settings]) -> None:
    objective = settings("hydra.sweeper.metric=[a,b]", "hydra.sweeper.mode=[min,max]").objective
    task = Task(
        name="mlflow",
        options={"tracking_uri": None},
        ledger="l",
        folder="/f",
        url=None,
        history=3,
        objective=objective,
    )
    assert Task.from_json(task.to_json()) == task


def test_an_error_is_told_in_one_line_without_credentials() -> None:
    error = ConnectionError("https://me:secret@host/x refused\nlong story")
    assert in_one_line(error) == "ConnectionError: https://me:***@host/x refused"
