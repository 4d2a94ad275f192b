"""A sweep in TensorBoard, written by the real writer and read back by its own reader."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sweeps.journal.events import Started
from sweeps.journal.status import Decision, Status

pytest.importorskip("tensorboard")

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_accumulator import (
    EventAccumulator as PagesAccumulator,
)
from tensorboard.plugins.hparams import metadata as hparams
from tensorboard.plugins.hparams import plugin_data_pb2

from sweeps.tracking.to_tensorboard import TensorBoard

Show = Callable[..., Any]


@pytest.fixture
def board(tmp_path: Path) -> Callable[[], TensorBoard]:
    """A driver's tracker; each one's clock is a minute on."""
    minutes: Iterator[int] = iter(range(100))

    def make() -> TensorBoard:
        now = 1_700_000_000.0 + 60 * next(minutes)
        return TensorBoard(tmp_path / "board", clock=lambda: now)

    return make


@pytest.fixture
def read(tmp_path: Path) -> Callable[[str], EventAccumulator]:
    return lambda run: EventAccumulator(str(tmp_path / "board" / run)).Reload()


def curve(of: EventAccumulator, tag: str) -> list[tuple[int, float]]:
    return [(event.step, round(event.value, 5)) for event in of.Scalars(tag)]


def session(of: EventAccumulator, tag: str) -> Any:
    content = of.SummaryMetadata(tag).plugin_data.content
    return plugin_data_pb2.HParamsPluginData.FromString(content)


def test_a_trial_is_a_folder_of_scalars(
    make_sweep: Any, show: Show, board: Any, read: Any, tmp_path: Path
) -> None:
    made = make_sweep()
    made.ask(0, lr=0.1)
    made.report(0, 5, 0.5, **{"val/loss": 1.5})
    made.report(0, 10, 0.75, **{"val/loss": math.nan})
    made.end(0, Status.COMPLETE, 0.75)
    made.close()
    show(made, board())
    trial = read("trial-0")
    assert curve(trial, "val_accuracy") == [(5, 0.5), (10, 0.75)]
    assert [math.isnan(event.value) for event in trial.Scalars("val/loss")] == [False, True]
    assert curve(trial, "trial/val_accuracy") == [(10, 0.75)]
    assert trial.Scalars("val_accuracy")[0].wall_time == made.events[3].time
    assert {path.name for path in (tmp_path / "board").iterdir()} == {"sweep", "trial-0"}
    (text,) = read("sweep").Tensors("sweep")
    assert b"| searcher | random |" in text.tensor_proto.string_val[0]


def test_the_hparams_tab_gets_parameters_with_their_types(
    make_sweep: Any, show: Show, board: Any, read: Any
) -> None:
    space = {"lr": "interval(0,1)", "model": "choice(mlp,cnn)", "bn": "choice(true,false)"}
    made = make_sweep(space)
    made.ask(0, lr=0.5, model="mlp", bn=True)
    made.end(0, Status.COMPLETE, 0.75, metrics={"val_accuracy": 0.75})
    made.ask(1, lr=0.5, model="cnn", bn=False)
    made.end(1, Status.FAILED, error="ValueError: bad")
    show(made, board())
    trial = read("trial-0")
    start = session(trial, hparams.SESSION_START_INFO_TAG).session_start_info
    assert start.hparams["lr"].number_value == 0.5
    assert start.hparams["model"].string_value == "mlp"
    assert start.hparams["bn"].bool_value is True
    assert session(trial, hparams.SESSION_END_INFO_TAG).session_end_info.status == 1  # success
    assert curve(trial, "val_accuracy") == curve(trial, "trial/val_accuracy") == [(0, 0.75)]
    failed = read("trial-1")
    assert session(failed, hparams.SESSION_END_INFO_TAG).session_end_info.status == 2  # failure
    assert b"bad" in failed.Tensors("trial/error")[0].tensor_proto.string_val[0]


def test_a_step_that_is_trained_again_takes_the_place_of_the_first(
    make_sweep: Any, show: Show, board: Any, read: Any, tmp_path: Path
) -> None:
    made = make_sweep()
    made.ask(0, lr=0.1)
    for step, value in ((1, 0.1), (2, 0.2), (3, 0.3), (2, 0.25), (3, 0.35), (4, 0.4)):
        made.report(0, step, value)
    show(made, board())
    assert curve(read("trial-0"), "val_accuracy") == [(1, 0.1), (2, 0.25), (3, 0.35), (4, 0.4)]
    pages = PagesAccumulator(str(tmp_path / "board" / "trial-0"))  # what its pages are made from
    assert [event.step for event in pages.Reload().Tensors("val_accuracy")] == [1, 2, 3, 4]


def test_a_promoted_trial_goes_on_in_the_same_run(
    make_sweep: Any, show: Show, board: Any, read: Any
) -> None:
    made = make_sweep()
    made.ask(0, lr=0.1)
    made.report(0, 1, 0.1, Decision.PAUSE)
    show(made, board())
    made.opened_again()
    made.promote(0)
    made.report(0, 2, 0.2)
    made.end(0, Status.STOPPED, 0.2)
    show(made, board())
    trial = read("trial-0")
    assert curve(trial, "val_accuracy") == [(1, 0.1), (2, 0.2)]
    assert session(trial, hparams.SESSION_START_INFO_TAG).session_start_info.hparams


def test_what_is_sent_twice_is_there_once(
    make_sweep: Any, show: Show, board: Any, read: Any
) -> None:
    made = make_sweep()
    made.ask(0, lr=0.1)
    made.report(0, 1, 0.1)
    show(made, board(), ledger="one.jsonl")
    ledger = made.folder.path.parent / "lost.jsonl"
    ledger.write_text('[0,0,"running","trial-0"]\n')  # all but what came last was noted
    made.opened_again()
    made.add(Started, trial=0, run=2, reason="resume", checkpoint=None)
    made.report(0, 2, 0.2)
    show(made, board(), ledger="lost.jsonl")
    assert curve(read("trial-0"), "val_accuracy") == [(1, 0.1), (2, 0.2)]


def test_a_half_written_file_hides_nothing_of_the_next_driver(
    make_sweep: Any, show: Show, board: Any, read: Any, tmp_path: Path
) -> None:
    made = make_sweep()
    made.ask(0, lr=0.1)
    made.report(0, 1, 0.1)
    show(made, board())
    (file,) = (tmp_path / "board" / "trial-0").iterdir()
    file.write_bytes(file.read_bytes()[:-7])  # the machine went down
    made.opened_again()
    made.add(Started, trial=0, run=2, reason="resume", checkpoint=None)
    made.report(0, 2, 0.2)
    show(made, board())
    assert (2, 0.2) in curve(read("trial-0"), "val_accuracy")
