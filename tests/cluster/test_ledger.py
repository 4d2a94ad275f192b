"""What was submitted is found again, also after a reboot, by its owner alone."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest

from cluster.errors import ConfigError
from cluster.ledger import Entry, Ledger


def entry(**told: Any) -> Entry:
    usual = {
        "handle": "process://here/1",
        "name": "digits",
        "cluster": "process",
        "storage": "/data",
        "arguments": ("sweep", "app.py", "lr=1,2"),
        "root": "/code",
        "cwd": "/code/sub",
    }
    return Entry(**{**usual, **told})


@pytest.fixture
def ledger(home: Path) -> Ledger:
    return Ledger()


def test_what_was_added_is_read_again_oldest_first(ledger: Ledger) -> None:
    later, earlier = entry(time=2.0), entry(time=1.0, handle="ray://h:1/x", insecure=True)
    for each in (later, earlier):
        ledger.add(each)
    assert Ledger().read() == ([earlier, later], [])


def test_its_files_are_the_owners_alone_and_whole(ledger: Ledger, home: Path) -> None:
    ledger.add(entry())
    assert ledger.folder == home / "state" / "caviar" / "submissions"
    assert stat.S_IMODE(ledger.folder.stat().st_mode) == 0o700
    (file,) = ledger.folder.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"format": 2}', '{"format": 1, "name": "x"}', "\x00"]
)
def test_a_damaged_file_is_passed_over_and_named(ledger: Ledger, text: str) -> None:
    kept = entry()
    ledger.add(kept)
    damaged = ledger.folder / "aaaa.json"
    damaged.write_text(text)
    assert ledger.read() == ([kept], [damaged])


def test_an_entry_whose_handle_is_none_is_damaged(ledger: Ledger) -> None:
    ledger.add(entry(handle="somewhere"))
    entries, damaged = ledger.read()
    assert not entries
    assert len(damaged) == 1


def test_an_entry_is_found_by_handle_id_name_and_their_beginnings(ledger: Ledger) -> None:
    one = entry(id="aa11", name="digits-1", handle="process://here/x1", time=1.0)
    again = entry(id="ab22", name="digits-1", handle="process://here/x2", time=2.0)
    other = entry(id="cc33", name="mnist", handle="ray://head:1/job", time=3.0)
    for each in (other, one, again):
        ledger.add(each)

    assert ledger.find("process://here/x1") == one
    assert ledger.find("aa11") == ledger.find("aa") == one
    assert ledger.find("digits-1") == ledger.find("dig") == again  # the latest of that name
    assert ledger.find("ray:") == ledger.find("mn") == other
    assert ledger.find("nope") is None


def test_the_start_of_several_is_refused_and_they_are_named(ledger: Ledger) -> None:
    ledger.add(entry(id="aa11", name="digits"))
    ledger.add(entry(id="ab22", name="mnist"))
    with pytest.raises(ConfigError, match=r"'a' may be aa11 \(digits\), ab22 \(mnist\)"):
        ledger.find("a")


def test_a_ledger_that_is_not_there_yet_is_empty(ledger: Ledger) -> None:
    assert ledger.read() == ([], [])
    assert ledger.find("x") is None
