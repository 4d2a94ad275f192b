"""The driver's side of tracking: a tracker's process may be slow, silent or dead."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sweeps.journal.events import Reported
from sweeps.journal.objective import Objective
from sweeps.journal.status import Decision
from sweeps.tracking import feeds
from sweeps.tracking.feeds import Feed
from sweeps.tracking.task import Task

TASK = Task(
    name="mlflow",
    options={},
    ledger="ledger",
    folder="/nowhere",
    url=None,
    history=0,
    objective=Objective(),
)
REPORT = Reported(
    trial=0,
    run=1,
    step=1,
    metrics={"loss": 0.5},
    value=0.5,
    checkpoint=None,
    decision=Decision.CONTINUE,
    time=1_700_000_000.0,
)

Start = Callable[[str], Feed]


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def start(tmp_path: Path, told: list[str], monkeypatch: pytest.MonkeyPatch) -> Start:
    """A feed whose process runs a script in the place of a tracker."""

    def begin(script: str) -> Feed:
        monkeypatch.setattr(feeds, "_COMMAND", [sys.executable, "-S", "-c", script])
        return Feed(TASK, tmp_path / "tracking" / "mlflow.log", told.append)

    return begin


def finish(feed: Feed, patience: float = 20.0) -> None:
    feed.finish(patience=patience, say=lambda _: None)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_every_event_arrives_in_order(start: Start, tmp_path: Path, told: list[str]) -> None:
    kept = tmp_path / "kept"
    feed = start(
        "import sys; lines = sys.stdin.readlines()\n"
        f"open({str(kept)!r}, 'w').writelines(lines)\n"
        'print(\'{"trials": 0, "points": 0}\')'
    )
    for _ in range(100):
        feed.put(REPORT)
    finish(feed)
    task, *events = kept.read_text().splitlines()
    assert Task.from_json(task) == TASK
    assert len(events) == 100
    assert told == []


def test_a_process_that_reads_nothing_holds_no_event_up(start: Start, told: list[str]) -> None:
    feed = start("import time; time.sleep(600)")
    began = time.monotonic()
    for _ in range(5000):  # far more than a pipe holds
        feed.put(REPORT)
    assert time.monotonic() - began < 1
    finish(feed, patience=0.2)
    assert time.monotonic() - began < 10
    assert "mlflow was not sent everything; caviar resume sends the rest" in told[0]


def test_a_process_that_dies_is_told_once_and_passed_over(
    start: Start, told: list[str], tmp_path: Path
) -> None:
    feed = start("import sys; sys.exit('no such thing')")
    wait_for(lambda: bool(told))
    for _ in range(10):
        feed.put(REPORT)
    assert feed._queue.empty()
    assert "has ended (code 1)" in told[0]
    assert "no such thing" in (tmp_path / "tracking" / "mlflow.log").read_text()
    finish(feed)


def test_what_fails_is_told_once_and_again_when_all_has_arrived(
    start: Start, told: list[str]
) -> None:
    feed = start(
        "import sys\n"
        'for _ in range(3): print(\'{"failed": "ConnectionError: away"}\', flush=True)\n'
        "sys.stdin.read()\n"
        'print(\'{"trials": 0, "points": 0}\')'
    )
    wait_for(lambda: bool(told))
    finish(feed)
    assert len(told) == 2
    assert "cannot be sent anything (ConnectionError: away); the sweep goes on" in told[0]
    assert told[1] == "mlflow was sent all that it had missed"


def test_what_is_missing_at_the_end_is_counted(start: Start, told: list[str]) -> None:
    feed = start('import sys; sys.stdin.read(); print(\'{"trials": 3, "points": 12}\')')
    finish(feed)
    assert "12 reports of 3 trials are missing" in told[0]


def test_one_that_goes_on_is_waited_for(start: Start, told: list[str]) -> None:
    feed = start(
        "import sys, time; sys.stdin.read()\n"
        "for _ in range(8): print('{\"goes_on\": true}', flush=True); time.sleep(0.1)\n"
        'print(\'{"trials": 0, "points": 0}\')'
    )
    finish(feed, patience=0.5)
    assert told == []


def test_a_trackers_library_is_imported_by_its_own_module_alone() -> None:
    root = Path(__file__).parent.parent
    importers = {
        path.relative_to(root).as_posix()
        for folder in ("sweeps", "cluster", "hydra_plugins")
        for path in (root / folder).rglob("*.py")
        if re.search(r"^ *(import|from) (tensorboard|mlflow|wandb)\b", path.read_text(), re.M)
    }
    names = ("tensorboard", "mlflow", "wandb")
    assert importers == {f"sweeps/tracking/to_{name}.py" for name in names}
