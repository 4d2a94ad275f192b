"""Sweeps of apps that know nothing of sweeps."""

from __future__ import annotations

import json
import os
from datetime import datetime
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.ray

APPS = Path(__file__).parent / "apps"


def test_an_app_that_returns_a_number_is_swept_as_it_is(sweep) -> None:
    swept = sweep("number.py", "x=range(0,3)", "power=1,2", "hydra/sweeper/searcher=grid")

    assert swept.code == 0
    assert swept.statuses == ["complete"] * 6
    assert swept.trials.best.value == 0
    for trial in range(6):
        config = yaml.safe_load(swept.read(trial, ".hydra/config.yaml"))
        overrides = yaml.safe_load(swept.read(trial, ".hydra/overrides.yaml"))
        assert overrides == [f"x={config['x']}", f"power={config['power']}"]
        assert (
            yaml.safe_load(swept.read(trial, ".hydra/hydra.yaml"))["hydra"]["job"]["num"] == trial
        )
        assert swept.trials[trial].value == config["x"] ** config["power"]
        assert swept.read(trial, "output.log").splitlines()[0] == f"printed {config['x']}"
        assert f"logged {config['x']}" in swept.read(trial, "number.log")
        assert json.loads(swept.read(trial, "seen.json")) == {
            "x": config["x"],
            "power": config["power"],
            "folder": str(swept.job(trial)),
            "number": trial,
            "year": f"{datetime.now():%Y}",
            "home": os.environ["HOME"],
            "twice": 2 * config["x"],
        }
    assert "printed" not in swept.out + swept.err
    assert {path.name for path in swept.folder.path.iterdir()} == {
        "best",
        "environments",
        "journal.log",
        "metrics.parquet",
        "sweep.yaml",
        "trials",
        "trials.parquet",
    }


@pytest.mark.slow
def test_an_app_may_return_a_mapping_and_need_no_guard(sweep) -> None:
    swept = sweep(
        "mapping.py",
        "+x=interval(0,1)",
        "hydra.sweeper.metric=accuracy",
        "hydra.sweeper.mode=max",
        "hydra.sweeper.num_samples=3",
    )

    assert swept.code == 0
    assert swept.statuses == ["complete"] * 3
    for trial in swept.trials:
        assert trial.value == trial.metrics["accuracy"] == 1 - trial.params["x"]
        assert set(trial.metrics) == {"loss", "accuracy"}


@pytest.mark.slow
def test_a_module_with_structured_configs_of_its_own_is_swept(
    sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(APPS / "packaged")

    swept = sweep(
        "shop.train",
        "model.width=range(1,3)",
        "model.colour=RED,BLUE",
        "hydra/sweeper/searcher=grid",
        "hydra.sweeper.mode=max",
        "hydra.sweeper.metric=objective",
    )

    assert swept.code == 0
    assert sorted(trial.value for trial in swept.trials) == [11, 12, 21, 22]
    assert swept.trials.best.params == {"model.width": 2, "model.colour": "BLUE"}


@pytest.mark.slow
def test_no_trial_waits_for_another(sweep) -> None:
    swept = sweep("waits.py", "+n=range(0,6)", "hydra/sweeper/searcher=grid")

    assert swept.code == 0
    assert swept.statuses == ["complete"] * 6
