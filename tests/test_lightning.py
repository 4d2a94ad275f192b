"""Lightning's Trainers in a trial, with a driver that only takes notes."""

from __future__ import annotations

import importlib
import logging
import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sweeps import session
from sweeps.errors import ConfigError, SweepError
from sweeps.integrations.lightning import FILE
from sweeps.journal.objective import Objective
from sweeps.journal.status import Decision
from tests.lightning_parts import loader, module_class, put_metadata

pl = importlib.import_module("lightning.pytorch")
pytestmark = pytest.mark.filterwarnings("ignore")


class Driver:
    """Answers reports and remembers them; pauses the trial at a step."""

    def __init__(self) -> None:
        self.reports: list[tuple[int, dict[str, float], Path | None]] = []
        self.pauses_at: int | None = None

    def __call__(
        self, step: int, metrics: dict[str, float], checkpoint: Path | None, can_wait: bool
    ) -> Decision:
        self.reports.append((step, metrics, checkpoint))
        return Decision.PAUSE if step == self.pauses_at else Decision.CONTINUE

    @property
    def steps(self) -> list[int]:
        return [step for step, _, _ in self.reports]

    @property
    def checkpoints(self) -> list[Path]:
        return [checkpoint for _, _, checkpoint in self.reports if checkpoint is not None]


@pytest.fixture
def driver() -> Driver:
    return Driver()


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(put_metadata(tmp_path / "metadata"))


@pytest.fixture
def segment(tmp_path: Path, driver: Driver) -> Iterator[Callable[..., session.Session]]:
    """Enters a segment of a trial with rungs at 1, 3 and 9 epochs."""

    def begin(checkpoint: Path | None = None, **fields: Any) -> session.Session:
        here = session.Session(
            job_folder=tmp_path / "job",
            checkpoint=checkpoint,
            send=driver,
            objective=Objective(metric="val/loss", mode="min"),
            **{"rungs": (1, 3, 9), "clock": lambda: 0.0, **fields},
        )
        session.begin(here)
        torch.manual_seed(1)
        random.seed(1)
        np.random.seed(1)
        return here

    yield begin
    session.end()


def make_trainer(tmp_path: Path, package: Any = pl, **arguments: Any) -> Any:
    given = {"max_epochs": 4, "logger": False, "enable_model_summary": False, **arguments}
    return package.Trainer(accelerator="cpu", default_root_dir=tmp_path, **given)


def fit(trainer: Any, net: Any = None, package: Any = pl, **arguments: Any) -> Any:
    net = net or module_class(package)()
    trainer.fit(net, loader(shuffle=True), loader(shuffle=False), **arguments)
    return net


def ours(trainer: Any) -> list[Any]:
    return [each for each in trainer.callbacks if type(each).__name__ == "SweepCallback"]


@pytest.mark.parametrize("name", ["lightning.pytorch", "pytorch_lightning"])
def test_each_validated_epoch_is_reported_and_the_sanity_check_is_not(
    segment, driver: Driver, tmp_path: Path, name: str
) -> None:
    package = importlib.import_module(name)
    segment()
    trainer = make_trainer(tmp_path, package)
    fit(trainer, package=package)

    assert driver.steps == [1, 2, 3, 4]
    assert all(metrics.keys() == {"val/loss", "train/loss"} for _, metrics, _ in driver.reports)
    assert [folder.name for folder in driver.checkpoints] == ["000001", "000003"]
    assert driver.reports[-1][1]["val/loss"] == trainer.callback_metrics["val/loss"].item()


def test_outside_a_sweep_a_trainer_is_as_it_was(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path)
    assert not ours(trainer)
    assert trainer.progress_bar_callback.is_enabled


def resumed(segment, driver: Driver, tmp_path: Path, at: int, **arguments: Any) -> tuple[Any, Any]:
    """A Trainer and its network after a pause and a second segment."""
    driver.pauses_at = at
    segment()
    first = module_class(pl)()
    with pytest.raises(session.TrialEnded):
        fit(make_trainer(tmp_path / "app", **arguments), first)
    driver.pauses_at = None
    segment(driver.checkpoints[-1])
    second = module_class(pl)()
    trainer = make_trainer(tmp_path / "app", **arguments)
    fit(trainer, second)
    second.seen = first.seen + second.seen
    return trainer, second


def same_weights(one: Any, other: Any) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_a_paused_trial_goes_on_as_if_it_had_never_been_paused(
    segment, driver: Driver, tmp_path: Path
) -> None:
    segment()
    whole = make_trainer(tmp_path / "whole")
    net = fit(whole)
    unbroken, driver.reports = driver.reports, []
    trainer, other = resumed(segment, driver, tmp_path, 3)

    assert driver.steps == [1, 2, 3, 4]
    assert [metrics for _, metrics, _ in driver.reports] == [m for _, m, _ in unbroken]
    assert other.seen == net.seen
    assert same_weights(net, other)
    assert trainer.global_step == whole.global_step
    rates = [each.optimizers[0].param_groups[0]["lr"] for each in (whole, trainer)]
    assert rates[0] == rates[1] < 0.02, "the plateau schedule took its steps, before the pause too"


def test_the_apps_own_callbacks_go_on_over_a_pause(
    segment, driver: Driver, tmp_path: Path
) -> None:
    from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

    def callbacks() -> list[Any]:
        best = ModelCheckpoint(tmp_path / "own", monitor="train/loss", mode="max", save_last=True)
        return [best, EarlyStopping("train/loss", patience=2)]

    segment()
    whole = make_trainer(tmp_path / "whole", callbacks=callbacks(), max_epochs=9)
    fit(whole)
    driver.reports = []
    driver.pauses_at = 1
    segment()
    with pytest.raises(session.TrialEnded):
        fit(make_trainer(tmp_path / "app", callbacks=callbacks(), max_epochs=9))
    segment(driver.checkpoints[-1])
    again = callbacks()
    driver.pauses_at = None
    trainer = make_trainer(tmp_path / "app", callbacks=again, max_epochs=9)
    fit(trainer)

    assert again[0].best_model_score == whole.checkpoint_callback.best_model_score
    assert Path(again[0].best_model_path).is_file()
    assert again[1].stopped_epoch == whole.early_stopping_callback.stopped_epoch
    assert driver.steps == list(range(1, whole.current_epoch + 1))
