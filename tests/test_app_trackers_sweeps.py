"""Real sweeps of an app with trackers of its own: a run a trial, whatever becomes of the trial."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from sweeps.storage.folder import SweepFolder

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.filterwarnings("ignore")]

ASHA = (
    "tracks.py",
    "+x=interval(0,4)",
    "hydra/sweeper/scheduler=asha",
    "hydra.sweeper.scheduler.max_t=3",
    "hydra.sweeper.metric=loss",
    "hydra.sweeper.mode=min",
    "hydra.sweeper.num_samples=4",
    "hydra.sweeper.seed=3",
    "hydra.sweeper.max_concurrent_trials=1",
)


class Offline:
    """All that W&B wrote below a sweep's trials, put together by run."""

    def __init__(self, folder: Path) -> None:
        path = Path(__file__).with_name("test_tracking_wandb.py")
        spec = importlib.util.spec_from_file_location("reads_wandb", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        jobs = {wandb.parent for wandb in folder.rglob("wandb") if wandb.is_dir()}
        self.stretches = [module.Offline(job) for job in sorted(jobs)]
        self.runs = {name: run for each in self.stretches for name, run in each.runs.items()}
        self.exits = {name: code for each in self.stretches for name, code in each.exits.items()}

    def curve(self, run: str) -> list[tuple[int, int]]:
        """W&B's steps, and the epochs that were logged at them."""
        rows = [row for each in self.stretches for row in each.history.get(run, [])]
        return [(row["_step"], row["epoch"]) for row in rows if "epoch" in row]


def mlflow_runs(uri: str) -> dict[str, tuple[str, list[int]]]:
    """By name: the status and the steps of the loss; each must be there once."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("mine")
    assert experiment is not None
    found = {}
    for run in client.search_runs([experiment.experiment_id]):
        assert run.info.run_name not in found
        history = client.get_metric_history(run.info.run_id, "loss")
        found[run.info.run_name] = (run.info.status, [point.step for point in history])
    return found


def actors(folder: SweepFolder) -> set[str]:
    return {file.read_text() for file in folder.path.glob("trials/*/*/pid")}


def test_four_trials_in_one_actor_one_of_them_promoted_are_four_runs(
    sweep: Any, tmp_path: Path
) -> None:
    uri = f"sqlite:///{tmp_path}/runs.db"
    trackers = ("+trackers=[wandb,mlflow]", f"+mlflow_uri='{uri}'")
    first = "hydra.sweeper.initial=[{x: 2}, {x: 2.1}, {x: 2.2}, {x: 2.3}]"
    swept = sweep(*ASHA, *trackers, first)
    assert swept.code == 0, swept.err
    assert len(actors(swept.folder)) == 1
    epochs = {trial.number: sorted(trial.reports) for trial in swept.trials}
    assert sorted(map(len, epochs.values())) == [1, 1, 1, 3]

    found = Offline(swept.folder.path / "trials")
    runs = {name.rpartition("-")[2]: name for name in found.runs}
    assert sorted(runs) == ["0", "1", "2", "3"], "one run a trial"
    for number, name in runs.items():
        assert found.curve(name) == [(e - 1, e) for e in epochs[int(number)]]
        run = found.runs[name]
        assert (run.run_group, run.display_name) == ("s", f"trial {number}")
        assert run.project == "mine"
    assert set(found.exits.values()) == {0}
    assert mlflow_runs(uri) == {f"trial {n}": ("FINISHED", steps) for n, steps in epochs.items()}

    again = sweep.caviar("resume", str(swept.folder.path), "hydra.sweeper.num_samples=10")
    assert again.code == 0, again.err
    epochs = {trial.number: sorted(trial.reports) for trial in again.trials}
    assert any((again.job(n, 2) / "wandb").exists() for n in range(4)), "one went on"
    found = Offline(swept.folder.path / "trials")
    assert len(found.runs) == 10
    for name in found.runs:
        number = int(name.rpartition("-")[2])
        assert found.curve(name) == [(e - 1, e) for e in epochs[number]]
    assert mlflow_runs(uri) == {f"trial {n}": ("FINISHED", steps) for n, steps in epochs.items()}

    out, best = tmp_path / "again", again.trials.best.number
    done = sweep.caviar("reproduce", str(swept.folder.path), str(best), "--out", str(out))
    assert done.code == 0, done.out + done.err
    reproduced = Offline(out)
    assert len(reproduced.runs) == 1
    assert reproduced.runs.keys().isdisjoint(found.runs)
    (name,) = reproduced.runs
    assert [epoch for _, epoch in reproduced.curve(name)] == epochs[best]
    assert reproduced.runs[name].run_group == "s again"


def test_a_trial_that_raised_goes_on_in_its_run_and_one_that_ends_so_has_failed(
    sweep: Any,
) -> None:
    plain = [word for word in ASHA if "scheduler" not in word]
    wrong = ("+trackers=[wandb]", "+raises_at=3", "hydra.sweeper.retry_backoff_s=0")
    swept = sweep(*plain, *wrong, "hydra.sweeper.max_retries=1")
    assert swept.statuses == ["complete", "failed", "complete", "complete"]
    found = Offline(swept.folder.path / "trials")
    assert len(found.runs) == 4
    assert {name.rpartition("-")[2]: code for name, code in found.exits.items()} == {
        "0": 0,
        "1": 1,
        "2": 0,
        "3": 0,
    }
    (name,) = [name for name in found.runs if name.endswith("-1")]
    assert [step for step, _ in found.curve(name)] == [0, 1, 2, 3]
    assert [epoch for _, epoch in found.curve(name)] == [1, 2, 3, 3], "trained again"


def test_of_a_trial_in_two_ranks_the_first_has_the_run(sweep: Any) -> None:
    plain = [word for word in ASHA if "scheduler" not in word]
    ranks = ("hydra.sweeper.resources={workers: 2}", "hydra.sweeper.num_samples=1")
    swept = sweep(*plain, *ranks, "+trackers=[wandb]")
    assert swept.code == 0, swept.err
    found = Offline(swept.folder.path)
    assert len(found.runs) == 1
    (name,) = found.runs
    assert found.curve(name) == [(0, 1), (1, 2), (2, 3)]
    assert json.dumps(found.exits) == json.dumps({name: 0})


def test_the_sweeps_own_tracking_and_a_retest_have_other_runs(sweep: Any) -> None:
    tracking = "hydra.sweeper.tracking={wandb: {project: mine, mode: offline}}"
    plain = [word for word in ASHA if "scheduler" not in word]
    few = ("hydra.sweeper.num_samples=2", "+trackers=[wandb]", "+epochs=1")
    swept = sweep(*plain, *few, tracking)
    assert swept.code == 0, swept.err
    of_sweep = Offline(swept.folder.path / "tracking").runs
    of_app = Offline(swept.folder.path / "trials").runs
    assert len(of_sweep) == len(of_app) == 2
    assert of_sweep.keys().isdisjoint(of_app)
    done = sweep.caviar("retest", str(swept.folder.path), "--top", "1", "--seeds", "2")
    assert done.code == 0, done.err
    again = Offline(swept.folder.retests.path / "trials").runs
    assert len(again) == 2
    assert again.keys().isdisjoint(of_app)
    assert {run.run_group for run in again.values()} == {"s retest"}
