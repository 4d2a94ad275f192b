"""The apps under examples/: each by itself, and swept with promotion."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
SMALL = {
    "hugging_face/train.py": ["sentences=160", "training.num_train_epochs=3"],
    "plain_torch/src/train.py": [],
    "scikit_learn/train.py": [],
    "xgboost/train.py": ["hydra.sweeper.scheduler.grace_period=1"],
}
"""The apps, and what makes them quick; the schedule of the Trainer's hangs on its epochs."""
LEFT = {
    "hugging_face/train.py": "model.safetensors",
    "plain_torch/src/train.py": "state.pt",
    "scikit_learn/train.py": "net.npz",
    "xgboost/train.py": "model.ubj",
}
MAX_T = "hydra.sweeper.scheduler.max_t=3"

pytestmark = pytest.mark.slow


@pytest.fixture(params=SMALL)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def app(name: str, tmp_path: Path) -> Path:
    """A copy, so that its modules are forgotten with it."""
    project = name.partition("/")[0]
    shutil.copytree(EXAMPLES / project, tmp_path / project)
    return tmp_path / name


def test_it_runs_by_itself(app: Path, name: str) -> None:
    few = {"hugging_face": "training.num_train_epochs=1", "xgboost": "rounds=2"}
    overrides = [*SMALL[name][:1], few.get(name.partition("/")[0], "epochs=2")]
    own = [override for override in overrides if not override.startswith("hydra.sweeper")]
    done = subprocess.run(
        [sys.executable, app.name, *own], cwd=app.parent, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stderr
    assert "eval_loss" in done.stdout or "step 2" in done.stdout


@pytest.mark.ray
def test_bad_trials_stop_early_and_good_ones_go_on_exactly(
    app: Path, name: str, sweep: Any
) -> None:
    swept = sweep(str(app), "+hparams=lab", MAX_T, "hydra.sweeper.num_samples=6", *SMALL[name])

    assert swept.code == 0, swept.err
    assert {trial.step for trial in swept.trials} == {1, 3}
    promoted = next(trial for trial in swept.trials if trial.promotions)
    assert sorted(promoted.reports) == [1, 2, 3]
    assert (swept.folder.path / "best" / "checkpoint" / LEFT[name]).is_file()

    place = str(swept.folder.path)
    again = sweep.caviar("reproduce", place, str(promoted.number))
    assert again.code == 0, again.out + again.err
    more = sweep.caviar("resume", place, "hydra.sweeper.num_samples=7")
    assert more.code == 0, more.err
    assert len(more.trials) == 7


@pytest.mark.ray
@pytest.mark.parametrize("name", ["hugging_face/train.py"])
def test_a_trainer_in_two_ranks_pauses_and_goes_on(app: Path, name: str, sweep: Any) -> None:
    two = ["hydra.sweeper.resources={workers: 2}", "hydra.sweeper.num_samples=3"]
    swept = sweep(str(app), "+hparams=lab", MAX_T, *two, *SMALL[name])

    assert swept.code == 0, swept.err
    promoted = next(trial for trial in swept.trials if trial.promotions)
    assert sorted(promoted.reports) == [1, 2, 3]
    kept = {path.name for path in (swept.job(promoted.number) / "checkpoints").glob("*/*")}
    assert {"rng_state_0.pth", "rng_state_1.pth", "optimizer.pt"} <= kept
