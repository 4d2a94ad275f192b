"""Storage that takes nothing, told apart from bugs; and a head that does not answer."""

from __future__ import annotations

import errno
import shutil
import socket
import threading
import time
from pathlib import Path

import pytest

from sweeps.driver.vigil import watching_head
from sweeps.errors import SweepError
from sweeps.journal.events import Opened
from sweeps.journal.file import Journal
from sweeps.storage.disk import cannot_be_written, refusal


def full(path: Path | None = None) -> OSError:
    text = "No space left on device"
    return OSError(errno.ENOSPC, text) if path is None else OSError(errno.ENOSPC, text, str(path))


def test_a_full_file_system_is_told_from_a_bug(tmp_path: Path) -> None:
    assert cannot_be_written(tmp_path, full())
    assert cannot_be_written(tmp_path, full(tmp_path / "not" / "there"))
    assert cannot_be_written(tmp_path, shutil.Error([("a", "b", str(full()))]))
    wrapped = RuntimeError("the checkpoint was not saved")
    wrapped.__context__ = full(tmp_path)
    assert cannot_be_written(tmp_path, wrapped)

    assert not cannot_be_written(tmp_path, RuntimeError("no such luck"))
    assert not cannot_be_written(tmp_path, FileNotFoundError(errno.ENOENT, "no", "x"))
    assert not cannot_be_written(tmp_path, full(Path("/proc/x")))  # not the sweep's
    assert not cannot_be_written(tmp_path / "nothing", RuntimeError("no such luck"))
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written_is_named_with_its_free_bytes(tmp_path: Path) -> None:
    said = str(refusal(tmp_path / "journal.log", full()))
    assert said.startswith(f"{tmp_path / 'journal.log'} cannot be written: No space left on device")
    free = int(said.split("(")[1].split(" bytes free there)")[0])
    assert free == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.1)
    assert "\n" not in said


def test_a_journal_that_is_not_its_drivers_any_more_takes_nothing(tmp_path: Path) -> None:
    def taken() -> None:
        raise SweepError("taken over")

    journal = Journal(tmp_path / "journal.log", check=taken)
    with pytest.raises(SweepError, match="taken over"):
        journal.append(Opened(run=1, time=1.0))
    assert not (tmp_path / "journal.log").exists() or not (tmp_path / "journal.log").read_bytes()


def test_a_head_that_stops_answering_ends_the_sweep_and_a_process_that_hangs_on_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("_POLL_S", "_LAST_RESORT_S"):
        monkeypatch.setattr(f"sweeps.driver.vigil.{name}", 0.02)
    ended: list[str] = []
    hangs = threading.Event()

    def end(message: str) -> None:
        ended.append(message)
        hangs.set()

    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with watching_head(address, end=end) as check:
            time.sleep(0.2)  # it answers, so nothing happens
            check()
    with watching_head(address, end=end) as check:
        assert hangs.wait(10)
        with pytest.raises(SweepError, match=f"its head, {address}, does not answer any more"):
            check()
    assert len(ended) == 1
    assert "caviar resume" in ended[0]
