"""The app's own MLflow in a trial: which run is whose, and how it ends. The server is faked."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from sweeps.session import TrialEnded
from sweeps.worker.trackers import to_mlflow, tracked
from sweeps.worker.trackers.segment import AppRun

RUN = AppRun.of_trial("digits-18f", "digits", 3)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No tracker's variable from outside; what a segment sets goes with the test."""
    with monkeypatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("WANDB_", "MLFLOW_"))]:
            patch.delenv(name)
        before = dict(os.environ)
        yield
        for name in os.environ.keys() - before.keys():
            del os.environ[name]


@dataclass
class Stored:
    """A run on MLflow's server."""

    tags: dict[str, str]
    name: str | None
    status: str = "RUNNING"
    params: dict[str, str] = field(default_factory=dict)
    info: Any = None

    @property
    def data(self) -> Any:
        return SimpleNamespace(params=self.params, tags=self.tags)


class Server:
    """MLflow's server, its client, and its module of `start_run`."""

    def __init__(self) -> None:
        server = self
        self.runs: dict[str, Stored] = {}
        self.active: list[Stored] = []

        class MlflowClient:
            def create_run(
                self,
                experiment_id: str,
                start_time: int | None = None,
                tags: Mapping[str, Any] | None = None,
                run_name: str | None = None,
            ) -> Stored:
                run = Stored(tags=dict(tags or {}), name=run_name)
                run.info = SimpleNamespace(run_id=f"run{len(server.runs)}", status="RUNNING")
                server.runs[run.info.run_id] = run
                return run

            def search_runs(
                self, experiment_ids: list[str], filter_string: str, max_results: int
            ) -> list[Stored]:
                wanted = filter_string.split("'")[1]
                runs = server.runs.values()
                return [run for run in runs if run.tags.get("caviar.app_run") == wanted]

            def update_run(self, run_id: str, status: str) -> None:
                server.runs[run_id].info.status = status

            set_terminated = update_run

            def get_run(self, run_id: str) -> Stored:
                return server.runs[run_id]

            def log_param(self, run_id: str, key: str, value: Any) -> Any:
                known = server.runs[run_id].params.setdefault(key, str(value))
                assert known == str(value), "MLflow takes no other value"
                return value

            def log_batch(self, run_id: str, metrics: Any = (), params: Any = ()) -> None:
                for param in params:
                    self.log_param(run_id, param.key, param.value)

        self.client: Any = MlflowClient

    def active_run(self) -> Stored | None:
        return self.active[-1] if self.active else None

    def end_run(self, status: str) -> None:
        self.active.pop().info.status = status


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    made = Server()
    to_mlflow.teach(SimpleNamespace(MlflowClient=made.client))
    tracking = ModuleType("mlflow.tracking")
    tracking.fluent = made  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mlflow", ModuleType("mlflow"))
    monkeypatch.setitem(sys.modules, "mlflow.tracking", tracking)
    monkeypatch.setitem(sys.modules, "mlflow.tracking.fluent", made)
    return made


def test_each_segment_finds_the_trials_runs_again(server: Server, tmp_path: Path) -> None:
    for _ in range(2):
        with tracked(RUN, tmp_path):
            first = server.client().create_run("0", tags={"mine": "1"})
            second = server.client().create_run("0", run_name="test")
            assert first.info.status == second.info.status == "RUNNING"
        assert first.info.status == second.info.status == "FINISHED"
    assert [run.name for run in server.runs.values()] == ["trial 3", "test"]
    assert first.tags == {
        "mine": "1",
        "caviar.app_run": RUN.id,
        "caviar.sweep_name": "digits",
        "caviar.trial_name": "trial 3",
    }


def test_runs_within_runs_and_outside_of_trials_are_left_alone(
    server: Server, tmp_path: Path
) -> None:
    server.client().create_run("0")
    with tracked(None, tmp_path, rank=1):
        server.client().create_run("0")
    with tracked(RUN, tmp_path):
        server.client().create_run("0", tags={"mlflow.parentRunId": "run0"})
    assert not any("caviar.app_run" in run.tags for run in server.runs.values())


@pytest.mark.parametrize(
    ("error", "status"), [(TrialEnded("stop"), "FINISHED"), (ValueError(), "FAILED")]
)
@pytest.mark.parametrize("left_as", ["RUNNING", "FAILED"])
def test_a_run_ends_as_its_segment_did(
    server: Server, tmp_path: Path, error: BaseException, status: str, left_as: str
) -> None:
    def task() -> None:
        run = server.client().create_run("0")
        server.active = [run] if left_as == "RUNNING" else []
        run.info.status = left_as
        raise error

    with pytest.raises(type(error)), tracked(RUN, tmp_path):
        task()
    run = server.runs["run0"]
    assert run.info.status == status
    assert not server.active


def test_a_run_that_the_app_found_by_itself_is_ended_too(server: Server, tmp_path: Path) -> None:
    mine = server.client().create_run("0")
    with tracked(RUN, tmp_path):
        server.active = [mine]
    assert mine.info.status == "FINISHED"
    assert not server.active


def test_a_parameter_stays_what_it_was_when_the_run_began(server: Server, tmp_path: Path) -> None:
    for place in ("a", "b"):
        with tracked(RUN, tmp_path):
            client = server.client()
            run = client.create_run("0")
            client.log_param(run.info.run_id, "place", place)
            told = [SimpleNamespace(key="place", value=place), SimpleNamespace(key=place, value=1)]
            client.log_batch(run.info.run_id, params=told)
    assert run.params == {"place": "a", "a": "1", "b": "1"}
