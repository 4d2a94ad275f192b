"""Lightning's Trainers in a trial, with a driver that only takes notes."""

from __future__ import annotations

import importlib
import logging
import os
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
from sweeps.worker.slate import trial_environment
from tests.lightning_parts import SGD, fit, loader, make_trainer, module_class, same_weights
from tests.metadata import put_metadata

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
    segment(always=True)
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


def test_the_apps_own_callbacks_go_on_over_a_pause(segment, driver: Driver, tmp_path: Path) -> None:
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


def test_a_second_trainer_of_a_trial_is_left_alone(segment, driver: Driver, tmp_path: Path) -> None:
    _, net = resumed(segment, driver, tmp_path, 3)
    before, other = list(driver.steps), make_trainer(tmp_path / "other")
    fit(other)

    assert driver.steps == before == [1, 2, 3, 4]
    assert other.current_epoch == 4
    assert net.seen[-1][0] == 3


def test_what_was_resumed_from_is_not_loaded_by_a_later_test(
    segment, driver: Driver, tmp_path: Path
) -> None:
    trainer, net = resumed(segment, driver, tmp_path, 3)
    trained = {name: value.clone() for name, value in net.state_dict().items()}
    trainer.validate(net, loader(shuffle=False), verbose=False)

    assert all(torch.equal(value, trained[name]) for name, value in net.state_dict().items())
    assert len(driver.steps) == 4, "a validation outside fit is no report"


def test_a_ckpt_path_of_the_apps_own_does_not_make_a_trial_go_back(
    segment, driver: Driver, tmp_path: Path
) -> None:
    own, pretrained = tmp_path / "pretrained.ckpt", make_trainer(tmp_path, max_epochs=1)
    fit(pretrained)
    pretrained.save_checkpoint(own)
    driver.pauses_at = 3
    segment()
    with pytest.raises(session.TrialEnded):
        fit(make_trainer(tmp_path))
    segment(driver.checkpoints[-1])

    with pytest.raises(SweepError, match=r"pass no ckpt_path of your own"):
        fit(make_trainer(tmp_path), ckpt_path=own, weights_only=False)


@pytest.mark.parametrize(("optimizer", "kept"), [(None, True), (SGD, False)])
def test_hyper_parameters_are_kept_where_they_load_safely(
    segment, driver: Driver, tmp_path: Path, optimizer: Any, kept: bool
) -> None:
    segment()
    fit(make_trainer(tmp_path), module_class(pl)(optimizer=optimizer))

    checkpoint = torch.load(driver.checkpoints[-1] / FILE, weights_only=True)
    assert (checkpoint.get("hyper_parameters") == {"lr": 0.02, "optimizer": None}) is kept
    assert ("hyper_parameters" in checkpoint) is kept


def test_an_object_that_torch_does_not_load_safely_keeps_a_trial_from_being_paused(
    segment, driver: Driver, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Holds(pl.Callback):
        def state_dict(self) -> dict[str, Any]:
            return {"path": tmp_path}

    segment()
    with caplog.at_level(logging.WARNING):
        fit(make_trainer(tmp_path, callbacks=[Holds()]))

    assert driver.steps == [1, 2, 3, 4]
    assert driver.checkpoints == []
    told = [each.message for each in caplog.records if "is not paused" in each.message]
    assert len(told) == 1
    assert not list((tmp_path / "job" / "checkpoints").iterdir())
    assert "pathlib.PosixPath" in told[0]


def test_an_app_that_reports_by_itself_is_left_to_it(
    segment, driver: Driver, tmp_path: Path
) -> None:
    class Reports(pl.Callback):
        def on_validation_epoch_end(self, trainer: Any, module: Any) -> None:
            if not trainer.sanity_checking:
                session.report({"val/loss": 1.0}, step=trainer.current_epoch + 1)

    segment()
    fit(make_trainer(tmp_path, callbacks=[Reports()]))

    assert driver.reports == [(epoch, {"val/loss": 1.0}, None) for epoch in (1, 2, 3, 4)]


@pytest.mark.parametrize(
    ("arguments", "steps"),
    [
        ({"check_val_every_n_epoch": 2}, [2, 4]),
        ({"val_check_interval": 1}, [1, 2, 3, 4]),
        ({"limit_val_batches": 0}, [1, 2, 3, 4]),
        ({"check_val_every_n_epoch": None, "val_check_interval": 4}, [2, 3, 4]),
        ({"max_epochs": -1, "max_steps": 7}, [3, 6]),
        ({"max_epochs": -1, "max_steps": 7, "val_check_interval": 2}, [2, 5]),
        ({"max_epochs": -1, "max_steps": 7, "limit_val_batches": 0}, [3, 6, 7]),
    ],
)
def test_epochs_are_counted_or_the_optimizers_steps_where_these_are_the_limit(
    segment, driver: Driver, tmp_path: Path, arguments: dict[str, Any], steps: list[int]
) -> None:
    segment()
    net = module_class(pl)()
    net.configure_optimizers = lambda: torch.optim.SGD(net.parameters(), lr=0.01)
    fit(make_trainer(tmp_path, **arguments), net)

    assert driver.steps == steps


@pytest.mark.parametrize(
    ("arguments", "exact"),
    [
        ({"max_epochs": 4, "max_steps": 100}, False),
        ({"max_epochs": 4, "accumulate_grad_batches": 2}, True),
        ({"max_epochs": 4, "val_check_interval": 1}, True),
        ({"max_epochs": -1, "max_steps": 9}, False),
        ({"max_epochs": -1, "max_steps": 11, "val_check_interval": 2}, False),
    ],
)
def test_a_trial_goes_on_however_its_trainer_counts(
    segment, driver: Driver, tmp_path: Path, arguments: dict[str, Any], exact: bool
) -> None:
    segment(always=True)
    whole = make_trainer(tmp_path / "whole", **arguments)
    net = fit(whole)
    unbroken, driver.reports = driver.steps, []
    trainer, other = resumed(segment, driver, tmp_path, unbroken[0], **arguments)
    logged = [each.fit_loop.epoch_loop._batches_that_stepped for each in (whole, trainer)]

    assert driver.steps == unbroken
    assert trainer.global_step == whole.global_step
    assert len(other.seen) == len(net.seen)
    assert same_weights(net, other) is exact, "with max_steps the batches are drawn anew"
    assert trainer.current_epoch == whole.current_epoch
    assert logged[0] == logged[1]


def test_an_end_unwinds_the_trainer_and_the_next_one_finds_nothing_of_it(
    segment, driver: Driver, tmp_path: Path
) -> None:
    from lightning.pytorch.loggers import CSVLogger

    class Logger(CSVLogger):
        ends: list[str] = []

        def finalize(self, status: str) -> None:
            self.ends.append(status)
            super().finalize(status)

    handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
    driver.pauses_at = 2
    segment()
    trainer = make_trainer(tmp_path, logger=Logger(tmp_path))
    with pytest.raises(session.TrialEnded):
        fit(trainer)

    assert trainer.state.status == "interrupted"
    assert trainer.loggers[0].ends == ["failed"]
    assert (Path(trainer.logger.log_dir) / "metrics.csv").read_text().count("\n") >= 2
    assert {number: signal.getsignal(number) for number in signal.valid_signals()} == handlers
    session.end()

    after = make_trainer(tmp_path / "after", max_epochs=1)
    fit(after)
    assert after.ckpt_path is None
    assert not ours(after)
    assert driver.steps == [1, 2]


def test_a_progress_bar_without_a_switch_is_left_on(segment, tmp_path: Path) -> None:
    segment()
    bar = pl.callbacks.ProgressBar()
    assert make_trainer(tmp_path, callbacks=[bar]).progress_bar_callback is bar


def test_the_progress_bar_is_off_and_each_report_is_a_line_of_the_log(
    segment, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    segment()
    with caplog.at_level(logging.INFO, "sweeps"):
        fit(make_trainer(tmp_path))

    lines = [each.message for each in caplog.records if each.name.startswith("sweeps")]
    assert [line.split("  ")[0] for line in lines] == [f"step {epoch}" for epoch in (1, 2, 3, 4)]
    assert "val/loss" in lines[0]
    assert "it/s" not in "".join(capfd.readouterr())


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        ({"devices": 2, "strategy": "ddp"}, r"resources\.workers=2"),
        ({"devices": 2}, r"resources\.workers=2"),
        ({"devices": 1, "num_nodes": 2}, r"resources\.workers=2"),
        ({"devices": 1, "strategy": "ddp_spawn"}, "take strategy=ddp"),
    ],
)
def test_a_trainer_that_would_start_processes_is_refused_before_it_does(
    segment, tmp_path: Path, arguments: dict[str, Any], answer: str
) -> None:
    segment()
    with pytest.raises(ConfigError, match=answer):
        make_trainer(tmp_path, **arguments)


def test_a_trainer_for_one_process_is_refused_where_the_trial_has_two(
    segment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: 2)
    segment()
    with pytest.raises(ConfigError, match=r"the trial has 2 ranks .*: set its strategy to ddp"):
        make_trainer(tmp_path, devices=1)


def test_slurm_takes_no_trainer_over(segment, monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    from lightning.fabric.plugins.environments import SLURMEnvironment

    job = {"SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2", "SLURM_JOB_NAME": "lab"}
    for name, value in {**job, "SLURM_PROCID": "1", "SLURM_LOCALID": "1"}.items():
        monkeypatch.setenv(name, value)
    assert SLURMEnvironment.detect()

    for name in os.environ.keys() - trial_environment(os.environ, gpus=0).keys():
        monkeypatch.delenv(name)
    segment()
    trainer = make_trainer(tmp_path, strategy="ddp", devices=1)
    environment = trainer.strategy.cluster_environment
    assert type(environment).__name__ == "LightningEnvironment"
    assert (trainer.world_size, trainer.global_rank) == (1, 0)
