"""A trial's side: reports, checkpoints and what stays of them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import sweeps
from sweeps import session
from sweeps.journal.objective import Objective
from sweeps.journal.status import Decision


class Driver:
    """Answers reports and remembers them; its clock stands unless it is moved."""

    def __init__(self) -> None:
        self.reports: list[tuple[int, dict[str, float], Path | None]] = []
        self.waiting: list[int] = []
        self.decision = Decision.CONTINUE
        self.now = 0.0

    def send(
        self, step: int, metrics: dict[str, float], checkpoint: Path | None, can_wait: bool
    ) -> Decision:
        if checkpoint is not None:
            assert any(checkpoint.iterdir()), "the checkpoint is there before its report"
        self.reports.append((step, metrics, checkpoint))
        if can_wait:
            self.waiting.append(step)
        return self.decision


def begin(
    driver: Driver,
    tmp_path: Path,
    *,
    checkpoint: Path | None = None,
    judged_between: bool = True,
) -> None:
    session.begin(
        session.Session(
            job_folder=tmp_path / "job",
            checkpoint=checkpoint,
            send=driver.send,
            objective=Objective(metric="loss", mode="min"),
            rungs=(1, 3, 9),
            judged_between=judged_between,
            clock=lambda: driver.now,
        )
    )


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[Driver]:
    made = Driver()
    begin(made, tmp_path)
    yield made
    session.end()


def write(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "state").write_text("state")


def kept(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "job" / "checkpoints").iterdir())


def test_outside_a_sweep_report_logs_and_writes_no_checkpoint(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    with caplog.at_level(logging.INFO, logger="sweeps.session"):
        sweeps.report({"loss": 0.25}, step=3, checkpoint=lambda folder: pytest.fail("called"))
    assert caplog.messages == ["step 3  loss 0.25"]
    assert not sweeps.in_sweep()
    assert sweeps.get_checkpoint() is None
    assert sweeps.checkpoint_folder(1) is None


def test_metrics_from_numpy_and_torch_arrive_as_plain_floats(driver: Driver) -> None:
    sweeps.report({"a": np.float32(0.5), "b": torch.tensor(2), "c": True}, step=np.int64(4))
    step, metrics, _ = driver.reports[0]
    assert (step, metrics) == (4, {"a": 0.5, "b": 2.0, "c": 1.0})
    assert {type(value) for value in metrics.values()} == {float}
    assert type(step) is int


@pytest.mark.parametrize("value", ["0.9", None, [1.0], {"a": 1}])
def test_a_metric_that_is_no_number_is_refused_by_name(driver: Driver, value: object) -> None:
    with pytest.raises(TypeError, match=r"metric 'acc' is .* must be a number"):
        sweeps.report({"acc": value}, step=1)  # type: ignore[dict-item]
    assert driver.reports == []


@pytest.mark.parametrize("step", [1.5, "1", None])
def test_a_step_that_is_no_integer_is_refused(driver: Driver, step: object) -> None:
    with pytest.raises(TypeError, match="must be an integer"):
        sweeps.report({"loss": 1.0}, step=step)  # type: ignore[arg-type]


def test_a_negative_step_and_a_missing_folder_are_refused(driver: Driver, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="0 or more"):
        sweeps.report({"loss": 1.0}, step=-1)
    with pytest.raises(ValueError, match="existing folder"):
        sweeps.report({"loss": 1.0}, step=1, checkpoint=tmp_path / "nowhere")


def test_a_pause_or_stop_unwinds_past_except_exception(driver: Driver) -> None:
    driver.decision = Decision.PAUSE

    def app() -> None:
        try:
            sweeps.report({"loss": 1.0}, step=1)
        except Exception:  # noqa: BLE001 - as apps do
            pytest.fail("an app's own handler swallowed the pause")

    with pytest.raises(sweeps.TrialEnded):
        app()


def test_a_checkpoint_elsewhere_is_copied_and_may_be_overwritten(
    driver: Driver, tmp_path: Path
) -> None:
    mine = tmp_path / "mine"
    write(mine)
    sweeps.report({"loss": 1.0}, step=1, checkpoint=mine)
    (mine / "state").write_text("later")
    checkpoint = driver.reports[0][2]
    assert checkpoint == sweeps.checkpoint_folder(1)
    assert (checkpoint / "state").read_text() == "state"


def test_a_checkpoint_in_its_place_is_taken_as_it_is(driver: Driver) -> None:
    place = sweeps.checkpoint_folder(1)
    assert place is not None
    write(place)
    inode = (place / "state").stat().st_ino
    sweeps.report({"loss": 1.0}, step=1, checkpoint=place)
    assert (place / "state").stat().st_ino == inode


def test_the_newest_and_the_best_checkpoint_stay(driver: Driver, tmp_path: Path) -> None:
    for step, loss in enumerate([3.0, 1.0, 2.0, 2.5], start=1):
        place = sweeps.checkpoint_folder(step)
        assert place is not None
        write(place)
        sweeps.report({"loss": loss}, step=step, checkpoint=place)
    assert kept(tmp_path) == ["000002", "000004"]


def test_a_function_writes_a_checkpoint_at_rungs_alone(driver: Driver, tmp_path: Path) -> None:
    for step in range(1, 11):
        sweeps.report({"loss": 10.0 - step}, step=step, checkpoint=write)
    assert [step for step, _, checkpoint in driver.reports if checkpoint] == [1, 3, 9]
    assert kept(tmp_path) == ["000009"]


def test_a_function_writes_one_where_a_step_jumps_over_a_rung(driver: Driver) -> None:
    for step in (2, 4, 6):
        sweeps.report({"loss": 1.0}, step=step, checkpoint=write)
    assert [step for step, _, checkpoint in driver.reports if checkpoint] == [2, 4]


def test_a_function_writes_one_after_some_seconds_without(driver: Driver, tmp_path: Path) -> None:
    begin(driver, tmp_path, checkpoint=tmp_path / "job" / "checkpoints" / "000009")
    for step in range(10, 15):
        driver.now += session.CHECKPOINT_EVERY_S / 2
        sweeps.report({"loss": 1.0}, step=step, checkpoint=write)
    assert [step for step, _, checkpoint in driver.reports if checkpoint] == [11, 13]


def test_reports_between_rungs_can_wait_where_nobody_judges_them(
    driver: Driver, tmp_path: Path
) -> None:
    begin(driver, tmp_path, judged_between=False)
    for step in range(1, 11):
        sweeps.report({"loss": 1.0}, step=step)
    assert driver.waiting == [2, 4, 5, 6, 7, 8, 10]


def test_no_report_can_wait_where_each_is_judged(driver: Driver) -> None:
    for step in range(1, 11):
        sweeps.report({"loss": 1.0}, step=step)
    assert driver.waiting == []


def test_what_diverged_or_has_a_checkpoint_or_no_objective_cannot_wait(
    driver: Driver, tmp_path: Path
) -> None:
    begin(driver, tmp_path, judged_between=False)
    sweeps.report({"loss": float("nan")}, step=4)
    sweeps.report({"accuracy": 1.0}, step=5)
    place = sweeps.checkpoint_folder(6)
    assert place is not None
    write(place)
    sweeps.report({"loss": 1.0}, step=6, checkpoint=place)
    assert driver.waiting == []


def test_a_checkpoint_of_one_file_is_kept_in_the_folder_of_its_step(
    driver: Driver, tmp_path: Path
) -> None:
    (tmp_path / "last.ckpt").write_text("weights")
    (tmp_path / "other").touch()
    sweeps.report({"loss": 1.0}, step=1, checkpoint=tmp_path / "last.ckpt")
    (_, _, kept) = driver.reports[0]
    assert kept == sweeps.checkpoint_folder(1)
    assert [path.name for path in kept.iterdir()] == ["last.ckpt"]
    assert (kept / "last.ckpt").read_text() == "weights"


def test_a_file_that_is_in_its_place_already_stays(driver: Driver) -> None:
    place = sweeps.checkpoint_folder(1)
    assert place is not None
    place.mkdir(parents=True)
    (place / "last.ckpt").write_text("weights")
    sweeps.report({"loss": 1.0}, step=1, checkpoint=place / "last.ckpt")
    assert (place / "last.ckpt").read_text() == "weights"


def test_a_function_that_writes_no_folder_is_refused(driver: Driver) -> None:
    with pytest.raises(ValueError, match=r"must make .*000001' a folder"):
        sweeps.report({"loss": 1.0}, step=1, checkpoint=lambda folder: folder.touch())


def test_what_an_app_keeps_beside_the_sweeps_checkpoints_stays(
    driver: Driver, tmp_path: Path
) -> None:
    own = tmp_path / "job" / "checkpoints"
    own.mkdir(parents=True)
    (own / "epoch=1.ckpt").write_text("the app's")
    (own / "000001.ckpt").write_text("the app's")
    (own / "best").mkdir()
    for step in (1, 2, 3, 4):
        sweeps.report({"loss": float(step)}, step=step, checkpoint=write)

    assert kept(tmp_path) == ["000001", "000001.ckpt", "000003", "best", "epoch=1.ckpt"]
