"""A sweep in MLflow, read back by its client from a database of its own; seconds to import."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sweeps.journal.events import Started
from sweeps.journal.status import Decision, Status

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # MLflow's own
]

Show = Callable[..., Any]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/runs.db"


class Server:
    """An experiment of one test."""

    def __init__(self, uri: str, name: str) -> None:
        from mlflow import MlflowClient

        self.uri, self.name, self.client = uri, name, MlflowClient(tracking_uri=uri)

    def tracker(self) -> Any:
        from sweeps.tracking.to_mlflow import Mlflow

        return Mlflow(tracking_uri=self.uri, experiment_name=self.name)

    @property
    def runs(self) -> dict[str, Any]:
        experiment = self.client.get_experiment_by_name(self.name)
        found = self.client.search_runs([experiment.experiment_id])
        names = [run.info.run_name for run in found]
        assert len(set(names)) == len(names), f"each once: {names}"
        return dict(zip(names, found, strict=True))

    def curve(self, run: str, metric: str) -> list[tuple[int, float]]:
        history = self.client.get_metric_history(self.runs[run].info.run_id, metric)
        return sorted((point.step, point.value) for point in history)


@pytest.fixture
def server(database: str, request: pytest.FixtureRequest) -> Server:
    return Server(database, request.node.name)


def test_a_trial_is_a_run_below_the_sweeps(make_sweep: Any, show: Show, server: Server) -> None:
    made = make_sweep({"lr": "interval(0,1)", "model": "choice(mlp,cnn)"})
    made.ask(0, lr=0.5, model="mlp")
    made.report(0, 5, 0.5, **{"val/loss": 1.5, "acc@1": 0.25})
    made.report(0, 10, 0.75, **{"val/loss": math.nan})
    made.end(0, Status.COMPLETE, 0.75, metrics={"size": 7.0})
    made.close()
    show(made, server.tracker())
    sweep, trial = server.runs["sweep"], server.runs["trial 0"]
    assert trial.data.tags["mlflow.parentRunId"] == sweep.info.run_id
    assert trial.data.params == {"lr": "0.5", "model": "mlp"}
    assert server.curve("trial 0", "val_accuracy") == [(5, 0.5), (10, 0.75)]
    assert server.curve("trial 0", "acc_1") == [(5, 0.25)]
    assert [math.isnan(value) for _, value in server.curve("trial 0", "val/loss")] == [False, True]
    assert server.curve("trial 0", "size") == [(10, 7.0)]
    assert trial.data.metrics["trial/val_accuracy"] == 0.75
    assert trial.data.tags["caviar.best_step"] == "10"
    assert (trial.info.status, sweep.info.status) == ("FINISHED", "FINISHED")
    assert trial.info.start_time == 1000 * round(made.events[2].time)
    assert sweep.data.params["searcher"] == "random"
    assert sweep.data.metrics["best/val_accuracy"] == 0.75
    assert sweep.data.tags["caviar.best_trial"] == "0"


def test_statuses_are_mlflows(make_sweep: Any, show: Show, server: Server) -> None:
    made = make_sweep()
    ends = (Status.COMPLETE, Status.STOPPED, Status.DIVERGED, Status.FAILED)
    for trial, status in enumerate(ends):
        made.ask(trial, lr=0.1)
        made.end(trial, status, 0.5, error="ValueError: x" if status is Status.FAILED else None)
    made.ask(4, lr=0.1)
    made.report(4, 1, 0.5, Decision.PAUSE)
    made.ask(5, lr=0.1)
    show(made, server.tracker())
    runs = [server.runs[f"trial {trial}"] for trial in range(6)]
    assert [run.info.status for run in runs] == [
        *("FINISHED", "KILLED", "FAILED", "FAILED", "SCHEDULED", "RUNNING")
    ]
    assert runs[1].data.tags["caviar.status"] == "stopped"
    assert runs[3].data.tags["caviar.error"] == "ValueError: x"


def test_a_resumed_trial_goes_on_in_its_run(make_sweep: Any, show: Show, server: Server) -> None:
    made = make_sweep()
    made.ask(0, lr=0.1)
    made.report(0, 1, 0.1)
    made.report(0, 2, 0.2)
    made.close("interrupted")
    show(made, server.tracker())
    assert server.runs["trial 0"].info.status == "SCHEDULED"
    assert server.runs["sweep"].info.status == "KILLED"
    made.opened_again()
    made.add(Started, trial=0, run=2, reason="resume", checkpoint=None)
    made.report(0, 2, 0.25)
    made.report(0, 3, 0.3)
    show(made, server.tracker())
    assert server.curve("trial 0", "val_accuracy") == [(1, 0.1), (2, 0.2), (3, 0.3)]
    assert server.runs["trial 0"].info.status == "RUNNING"


def test_what_is_sent_twice_is_there_once(make_sweep: Any, show: Show, server: Server) -> None:
    made = make_sweep()
    made.ask(0, lr=0.1)
    made.report(0, 1, 0.1)
    show(made, server.tracker(), ledger="one.jsonl")
    made.report(0, 2, 0.2)
    show(made, server.tracker(), ledger="lost.jsonl")
    assert server.curve("trial 0", "val_accuracy") == [(1, 0.1), (2, 0.2)]


def test_many_metrics_and_parameters_go_in_parts(
    make_sweep: Any, show: Show, server: Server
) -> None:
    made = make_sweep({f"p{i}": "interval(0,1)" for i in range(150)})
    made.ask(0, **{f"p{i}": 0.5 for i in range(150)})
    for step in range(1, 31):
        made.report(0, step, 0.5, **{f"m{i}": 0.5 for i in range(50)})
    show(made, server.tracker())
    assert len(server.runs["trial 0"].data.params) == 150
    assert len(server.curve("trial 0", "m49")) == 30


def test_a_server_that_is_away_is_an_error_in_seconds(
    make_sweep: Any, show: Show, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeps.tracking.follower._BACKOFF_S", (0.0, 0.0))
    made = make_sweep()
    made.ask(0, lr=0.1)
    tracker = Server("http://127.0.0.1:9", "e").tracker()
    with pytest.raises(Exception, match=r"127\.0\.0\.1"):
        show(made, tracker)
