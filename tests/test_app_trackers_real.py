"""The app's own W&B, MLflow and TensorBoard over several segments of a trial, without a sweep."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sweeps.session import TrialEnded
from sweeps.worker.trackers import attend, tracked
from sweeps.worker.trackers.segment import AppRun
from sweeps.worker.trackers.wandb_file import last_step

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # of the libraries

RUN = AppRun.of_trial("s-1", "s", 0)


def offline(folder: Path) -> Any:
    """What W&B wrote, as the tests of the sweep's own tracking read it."""
    path = Path(__file__).with_name("test_tracking_wandb.py")
    spec = importlib.util.spec_from_file_location("reads_wandb", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Offline(folder)


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("WANDB_RUN_ID", "WANDB_RESUME", "WANDB_RUN_GROUP", "WANDB_NAME", "WANDB_TAGS"):
        monkeypatch.setenv(name, "")  # so that it is put back at the end
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_DIR", "")
    monkeypatch.delenv("WANDB_DIR")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    attend()
    import wandb

    yield wandb
    wandb.teardown()


def clear(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a segment leaves in the environment is taken back by the job around it."""
    for name in ("RUN_ID", "RESUME", "RUN_GROUP", "NAME", "TAGS", "DIR"):
        monkeypatch.delenv(f"WANDB_{name}", raising=False)


def test_wandbs_own_steps_go_on_and_those_trained_again_are_dropped(
    wandb: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, later = tmp_path / "0" / "1", tmp_path / "0" / "2"

    def pause() -> None:
        with wandb.init(project="p") as run:  # steps are W&B's own
            for _ in range(3):
                run.log({"loss": 1.0})
            raise TrialEnded("stop")

    job.mkdir(parents=True)
    with pytest.raises(TrialEnded), tracked(RUN, job):
        pause()
    clear(monkeypatch)
    with tracked(RUN, job):
        wandb.init(project="p")
        wandb.log({"loss": 2.0})
        wandb.log({"loss": 2.0})
    clear(monkeypatch)

    def fail() -> None:
        wandb.init(project="p")
        for epoch in (3, 4, 5, 6):  # by number, and two of them again
            wandb.log({"loss": 3.0}, step=epoch)
        raise ValueError("no luck")

    later.mkdir()
    with pytest.raises(ValueError, match="no luck"), tracked(RUN, later):  # another driver's
        fail()

    found, afterwards = offline(job), offline(later)
    assert found.curve(0, "loss") == [(0, 1.0), (1, 1.0), (2, 1.0), (3, 2.0), (4, 2.0)]
    assert found.exits == {RUN.id: 0}
    assert afterwards.curve(0, "loss") == [(5, 3.0), (6, 3.0)]
    assert afterwards.exits == {RUN.id: 1}
    run = found.runs[RUN.id]
    assert (run.run_group, run.display_name, list(run.tags)) == ("s", "trial 0", ["caviar"])


def test_a_segment_that_logged_nothing_moves_no_step(
    wandb: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for values in ([1.0], [], [2.0]):
        with tracked(RUN, tmp_path):
            wandb.init(project="p")
            for value in values:
                wandb.log({"loss": value})
        clear(monkeypatch)
    assert offline(tmp_path).curve(0, "loss") == [(0, 1.0), (1, 2.0)]


def test_the_last_step_is_read_from_a_long_file_and_from_one_that_was_cut_off(
    wandb: Any, tmp_path: Path
) -> None:
    with tracked(AppRun.of_trial("long", "s", 0), tmp_path):
        wandb.init(project="p")
        for _ in range(40):
            wandb.log({"text": "x" * 5000})  # records that span blocks
    (file,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    assert last_step(file) == 39
    data, found = file.read_bytes(), list[int]()
    for eighths in range(1, 9):
        file.write_bytes(data[: len(data) * eighths // 8])
        found.append(last_step(file) or 0)
    assert found == sorted(found)
    assert len(set(found)) > 4
    file.write_bytes(data[:40_000] + b"\xff" * 500 + data[40_500:])  # damaged in the middle
    assert last_step(file) is not None
    file.write_bytes(data[:3])
    assert last_step(file) is None


def test_mlflow_goes_on_in_one_run_however_it_was_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attend()
    import mlflow

    uri = f"sqlite:///{tmp_path}/runs.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    mlflow.set_tracking_uri(uri)
    client = mlflow.MlflowClient(tracking_uri=uri)

    def status() -> list[str]:
        return [run.info.status for run in client.search_runs(["0"])]

    def pause() -> None:
        with mlflow.start_run():
            mlflow.log_params({"lr": 0.1, "ckpt_path": None})
            mlflow.log_metric("loss", 1.0, step=1)
            with mlflow.start_run(nested=True, run_name="inner"):
                mlflow.log_metric("loss", 5.0, step=1)
            raise TrialEnded("stop")

    with pytest.raises(TrialEnded), tracked(RUN, tmp_path):
        pause()
    assert status() == ["FINISHED", "FINISHED"]
    with tracked(RUN, tmp_path):
        mlflow.log_param("ckpt_path", "/somewhere")  # begins a run by itself
        mlflow.log_metric("loss", 0.5, step=2)
        assert "RUNNING" in status()
    assert mlflow.active_run() is None

    def fail() -> None:
        mlflow.start_run()
        raise ValueError("no luck")

    with pytest.raises(ValueError, match="no luck"), tracked(RUN, tmp_path):
        fail()

    inner, run = sorted(client.search_runs(["0"]), key=lambda run: run.info.run_name)
    assert (inner.info.run_name, run.info.run_name) == ("inner", "trial 0")
    assert (run.info.status, inner.info.status) == ("FAILED", "FINISHED")
    assert run.data.params == {"lr": "0.1", "ckpt_path": "None"}
    history = client.get_metric_history(run.info.run_id, "loss")
    assert [(each.step, each.value) for each in history] == [(1, 1.0), (2, 0.5)]
    other = AppRun.of_trial("s-2", "s", 0)
    with tracked(other, tmp_path):
        mlflow.start_run()
    assert len(status()) == 3


def test_torchs_writer_writes_into_the_jobs_folder_and_is_closed(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    attend()
    from torch.utils.tensorboard import SummaryWriter

    for epoch in (1, 2):
        with tracked(RUN, tmp_path):
            SummaryWriter().add_scalar("loss", 1 / epoch, epoch)  # and never closed
    shown = EventAccumulator(str(tmp_path / "tensorboard")).Reload().Scalars("loss")
    assert [event.step for event in shown] == [1, 2]
