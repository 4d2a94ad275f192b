from __future__ import annotations

import json
import math
import os
import time
from pathlib import Path

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages.journal import JournalFileBackend, JournalStorage
from optuna.trial import TrialState

from sweeps.errors import SweepError
from sweeps.journal.events import (
    Asked,
    Closed,
    Created,
    Ended,
    Event,
    Known,
    Lost,
    Opened,
    Reported,
    Started,
)
from sweeps.journal.file import Journal, read_journal
from sweeps.journal.status import Decision, Status

DISTRIBUTIONS = {
    "lr": FloatDistribution(1e-5, 1.0, log=True),
    "layers": IntDistribution(1, 9, step=2),
    "model": CategoricalDistribution(["mlp", "convnet", None, True, 3]),
}


def asked(trial: int, lr: float = 0.1 + 0.2) -> Asked:
    params = {"lr": lr, "layers": 5, "model": "convnet"}
    return Asked(trial=trial, run=1, params=params, distributions=DISTRIBUTIONS, time=2.5)


def reported(
    trial: int, step: int, value: float | None, decision: Decision = Decision.CONTINUE
) -> Reported:
    metrics = {"time": 1e-300} if value is None else {"loss": value, "other": 0.1}
    return Reported(
        trial=trial,
        run=1,
        step=step,
        metrics=metrics,
        value=value,
        checkpoint=f"trials/{trial}/1/checkpoints/{step:06d}" if step % 2 else None,
        decision=decision,
        time=1e9 + 1 / 3,
    )


def ended(trial: int, status: Status, value: float | None = None, **fields: str) -> Ended:
    given = {"metrics": {"acc": 0.5}, "error": None, "cause": None, **fields}
    return Ended(trial=trial, status=status, value=value, time=7.0, **given)


EVENTS: list[Event] = [
    Created(name="näm e'\"\n", modes=("min",), space={"parameters": []}, time=0.0),
    Known(
        trials=[{"params": {"lr": 0.1}, "status": "stopped", "values": [], "reports": [[1, 0.5]]}],
        time=0.5,
    ),
    Opened(run=1, time=1.5),
    asked(0),
    reported(0, 1, 0.5, Decision.PAUSE),
    Started(trial=0, run=1, reason="promote", checkpoint="trials/0/1", time=3.0),
    reported(0, 2, None),
    reported(0, 3, 0.25, Decision.COMPLETE),
    ended(0, Status.COMPLETE, 0.25),
    asked(1, 1e-5),
    Lost(trial=1, reason="node died: «no route»", time=4.0),
    Started(trial=1, run=1, reason="retry", checkpoint=None, time=4.5),
    reported(1, 1, math.inf, Decision.STOP),
    ended(1, Status.DIVERGED, cause="diverged"),
    asked(2),
    reported(2, 1, 0.9, Decision.STOP),
    ended(2, Status.STOPPED, 0.9),
    asked(3),
    ended(3, Status.FAILED, error="Traceback:\n  ...\nValueError: \u2028", cause="error"),
    asked(4),
    reported(4, 1, 0.7, Decision.PAUSE),
    Closed(reason="done", time=9.0),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / 'it\'s a "sweep"\n'
    folder.mkdir()
    return folder / "journal.log"


@pytest.fixture
def full(path: Path) -> Path:
    Journal(path).append(*EVENTS)
    return path


@pytest.mark.parametrize("event", EVENTS, ids=lambda e: type(e).__name__)
def test_an_event_comes_back_as_it_was(path: Path, event: Event) -> None:
    Journal(path).append(event)
    assert list(read_journal(path)) == [event]


def test_nan_and_infinite_values_come_back(path: Path) -> None:
    values = [math.nan, math.inf, -math.inf]
    Journal(path).append(*(reported(0, step, v) for step, v in enumerate(values)))
    back = [event for event in read_journal(path) if isinstance(event, Reported)]
    assert str([e.value for e in back]) == "[nan, inf, -inf]"
    assert str([e.metrics["loss"] for e in back]) == "[nan, inf, -inf]"


def test_a_second_writer_goes_on_where_the_first_left(path: Path) -> None:
    for event in EVENTS:
        Journal(path).append(event)
    assert list(read_journal(path)) == EVENTS


def test_optuna_reads_the_file_as_its_own(full: Path) -> None:
    storage = JournalStorage(JournalFileBackend(str(full)))
    study = optuna.load_study(study_name=None, storage=storage)
    assert study.direction is optuna.study.StudyDirection.MINIMIZE
    trials = study.trials
    assert [t.state for t in trials] == [
        TrialState.COMPLETE,
        TrialState.PRUNED,
        TrialState.PRUNED,
        TrialState.FAIL,
        TrialState.RUNNING,
    ]
    assert trials[0].params == {"lr": 0.1 + 0.2, "layers": 5, "model": "convnet"}
    assert trials[0].distributions == DISTRIBUTIONS
    assert trials[0].intermediate_values == {1: 0.5, 3: 0.25}
    assert trials[0].value == study.best_value == 0.25
    assert trials[0].user_attrs == {"report:2": {"time": 1e-300}}
    assert trials[1].intermediate_values == {1: math.inf}
    assert trials[2].intermediate_values == {1: 0.9}


def test_a_torn_last_record_is_lost_alone_wherever_it_tore(path: Path) -> None:
    journal = Journal(path)
    journal.append(*EVENTS[:3])
    whole = path.stat().st_size
    journal.append(EVENTS[3])
    data = path.read_bytes()
    for cut in range(whole, len(data)):
        path.write_bytes(data[:cut])
        assert list(read_journal(path)) == EVENTS[:3]
        Journal(path).append(EVENTS[4])
        assert list(read_journal(path)) == [*EVENTS[:3], EVENTS[4]]


def test_a_torn_first_record_leaves_an_empty_journal(path: Path) -> None:
    path.write_bytes(b'{"op_code":0,"study')
    Journal(path)
    assert list(read_journal(path)) == []
    assert path.read_bytes() == b""


@pytest.mark.parametrize(
    "damage", [b"\x00\xff\n", b"{}\n", b"[1]\n", b'{"op_code":2,"user_attr":5}\n', b"\n"]
)
def test_a_damaged_line_is_named_and_nothing_is_skipped(full: Path, damage: bytes) -> None:
    lines = full.read_bytes().splitlines(keepends=True)
    lines[4] = damage
    full.write_bytes(b"".join(lines))
    events = read_journal(full)
    assert [next(events) for _ in range(4)] == EVENTS[:4]
    with pytest.raises(SweepError, match="line 5, cannot be read"):
        next(events)


def test_a_lock_that_a_killed_writer_left_costs_nothing(full: Path) -> None:
    os.symlink(full, f"{full}.lock")
    begin = time.monotonic()
    Journal(full).append(EVENTS[-1])
    assert time.monotonic() - begin < 5
    assert [p.name for p in full.parent.iterdir()] == ["journal.log"]


def test_an_append_costs_one_fsync(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(path)
    synced, fsync = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(fsync(descriptor)))
    journal.append(EVENTS[2])
    assert len(synced) == 1
    journal.append(*EVENTS)
    assert len(synced) == 2


def test_a_disk_that_refuses_half_a_line_leaves_a_journal_that_can_be_read(
    full: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_half(backend: JournalFileBackend, logs: list[dict[str, object]]) -> None:
        with full.open("ab") as file:
            file.write(json.dumps(logs[0]).encode()[:20])
        raise OSError(28, "No space left on device")

    journal = Journal(full)
    with monkeypatch.context() as patch:
        patch.setattr(JournalFileBackend, "append_logs", write_half)
        with pytest.raises(SweepError, match="No space left on device"):
            journal.append(EVENTS[2])
    with pytest.raises(SweepError, match="No space left on device"):
        journal.append(EVENTS[-1])  # it would rest on the one that is not there
    assert list(read_journal(full)) == EVENTS
    Journal(full).append(EVENTS[-1])
    assert list(read_journal(full)) == [*EVENTS, EVENTS[-1]]


def test_a_journal_of_a_newer_format_is_refused(full: Path) -> None:
    full.write_text(full.read_text().replace('"format":1', '"format":2'))
    with pytest.raises(SweepError, match=r"format 2, written by a newer caviar.*upgrade"):
        list(read_journal(full))
