"""Real sweeps in real trackers: killed, resumed, and with a tracker that is away."""

from __future__ import annotations

import re
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest

from sweeps.results import load_sweep

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.filterwarnings("ignore")]

SWEEP = (
    "tracked.py",
    "+x=interval(0,4)",
    "hydra.sweeper.metric=loss",
    "hydra.sweeper.mode=min",
    "hydra.sweeper.num_samples=4",
    "hydra.sweeper.seed=3",
    "hydra.sweeper.max_concurrent_trials=2",
)
STEPS = [1, 2, 3, 4, 5, 6]


def board(folder: Path) -> dict[str, list[int]]:
    """The steps of the loss that TensorBoard shows, by trial."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return {
        run.name: [event.step for event in EventAccumulator(str(run)).Reload().Scalars("loss")]
        for run in sorted(folder.glob("trial-*"))
    }


def mlflow_runs(uri: str) -> dict[str, tuple[str, list[int]]]:
    """The status and the steps of the loss that MLflow has, by run; each must be there once."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("tracked")
    assert experiment is not None
    found = {}
    for run in client.search_runs([experiment.experiment_id]):
        assert run.info.run_name not in found
        history = client.get_metric_history(run.info.run_id, "loss")
        found[run.info.run_name] = (run.info.status, sorted(point.step for point in history))
    return found


def test_a_sweep_that_is_killed_and_resumed_is_in_each_tracker_once(
    start: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    uri = f"sqlite:///{tmp_path}/runs.db"
    tracking = (
        f"hydra.sweeper.tracking={{tensorboard: {{folder: '{tmp_path}/board'}}, "
        f"mlflow: {{tracking_uri: '{uri}'}}, "
        f"wandb: {{project: p, mode: offline, dir: '{tmp_path}/w'}}}}"
    )
    _make_database(uri)
    driver = start.drive(*SWEEP, tracking, "+epoch_s=2")
    ledgers = driver.folder.path / "tracking"

    def all_have_begun() -> bool:
        shown = [path.read_text() for path in ledgers.glob("*.jsonl")]
        return len(shown) == 3 and all(re.search(r"^\[0,[3-5],", s, re.M) for s in shown)

    driver.wait_until(all_have_begun)  # step 3 has no checkpoint: it is trained again
    driver.end(signal.SIGKILL)
    _wait_for_end_of_trackers(str(driver.folder.path))
    again = start.drive(*SWEEP, tracking, "hydra.sweeper.resume=true", "+epoch_s=2")
    assert again.process.wait(timeout=300) == 0, again.output
    assert "IMPORTED set()" in again.output
    assert "not sent" not in again.output

    trials = [f"trial {number}" for number in range(4)]
    assert {run: sorted(steps) for run, steps in board(tmp_path / "board" / "s").items()} == {
        f"trial-{number}": STEPS for number in range(4)
    }
    runs = mlflow_runs(uri)
    assert set(runs) == {"s", *trials}
    assert [runs[name] for name in trials] == [("FINISHED", STEPS)] * 4
    offline = _offline(tmp_path / "w")
    assert len(offline.runs) == 4
    for number in range(4):
        assert [step for step, _ in offline.curve(number, "loss")] == STEPS
        assert offline.summary[offline.of(number)]["trial/status"] == "complete"
    trial = load_sweep(driver.folder).trials[0]
    assert runs["trial 0"][1] == sorted(trial.reports)


def _make_database(uri: str) -> None:
    """MLflow takes seconds for it."""
    from mlflow import MlflowClient

    MlflowClient(tracking_uri=uri).search_experiments()


def _wait_for_end_of_trackers(folder: str) -> None:
    """They end by themselves when their driver is gone."""
    left = [
        process
        for process in psutil.process_iter(["cmdline", "cwd"])
        if "sweeps.tracking" in (process.info["cmdline"] or [])
        and any(file.path.startswith(folder) for file in _open_files(process))
    ]
    _, alive = psutil.wait_procs(left, timeout=30)
    assert not alive


def _open_files(process: psutil.Process) -> list[Any]:
    try:
        return list(process.open_files())
    except psutil.Error:
        return []


def _offline(folder: Path) -> Any:
    """As the tests of W&B read it."""
    import importlib.util

    path = Path(__file__).with_name("test_tracking_wandb.py")
    spec = importlib.util.spec_from_file_location("reads_wandb", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Offline(folder)


def test_a_tracker_that_is_away_ends_no_sweep_and_is_sent_the_rest_on_a_resume(
    sweep: Any, tmp_path: Path
) -> None:
    away = "hydra.sweeper.tracking={mlflow: {tracking_uri: 'http://127.0.0.1:9'}}"
    done = sweep(*SWEEP, away)
    assert done.code == 0
    assert done.statuses == ["complete"] * 4
    assert done.err.count("mlflow cannot be sent anything") == 1
    assert "24 reports of 4 trials are missing; caviar resume sends the rest" in done.err
    uri = f"sqlite:///{tmp_path}/runs.db"
    _make_database(uri)
    back = f"hydra.sweeper.tracking={{mlflow: {{tracking_uri: '{uri}'}}}}"
    again = sweep.caviar("resume", str(done.folder.path), back)
    assert again.code == 0
    assert "not sent" not in again.err
    runs = mlflow_runs(uri)
    assert [runs[f"trial {number}"] for number in range(4)] == [("FINISHED", STEPS)] * 4


def test_a_sweep_in_a_bucket_is_tracked_and_its_ledger_goes_with_it(
    sweep: Any, bucket: str, tmp_path: Path
) -> None:
    tracking = f"hydra.sweeper.tracking={{tensorboard: {{folder: '{tmp_path}/board'}}}}"
    place = f"hydra.sweeper.storage_path={bucket}/sweeps"
    done = sweep(*SWEEP, tracking, place)
    assert done.code == 0
    assert board(tmp_path / "board" / "s") == {f"trial-{number}": STEPS for number in range(4)}
    more = "hydra.sweeper.num_samples=5"
    again = sweep.caviar("resume", f"{bucket}/sweeps/s", more, tracking)
    assert again.code == 0
    assert board(tmp_path / "board" / "s") == {f"trial-{number}": STEPS for number in range(5)}
    files = list((tmp_path / "board" / "s" / "trial-0").iterdir())
    assert len(files) == 1, "the second driver had nothing to write of it"
