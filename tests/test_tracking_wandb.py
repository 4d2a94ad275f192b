"""A sweep in Weights & Biases, offline; what it wrote is read back from its own files."""

from __future__ import annotations

import json
import math
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sweeps.journal.events import Started
from sweeps.journal.status import Decision, Status

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # W&B's own
]

Show = Callable[..., Any]
_BLOCK, _HEADER = 32768, 7


def records(path: Path) -> Iterator[Any]:
    """The messages of a .wandb file: LevelDB's log format behind seven bytes of W&B's own."""
    from wandb.proto import wandb_internal_pb2

    data, place, parts = path.read_bytes(), _HEADER, b""
    while place + _HEADER <= len(data):
        room = _BLOCK - place % _BLOCK
        if room < _HEADER:
            place += room
            continue
        _, size, kind = struct.unpack_from("<IHB", data, place)
        parts += data[place + _HEADER : place + _HEADER + size]
        place += _HEADER + size
        if kind in (1, 4):  # whole, or its last part
            yield wandb_internal_pb2.Record.FromString(parts)
            parts = b""


class Offline:
    """All that W&B keeps below a folder, by run."""

    def __init__(self, folder: Path) -> None:
        self.runs: dict[str, Any] = {}
        self.history: dict[str, list[dict[str, Any]]] = {}
        self.summary: dict[str, dict[str, Any]] = {}
        self.exits: dict[str, int] = {}
        for path in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
            _wait_for_its_end(path)
            self._read(path)

    def _read(self, path: Path) -> None:
        name = path.stem.removeprefix("run-")
        for record in records(path):
            match record.WhichOneof("record_type"):
                case "run":
                    self.runs.setdefault(name, record.run)
                case "history":
                    self.history.setdefault(name, []).append(_items(record.history))
                case "summary":
                    self.summary.setdefault(name, {}).update(_items(record.summary, "update"))
                case "exit":
                    self.exits[name] = record.exit.exit_code

    def of(self, trial: int) -> str:
        (name,) = [run for run in self.runs if run.endswith(f"-{trial}")]
        return name

    def curve(self, trial: int, metric: str) -> list[tuple[int, Any]]:
        rows = self.history.get(self.of(trial), [])
        return [(row["_step"], row[metric]) for row in rows if metric in row]


def _wait_for_its_end(path: Path) -> None:
    """W&B's own process writes it, and may be a moment behind."""
    deadline = time.monotonic() + 30
    while not any(record.WhichOneof("record_type") == "exit" for record in records(path)):
        assert time.monotonic() < deadline, f"{path} has no end"
        time.sleep(0.05)


def _items(message: Any, field: str = "item") -> dict[str, Any]:
    items = getattr(message, field)
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


@pytest.fixture
def tracker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    from sweeps.tracking.to_wandb import Wandb

    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    folder = tmp_path / "w"
    return lambda: Wandb(project="p", entity=None, mode="offline", dir=folder, tags=["night"])


@pytest.fixture
def read(tmp_path: Path) -> Callable[[], Offline]:
    return lambda: Offline(tmp_path / "w")


def test_a_trial_is_a_run_of_the_sweeps_group(
    make_sweep: Any, show: Show, tracker: Any, read: Any
) -> None:
    made = make_sweep({"lr": "interval(0,1)", "model": "choice(mlp,cnn)"})
    made.ask(0, lr=0.5, model="mlp")
    made.report(0, 5, 0.5, **{"val/loss": 1.5})
    made.report(0, 10, 0.75, **{"val/loss": math.nan})
    made.end(0, Status.COMPLETE, 0.75, metrics={"size": 7.0})
    made.close()
    show(made, tracker())
    found = read()
    run = found.runs[found.of(0)]
    assert (run.display_name, run.run_group, run.project) == ("trial 0", "sweep", "p")
    assert list(run.tags) == ["night"]
    config = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert (config["lr"], config["model"]) == (0.5, "mlp")
    assert config["sweep"]["searcher"] == "random"
    assert found.curve(0, "val_accuracy") == [(5, 0.5), (10, 0.75)]
    assert [math.isnan(float(value)) for _, value in found.curve(0, "val/loss")] == [False, True]
    summary = found.summary[found.of(0)]
    assert (summary["size"], summary["trial/val_accuracy"]) == (7.0, 0.75)
    assert (summary["trial/status"], summary["trial/best_step"]) == ("complete", 10)
    assert found.exits == {found.of(0): 0}


def test_what_went_wrong_is_a_failed_run(
    make_sweep: Any, show: Show, tracker: Any, read: Any
) -> None:
    made = make_sweep()
    for trial, status in enumerate((Status.STOPPED, Status.FAILED)):
        made.ask(trial, lr=0.1)
        made.end(trial, status, 0.5, error="ValueError: x")
    made.close()
    show(made, tracker())
    found = read()
    assert {found.of(0): 0, found.of(1): 1} == found.exits
    assert found.summary[found.of(0)]["trial/status"] == "stopped"
    assert found.summary[found.of(1)]["trial/error"] == "ValueError: x"


def test_a_resumed_trial_goes_on_in_its_run(
    make_sweep: Any, show: Show, tracker: Any, read: Any
) -> None:
    made = make_sweep()
    made.ask(0, lr=0.1)
    made.report(0, 1, 0.1)
    made.report(0, 2, 0.2, Decision.PAUSE)
    made.close("interrupted")
    show(made, tracker())
    made.opened_again()
    made.add(Started, trial=0, run=2, reason="promote", checkpoint=None)
    made.report(0, 2, 0.25)
    made.report(0, 3, 0.3)
    made.end(0, Status.COMPLETE, 0.3)
    made.close()
    show(made, tracker())
    assert read().curve(0, "val_accuracy") == [(1, 0.1), (2, 0.2), (3, 0.3)]


def test_only_so_many_runs_are_open_at_once(
    make_sweep: Any, show: Show, tracker: Any, read: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeps.tracking.to_wandb._OPEN", 2)
    made, one = make_sweep(), tracker()
    for trial in range(4):
        made.ask(trial, lr=0.1)
        made.report(trial, 1, 0.1, Decision.PAUSE)
    made.promote(0)
    made.report(0, 2, 0.2)
    made.close()
    show(made, one)
    assert not one._runs
    found = read()
    assert found.curve(0, "val_accuracy") == [(1, 0.1), (2, 0.2)]
    assert len(found.exits) == 4
