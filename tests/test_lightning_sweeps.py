"""Sweeps of the example in examples/lightning_hydra: an app that knows nothing of caviar."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import torch

from sweeps.journal.status import Status
from tests.metadata import put_metadata

pytestmark = [pytest.mark.slow, pytest.mark.ray]

ROOT = Path(__file__).parents[1]
LAB = ["+hparams=lab", "hydra.sweeper.seed=3"]


@pytest.fixture
def app(tmp_path: Path) -> str:
    """A copy of the example; it puts its root on the path, and so caviar's metadata too."""
    folder = tmp_path / "lightning_hydra"
    shutil.copytree(ROOT / "examples" / "lightning_hydra", folder)
    put_metadata(folder)
    return str(folder / "src" / "train.py")


def lines(text: str) -> list[int]:
    """The steps that a log tells of."""
    return [int(step) for step in re.findall(r"\[INFO\] - step (\d+) ", text)]


def test_an_app_that_knows_nothing_of_caviar_is_stopped_early_and_promoted(sweep, app) -> None:
    few = ["hydra.sweeper.num_samples=9", "hydra.sweeper.scheduler.max_t=9"]
    place = ["hydra.sweeper.name=s", f"hydra.sweeper.storage_path={sweep.storage}"]
    swept = sweep.caviar("sweep", app, *place, *LAB, *few, "trainer.max_epochs=9")

    assert swept.code == 0, swept.err
    reached = {trial.number: max(trial.reports) for trial in swept.trials}
    assert sorted(reached.values()).count(1) >= 4
    assert max(reached.values()) >= 3
    for trial in swept.trials:
        assert set(trial.reports) == set(range(1, reached[trial.number] + 1))
        assert lines(swept.read(trial.number, "train.log")) == sorted(trial.reports)
        assert trial.reports[1].metrics.keys() == {"val/loss", "val/acc", "train/loss"}
    best = max(swept.trials, key=lambda trial: reached[trial.number])
    own = swept.job(best.number) / "checkpoints"
    assert (own / "last.ckpt").is_file()
    state = torch.load(own / "last.ckpt", weights_only=True)["callbacks"]
    kept = next(value for name, value in state.items() if name.startswith("ModelCheckpoint"))
    values = [report.metrics["val/acc"] for _, report in sorted(best.reports.items())]
    assert float(kept["best_model_score"]) == pytest.approx(max(values[:-1] or values), abs=1e-6)
    assert Path(kept["best_model_path"]).is_file()

    exported = swept.folder.path / "best"
    assert (exported / "checkpoint" / "lightning.ckpt").is_file()
    assert "Not verified" in (exported / "README.md").read_text()
    assert json.loads((exported / "metrics.json").read_text())


def test_a_trial_of_two_ranks_trains_under_ddp_and_is_promoted(sweep, app) -> None:
    two = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.max_epochs=3"]
    two += ["hydra.sweeper.resources={workers: 2, cpus: 1}", "hydra.sweeper.num_samples=3"]
    place = ["hydra.sweeper.name=s", f"hydra.sweeper.storage_path={sweep.storage}"]
    swept = sweep.caviar("sweep", app, *place, *LAB, *two, "hydra.sweeper.scheduler.max_t=3")

    assert swept.code == 0, swept.err
    whole = [trial for trial in swept.trials if trial.status is Status.COMPLETE]
    assert [sorted(trial.reports) for trial in whole] == [[1, 2, 3]]
    for name in ("train.log", "train.1.log"):
        assert lines(swept.read(whole[0].number, name)) == [1, 2, 3]
    wrong = [*place, *LAB, *two[3:4], "hydra.sweeper.num_samples=1", "hydra.sweeper.name=wrong"]
    refused = sweep.caviar("sweep", app, *wrong, "trainer.max_epochs=1", name="wrong")
    assert "the trial has 2 ranks (hydra.sweeper.resources.workers), and the Trainer is for 1" in (
        refused.trials[0].error or ""
    )
