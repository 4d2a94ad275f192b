"""`best/experiment.yaml` follows the trial that leads."""

from __future__ import annotations

import logging
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf

import sweeps.driver.incumbent
from sweeps.driver.incumbent import BestExperiment, Writer
from sweeps.driver.runner import planning
from sweeps.errors import SweepError
from sweeps.journal.events import Asked, Created, Opened, Reported
from sweeps.journal.status import Decision
from sweeps.journal.trials import Trials
from sweeps.planning.plan import Plan
from sweeps.storage.folder import SweepFolder

ROOT = Path(__file__).parent.parent


class Running:
    """A sweep that is planned, and trials of it as if they ran."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.trials = Trials(plan.settings.objective)
        self.listeners: list[Callable[..., None]] = []
        self._add(Created, name="s", modes=("min",), space=plan.space.to_json())
        self._add(Opened, run=1)

    def ask(self, number: int, **values: Any) -> None:
        params = self.plan.space.optuna_params(values)
        self._add(Asked, trial=number, run=1, params=params, distributions={})

    def report(self, number: int, step: int, value: float) -> None:
        self._add(
            Reported,
            trial=number,
            run=1,
            step=step,
            metrics={},
            value=value,
            checkpoint=None,
            decision=Decision.CONTINUE,
        )

    def _add(self, kind: Any, **fields: Any) -> None:
        event = kind(**fields, time=0.0)
        self.trials.apply(event)
        for listener in self.listeners:
            listener(event, self.trials)

    @property
    def file(self) -> Path:
        return self.plan.folder.best_experiment


@pytest.fixture
def running(start: Any) -> Running:
    with planning() as plans:
        start("seeded.py", "x=interval(0, 4)", "+tag=choice('1e-3', yes)", "epochs=3")
    return Running(plans[0])


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_file_is_that_of_the_trial_that_leads(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = sweeps.driver.incumbent.make_experiment
    composed = []
    monkeypatch.setattr(
        sweeps.driver.incumbent,
        "make_experiment",
        lambda *a, **k: composed.append(a) or made(*a, **k),
    )
    writer = Writer(running.plan)
    running.ask(0, x=1.5, tag="1e-3")
    assert writer.best(running.trials) is None
    running.report(0, 1, 0.5)
    assert writer.is_news(running.trials[0])
    writer.write(running.trials, running.trials[0])
    assert yaml.safe_load(running.file.read_text()) == {"x": 1.5, "epochs": 3, "tag": "1e-3"}
    assert "trial 0 of s, objective 0.5 at step 1" in running.file.read_text()
    assert not writer.is_news(running.trials[0])

    running.report(0, 2, 0.4)  # a better value of the same config needs no composition
    writer.write(running.trials, running.trials[0])
    assert "objective 0.4 at step 2" in running.file.read_text()
    assert len(composed) == 1

    running.ask(1, x=2.5, tag="yes")
    running.report(1, 1, 0.1)
    best = writer.best(running.trials)
    assert best is running.trials[1]
    writer.write(running.trials, best)
    assert yaml.safe_load(running.file.read_text()) == {"x": 2.5, "epochs": 3, "tag": "yes"}
    assert len(composed) == 2


def test_while_a_sweep_runs_a_thread_writes_the_file(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeps.driver.incumbent, "_SHARE", 0)
    with BestExperiment(running.plan, every_s=0.01) as follow:
        running.listeners.append(follow)
        running.ask(0, x=1.5, tag="yes")
        running.report(0, 1, 0.5)
        until(running.file.exists)
        running.ask(1, x=3.5, tag="yes")
        running.report(1, 1, 0.4)
        until(lambda: "x: 3.5" in running.file.read_text())
    assert not [p for p in running.file.parent.iterdir() if p != running.file]


def test_what_cannot_be_written_is_told_once_and_tried_again(
    running: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tries = []

    def fail(*_: Any) -> None:
        tries.append(1)
        if len(tries) < 3:
            raise SweepError("it differs in lr")

    monkeypatch.setattr(Writer, "write", fail)
    logger = logging.getLogger("sweeps")
    monkeypatch.setattr(logger, "propagate", True)
    with (
        caplog.at_level(logging.WARNING, logger="sweeps"),
        BestExperiment(running.plan, every_s=0.01) as follow,
    ):
        running.listeners.append(follow)
        running.ask(0, x=1.5, tag="yes")
        running.report(0, 1, 0.5)
        until(lambda: len(tries) > 2)
    assert [r.getMessage() for r in caplog.records] == [
        f"{running.file} is not up to date: it differs in lr"
    ]


def test_another_driver_stops_the_writing(running: Running) -> None:
    looks = []

    def check() -> None:
        looks.append(1)
        raise SweepError("another driver writes here")

    with BestExperiment(running.plan, check=check, every_s=0.01) as follow:
        running.listeners.append(follow)
        running.ask(0, x=1.5, tag="yes")
        running.report(0, 1, 0.5)
        until(lambda: len(looks) > 1)
    assert not running.file.exists()


def test_a_retest_has_none(running: Running) -> None:
    running.plan.folder.begin()
    running.plan.folder.roster.write_text("")
    with BestExperiment(running.plan, every_s=0.01) as follow:
        assert not follow._thread.is_alive()


# Sweeps that really run


def config_of(command: str) -> Any:
    """What a command composes, by the app itself."""
    words = shlex.split(command)
    assert words.pop(0) == "python"
    done = subprocess.run(
        [sys.executable, *words, "--cfg", "job"], capture_output=True, text=True, check=True
    )
    return OmegaConf.to_container(OmegaConf.create(done.stdout))


def recorded(folder: SweepFolder, trial: int) -> Any:
    return OmegaConf.to_container(OmegaConf.load(folder.job(trial, 1) / ".hydra/config.yaml"))


def shown(out: str) -> str:
    return next(line for line in out.splitlines() if line.startswith("run again")).split(None, 2)[2]


@pytest.mark.slow
def test_the_last_screens_command_runs_the_best_trial_again(sweep: Any, tmp_path: Path) -> None:
    done = sweep(
        "conditional.py",
        "net=mlp,convnet",
        "depth=range(1, 4)",
        "rates=choice([0.1, 0.2], [0.3])",
        "+tag='1e-3'",
        "hydra.sweeper.num_samples=4",
    )
    best = done.trials.best.number
    assert config_of(shown(done.out)) == recorded(done.folder, best)

    file = tmp_path / "mine/one.yaml"
    other = sweep.caviar(
        "results",
        str(done.folder.path),
        "--trial",
        str(1 - min(best, 1)),
        "--experiment",
        str(file),
    )
    assert other.code == 0, other.err
    assert config_of(other.out.splitlines()[-1]) == recorded(done.folder, 1 - min(best, 1))


@pytest.mark.slow
def test_an_app_that_is_a_module_of_structured_configs_is_run_again(
    sweep: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT / "tests/apps/packaged")
    done = sweep("shop.train", "model.width=1,2", "model.colour=RED,BLUE", "+model.more=1")
    assert shown(done.out).startswith("python -m shop.train --config-dir ")
    assert config_of(shown(done.out)) == recorded(done.folder, done.trials.best.number)
