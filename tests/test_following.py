"""A journal read while it grows, on a disk and on a real S3 server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import sweeps.journal.segments
from cluster.bucket import Bucket
from sweeps.errors import SweepError
from sweeps.journal.events import Created, Event, Opened
from sweeps.journal.file import Journal
from sweeps.journal.following import Follower
from sweeps.journal.segments import BucketJournal
from sweeps.space.space import parse_space
from sweeps.storage.folder import SweepFolder

SPACE, _ = parse_space({"x": "interval(0, 1)"}, [])
CREATED = Created(name="s", modes=("min",), space=SPACE.to_json(), study=0, time=1.0)

Write = Callable[[Event], None]
Open = Callable[[], Write]


def opened(run: int) -> Opened:
    return Opened(run=run, time=float(run))


def gained(follower: Follower) -> list[Event]:
    return list(follower.read().events)


@pytest.fixture
def folder(tmp_path: Path) -> SweepFolder:
    return SweepFolder(tmp_path)


def append(folder: SweepFolder, *events: Event) -> None:
    Journal(folder.journal).append(*events)


def test_each_event_is_read_once(folder: SweepFolder) -> None:
    append(folder, CREATED, opened(1))
    follower = Follower(folder)
    assert gained(follower) == [CREATED, opened(1)]
    assert gained(follower) == []
    append(folder, opened(2))
    append(folder, opened(3))
    assert gained(follower) == [opened(2), opened(3)]


def test_only_what_is_new_is_read_from_the_disk(folder: SweepFolder) -> None:
    append(folder, *map(opened, range(1000)))
    follower = Follower(folder)
    assert len(gained(follower)) == 1000
    with folder.journal.open("r+b") as file:  # what was read before is not looked at again
        file.write(b"#" * 100)
    append(folder, opened(1000))
    assert gained(follower) == [opened(1000)]


def test_a_torn_line_is_left_until_it_is_whole(folder: SweepFolder) -> None:
    append(folder, CREATED, opened(1))
    whole = folder.journal.read_bytes()
    folder.journal.write_bytes(whole[:-5])
    follower = Follower(folder)
    assert gained(follower) == [CREATED]
    with folder.journal.open("ab") as file:
        file.write(whole[-5:])
    assert gained(follower) == [opened(1)]


def test_a_journal_that_was_replaced_is_read_afresh(folder: SweepFolder, tmp_path: Path) -> None:
    append(folder, CREATED, opened(1))
    follower = Follower(folder)
    assert follower.read().afresh
    assert not follower.read().afresh
    other = SweepFolder(tmp_path / "other")
    other.path.mkdir()
    append(other, CREATED, opened(1), opened(7))
    other.journal.replace(folder.journal)
    found = follower.read()
    assert found.afresh
    assert list(found.events) == [CREATED, opened(1), opened(7)]


def test_a_damaged_line_is_named_by_its_number_in_the_file(folder: SweepFolder) -> None:
    append(folder, CREATED, opened(1))
    follower = Follower(folder)
    gained(follower)
    with folder.journal.open("ab") as file:
        file.write(b"nonsense\n")
    with pytest.raises(SweepError, match=r"journal\.log, line 3, cannot be read"):
        gained(follower)


def test_a_sweep_that_never_began_has_nothing_to_follow(folder: SweepFolder) -> None:
    with pytest.raises(FileNotFoundError):
        Follower(folder).read()


@pytest.fixture
def remote(bucket: str) -> SweepFolder:
    return SweepFolder.at(Bucket.parse(bucket), "s")


def driver(folder: SweepFolder) -> BucketJournal:
    assert folder.remote is not None
    return BucketJournal(folder.remote.place / "journal", check=lambda: None)


@pytest.mark.parametrize("seen", [0, 1, 3, 4, 5, 9])
def test_in_a_bucket_each_event_is_read_once_across_merges(
    remote: SweepFolder, seen: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeps.journal.segments, "BLOCK", 4)
    events = [CREATED, *map(opened, range(1, 12))]
    journal, follower = driver(remote), Follower(remote)
    for event in events[:seen]:
        journal.append(event)
    assert gained(follower) == events[:seen]
    for event in events[seen:]:
        journal.append(event)
    assert gained(follower) == events[seen:]
    journal.close()
    assert gained(follower) == []


def test_in_a_bucket_a_look_costs_a_listing_and_the_new_objects(
    remote: SweepFolder, object_store: Any
) -> None:
    journal, follower = driver(remote), Follower(remote)
    for run in range(20):
        journal.append(opened(run))
    gained(follower)
    object_store.counts()
    assert gained(follower) == []
    assert object_store.counts() == {"GET": 1}
    journal.append(opened(20))
    object_store.counts()
    assert gained(follower) == [opened(20)]
    assert sum(object_store.counts().values()) <= 3


def test_in_a_bucket_the_next_driver_s_copy_is_read_afresh(remote: SweepFolder) -> None:
    first, follower = driver(remote), Follower(remote)
    first.append(opened(1))
    gained(follower)
    second = driver(remote)
    second.append(opened(2))
    first.append(opened(9))  # taken for dead: it writes where nobody reads
    found = follower.read()
    assert found.afresh
    assert list(found.events) == [opened(1), opened(2)]


def test_in_a_bucket_a_sweep_that_never_began_has_nothing_to_follow(remote: SweepFolder) -> None:
    with pytest.raises(FileNotFoundError):
        Follower(remote).read()
