"""The list of sweeps, and what is kept of each."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cluster.bucket import Bucket
from sweeps.errors import SweepError
from sweeps.journal.events import Opened
from sweeps.journal.segments import BucketJournal
from sweeps.journal.status import Status
from sweeps.results import load_sweep
from sweeps.storage.folder import Record
from sweeps.storage.lease import Lease
from sweeps.ui.keeping import Keeper
from sweeps.ui.live import LiveSweep
from sweeps.ui.shelf import Row, Shelf


@pytest.fixture
def made(make_sweep: Callable[..., Any]) -> Any:
    sweep = make_sweep()
    sweep.ask(0, lr=0.1)
    sweep.report(0, 1, 0.5)
    return sweep


def rows(shelf: Shelf) -> dict[str, Row]:
    """As they are now, whatever the pace."""
    shelf._next_look = 0.0
    return {row.name: row for row in shelf.rows()}


def test_a_row_tells_progress_and_the_best_value(made: Any, tmp_path: Path) -> None:
    made.end(0, Status.COMPLETE, 0.5)
    made.ask(1, lr=0.2)
    made.end(1, Status.FAILED, error="ValueError: x")
    row = rows(Shelf(tmp_path))["sweep"]
    assert (row.done, row.total, row.failed, row.best) == (2, 20, 1, 0.5)
    assert row.share == 0.1
    assert row.last == made.now


def test_a_sweep_runs_while_its_driver_lives(made: Any, tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    with Lease(made.folder.lease):
        assert rows(shelf)["sweep"].state == "running"
    assert rows(shelf)["sweep"].state == "no driver"
    made.close("interrupted")
    assert rows(shelf)["sweep"].state == "interrupted"
    made.add(Opened, run=2)
    made.close("done")
    assert rows(shelf)["sweep"].state == "done"


def test_a_broken_sweep_is_a_row_that_says_what_is_wrong(
    make_sweep: Callable[..., Any], tmp_path: Path
) -> None:
    for name in ("whole", "no-journal", "no-record", "damaged", "not-yaml", "out-of-order"):
        make_sweep(name=name)
    (tmp_path / "no-journal" / "journal.log").unlink()
    (tmp_path / "no-record" / "sweep.yaml").unlink()
    (tmp_path / "damaged" / "journal.log").write_text("nonsense\n")
    (tmp_path / "not-yaml" / "sweep.yaml").write_text(": [")
    (tmp_path / "a-file").write_text("")
    journal = tmp_path / "out-of-order" / "journal.log"
    lines = journal.read_text().splitlines()
    journal.write_text("\n".join(lines[1:]) + "\n" + '{"op_code": 6, "trial_id": 9}\n')
    found = rows(Shelf(tmp_path))
    assert found["no-journal"].trouble == "journal.log is missing"
    assert found["no-record"].trouble == "sweep.yaml is missing"
    assert "line 1, cannot be read" in found["damaged"].trouble
    assert "sweep.yaml cannot be read" in found["not-yaml"].trouble
    assert "cannot be read" in found["out-of-order"].trouble
    assert found["whole"].state == "no driver"
    assert {row.state for name, row in found.items() if name != "whole"} == {"unreadable"}


def test_a_broken_sweep_that_is_mended_is_read_again(made: Any, tmp_path: Path) -> None:
    text = made.folder.journal.read_text()
    made.folder.journal.write_text("nonsense\n")
    shelf = Shelf(tmp_path)
    assert rows(shelf)["sweep"].state == "unreadable"
    made.folder.journal.write_text(text)
    assert rows(shelf)["sweep"].best == 0.5


def test_of_a_sweep_that_nobody_drives_or_views_only_its_row_is_kept(
    made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made.close()
    shelf = Shelf(tmp_path)
    rows(shelf)
    assert shelf._kept["sweep"].live is None
    monkeypatch.setattr(LiveSweep, "reading", None)  # it has not changed: nothing is read again
    assert rows(shelf)["sweep"].best == 0.5


def test_a_deleted_sweep_leaves_the_list(made: Any, tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    assert "sweep" in rows(shelf)
    made.folder.path.rename(tmp_path / "renamed")
    assert list(rows(shelf)) == ["renamed"]


def test_a_look_is_not_taken_more_often_than_it_may_cost(made: Any, tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    first = shelf.rows()
    shelf._next_look = time.monotonic() + 60
    made.close()
    assert shelf.rows() is first


def test_sweeps_of_a_bucket_are_listed_and_followed(made: Any, bucket: str) -> None:
    place = Bucket.parse(bucket) / "s"
    place.put("sweep.yaml", made.folder.sweep_yaml.read_bytes())
    journal = BucketJournal(place / "journal", check=lambda: None)
    journal.append(*made.events)
    shelf = Shelf(Bucket.parse(bucket))
    row = rows(shelf)["s"]
    assert (row.state, row.best) == ("no driver", 0.5)
    made.report(0, 2, 0.7)
    journal.append(made.events[-1])
    assert rows(shelf)["s"].best == 0.7


def test_a_live_sweep_is_what_reading_it_whole_gives(made: Any) -> None:
    live = LiveSweep(made.folder)
    for step in range(2, 6):
        with live.reading() as sweep:
            whole = load_sweep(made.folder)
            assert sweep.table().drop(["checkpoint"]) == whole.table().drop(["checkpoint"])
            assert (sweep.elapsed, sweep.events) == (whole.elapsed, whole.events)
        version = live.version
        made.report(0, step, 0.5 + step / 10)
        live._next_look = 0.0
        with live.reading():
            assert live.version > version


def test_a_sweep_that_asks_for_more_after_a_resume_says_so(made: Any) -> None:
    live = LiveSweep(made.folder)
    with live.reading() as sweep:
        assert sweep.record.num_samples == 20
    Record(**{**vars(sweep.record), "num_samples": 64}).write(made.folder)
    made.add(Opened, run=2)
    live._next_look = 0.0
    with live.reading() as sweep:
        assert sweep.record.num_samples == 64


def test_a_sweep_that_breaks_while_it_is_open_says_so_until_it_is_mended(made: Any) -> None:
    live = LiveSweep(made.folder)
    with live.reading():
        pass
    whole = made.folder.journal.read_bytes()
    made.folder.journal.write_bytes(whole + b"nonsense\n")
    for _ in range(2):
        live._next_look = 0.0
        with pytest.raises(SweepError, match="cannot be read"), live.reading():
            pass
    made.folder.journal.write_bytes(whole)
    with live.reading() as sweep:
        assert len(sweep.trials) == 1


def test_things_are_made_once_a_change_and_no_more_often_than_they_cost(made: Any) -> None:
    live, keeper, count = LiveSweep(made.folder), Keeper(), []

    def make(sweep: Any) -> int:
        count.append(sweep)
        return len(count)

    assert [keeper.get(live, "x", make) for _ in range(3)] == [1, 1, 1]
    made.report(0, 2, 0.6)
    live._next_look = 0.0
    assert keeper.get(live, "x", make) == 2
    assert keeper.get(live, "y", make) == 3
