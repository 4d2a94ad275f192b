"""The app's own trackers in a trial: which run is whose, and how it ends. Libraries are faked."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from sweeps.session import TrialEnded
from sweeps.worker.slate import when_imported
from sweeps.worker.trackers import to_tensorboard, to_wandb, tracked
from sweeps.worker.trackers.segment import AppRun, current, identity
from sweeps.worker.trackers.to_wandb import _wait_for_a_name

RUN = AppRun.of_trial("digits-18f", "digits", 3)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No tracker's variable from outside; what a segment sets goes with the test."""
    with monkeypatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("WANDB_", "MLFLOW_"))]:
            patch.delenv(name)
        before = dict(os.environ)
        yield
        for name in os.environ.keys() - before.keys():
            del os.environ[name]


# Which run


def test_wandb_finds_run_group_name_and_folder_in_the_environment(tmp_path: Path) -> None:
    with tracked(RUN, tmp_path):
        assert {k: v for k, v in os.environ.items() if k.startswith("WANDB_")} == {
            "WANDB_RUN_ID": "digits-18f-trial-3",
            "WANDB_RESUME": "allow",
            "WANDB_RUN_GROUP": "digits",
            "WANDB_NAME": "trial 3",
            "WANDB_TAGS": "caviar",
            "WANDB_DIR": str(tmp_path),
        }


def test_what_the_user_has_set_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_RUN_GROUP", "mine")
    monkeypatch.setenv("WANDB_MODE", "offline")
    with tracked(RUN, tmp_path):
        assert os.environ["WANDB_RUN_GROUP"] == "mine"
        assert os.environ["WANDB_MODE"] == "offline"
        assert os.environ["WANDB_RUN_ID"] == RUN.id


def test_an_identity_is_valid_whatever_the_sweep_is_called() -> None:
    sweep = identity("lab / über:nacht " + "x" * 300, 1795310369.077)
    run = AppRun.of_trial(sweep, "lab", 12345, "rung-2")
    assert len(run.id) <= 64
    assert not set(run.id) & set("/\\#?%: ")
    assert run.name == "trial 12345 rung 2"


def test_sweeps_of_one_name_trials_and_rungs_have_runs_of_their_own() -> None:
    sweeps = identity("s", 1.0), identity("s", 1.001)
    runs = [AppRun.of_trial(s, "s", n, *p) for s in sweeps for n in (1, 2) for p in ((), ("r-1",))]
    assert len({run.id for run in runs}) == 8


def test_a_module_is_met_now_or_when_it_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tracker_to_come.py").write_text("value = 1")
    monkeypatch.syspath_prepend(tmp_path)
    met: list[tuple[str, int]] = []
    when_imported("tracker_to_come", lambda module: met.append(("later", module.value)))
    assert not met
    __import__("tracker_to_come")
    when_imported("tracker_to_come", lambda module: met.append(("now", module.value)))
    assert met == [("later", 1), ("now", 1)]
    del sys.modules["tracker_to_come"]


# W&B


class WandbRun:
    """As W&B's, as far as it matters here."""

    def __init__(self, folder: Path) -> None:
        self.id = os.environ.get("WANDB_RUN_ID", "none")
        self.exits: list[int | None] = []
        self.logged: list[tuple[dict[str, Any], int | None]] = []
        self.offline, self.disabled = True, False
        self.settings = SimpleNamespace(wandb_dir=str(folder / "wandb"))

    def __enter__(self) -> WandbRun:
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        self.finish(0 if kind is None else 1)

    def finish(self, exit_code: int | None = None) -> None:
        if not self.exits:
            self.exits.append(exit_code)

    def log(self, data: dict[str, Any], step: int | None = None) -> None:
        self.logged.append((data, step))


@dataclass
class Wandb:
    """A library that was taught."""

    folder: Path
    runs: list[WandbRun] = field(default_factory=list)
    options: list[dict[str, Any]] = field(default_factory=list)
    torn_down: int = 0

    def __post_init__(self) -> None:
        kind: Any = type("Run", (WandbRun,), {"__exit__": WandbRun.__exit__})
        self.sdk = SimpleNamespace(wandb_run=SimpleNamespace(Run=kind))
        self.init: Callable[..., Any] = self._init

    def _init(self, **options: Any) -> WandbRun:
        self.options.append(options)
        if not options.get("reuse"):
            self.runs.append(self.sdk.wandb_run.Run(self.folder))
        return self.runs[-1]

    def teardown(self) -> None:
        self.torn_down += 1


@pytest.fixture
def wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Wandb:
    made = Wandb(tmp_path)
    to_wandb.teach(made)
    monkeypatch.setitem(sys.modules, "wandb", made)
    return made


def test_a_run_that_is_left_open_is_finished(wandb: Wandb, tmp_path: Path) -> None:
    with tracked(RUN, tmp_path):
        wandb.init()
        assert current() is not None
    assert current() is None
    assert wandb.runs[0].exits == [0]


@pytest.mark.parametrize(
    ("error", "code"), [(TrialEnded("stop"), 0), (ValueError(), 1), (SystemExit(3), 1)]
)
@pytest.mark.parametrize("with_block", [True, False])
def test_a_pause_is_no_failure_and_a_failure_is_one(
    wandb: Wandb, tmp_path: Path, error: BaseException, code: int, with_block: bool
) -> None:
    def task() -> None:
        if with_block:
            with wandb.init():
                raise error
        wandb.init()
        raise error

    with pytest.raises(type(error)), tracked(RUN, tmp_path):
        task()
    assert wandb.runs[0].exits == [code]


def test_wandb_reads_the_environment_anew_in_each_segment(wandb: Wandb, tmp_path: Path) -> None:
    for _ in range(2):
        with tracked(RUN, tmp_path):
            wandb.init()
    assert wandb.torn_down == 2


def test_a_session_that_ends_badly_fails_no_later_trial(
    wandb: Wandb, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wandb.teardown = lambda: sys.exit(1)  # type: ignore[method-assign]
    with tracked(RUN, tmp_path):
        wandb.init()
    assert wandb.runs[0].exits == [0]
    assert "last session did not end" in caplog.text


def test_outside_a_segment_nothing_is_changed(wandb: Wandb) -> None:
    wandb.init(mode="online")
    assert wandb.runs[0].exits == []
    assert wandb.options == [{"mode": "online"}]


def test_only_the_first_rank_has_a_run(wandb: Wandb, tmp_path: Path) -> None:
    with tracked(None, tmp_path, rank=1):
        assert "WANDB_RUN_ID" not in os.environ
        wandb.init(mode="online")
    assert wandb.options == [{"mode": "disabled"}]


def test_a_run_that_is_asked_for_twice_goes_on_once(
    wandb: Wandb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(to_wandb, "last_step", lambda file: 6)
    place = tmp_path / "1" / "wandb" / f"offline-run-20260101_000000-{RUN.id}"
    place.mkdir(parents=True)
    (place / f"run-{RUN.id}.wandb").touch()
    with tracked(RUN, tmp_path / "2"):
        wandb.init()
        wandb.init(reuse=True)
    assert wandb.runs[0].logged == [({}, 7)]
    assert wandb.runs[0].exits == [0]


def test_what_cannot_be_ended_ends_no_trial_and_is_told(
    wandb: Wandb, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def finish(exit_code: int | None = None) -> None:
        raise ConnectionError("away")

    with tracked(RUN, tmp_path):
        wandb.init().finish = finish
        wandb.init()
    assert "Run could not be ended" in caplog.text
    assert wandb.runs[1].exits == [0]
    assert current() is None


def test_a_project_folder_called_wandb_is_not_taught(tmp_path: Path) -> None:
    folder = ModuleType("wandb")
    to_wandb.teach(folder)
    assert not hasattr(folder, "init")


def test_two_segments_do_not_begin_in_one_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []

    class Now:
        @staticmethod
        def now() -> Any:
            from datetime import datetime

            return datetime(2026, 1, 2, 3, 4, 5)

    monkeypatch.setattr(to_wandb, "datetime", Now)
    monkeypatch.setattr(to_wandb.time, "sleep", slept.append)
    _wait_for_a_name(tmp_path)
    assert not slept
    (tmp_path / "offline-run-20260102_030405-digits-18f-trial-3").mkdir()
    _wait_for_a_name(tmp_path)
    assert len(slept) == 1
    assert 0 < slept[0] <= 1


# TensorBoard


class SummaryWriter:
    """As torch's and tensorboardX's."""

    def __init__(self, log_dir: str | None = None, comment: str = "") -> None:
        self.log_dir, self.closed = log_dir, False

    def close(self) -> None:
        self.closed = True


def test_a_writer_without_a_folder_writes_into_the_jobs(tmp_path: Path) -> None:
    kind = type("SummaryWriter", (SummaryWriter,), {"__init__": SummaryWriter.__init__})
    to_tensorboard.teach(SimpleNamespace(SummaryWriter=kind))
    assert kind().log_dir is None
    with tracked(RUN, tmp_path):
        made = [kind(), kind(None, "x"), kind(log_dir=None), kind("mine"), kind(log_dir="mine")]
    ours = str(tmp_path / "tensorboard")
    assert [writer.log_dir for writer in made] == [ours, ours, ours, "mine", "mine"]
    assert all(writer.closed for writer in made)
    with tracked(None, tmp_path, rank=1):
        assert kind().log_dir == str(tmp_path / "tensorboard.1")
