"""The journal of a sweep in a bucket: numbered objects on a real S3 server."""

from __future__ import annotations

from typing import Any

import optuna
import pytest
from optuna.storages.journal import JournalStorage

import sweeps.journal.segments
from cluster.bucket import Bucket
from sweeps.errors import SweepError
from sweeps.journal.events import Asked, Created, Event, Opened
from sweeps.journal.segments import BucketJournal, Segments, has_journal, read_events
from sweeps.space.space import parse_space
from sweeps.storage.folder import SweepFolder

SPACE, _ = parse_space({"x": "interval(0, 1)"}, [])
CREATED = Created(name="s", modes=("min",), space=SPACE.to_json(), study=0, time=1.0)


def ours() -> None:
    """The lease is this driver's."""


def opened(run: int) -> Opened:
    return Opened(run=run, time=float(run))


@pytest.fixture
def place(bucket: str) -> Bucket:
    return Bucket.parse(f"{bucket}/s/journal")


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeps.journal.segments, "BLOCK", 4)


def write(place: Bucket, *events: Event) -> BucketJournal:
    """A driver that writes events one by one, and dies."""
    journal = BucketJournal(place, check=ours)
    for event in events:
        journal.append(event)
    return journal


def read(place: Bucket) -> list[Event]:
    folder = SweepFolder.at(place.parent.parent, place.parent.name)
    return list(read_events(folder))


def test_an_append_is_one_object_and_one_request(place: Bucket, object_store: Any) -> None:
    journal = write(place, CREATED)
    before = set(place.sizes())
    object_store.counts()
    journal.append(opened(1), opened(2))

    assert object_store.counts() == {"PUT": 1}
    assert len(set(place.sizes()) - before) == 1
    assert read(place) == [CREATED, opened(1), opened(2)]


def test_a_sweep_that_never_began_has_no_journal(bucket: str) -> None:
    folder = SweepFolder.at(Bucket.parse(bucket), "s")
    assert not has_journal(folder)
    assert list(read_events(folder)) == []


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("count", [3, 4, 5, 8, 11])
def test_a_journal_reads_as_it_was_written_across_merges(place: Bucket, count: int) -> None:
    events = [CREATED, *map(opened, range(1, count))]
    journal = write(place, *events)
    assert read(place) == events
    assert len(place.sizes()) == 1 + count // 4 + count % 4

    journal.close()
    assert read(place) == events
    assert len(place.sizes()) == 1 + -(-count // 4)


@pytest.mark.usefixtures("small_blocks")
def test_each_driver_goes_on_with_what_the_last_one_wrote(place: Bucket) -> None:
    events = [CREATED, *map(opened, range(1, 14))]
    write(place, *events[:6])
    write(place, *events[6:7]).close()
    write(place)
    write(place, *events[7:])

    assert read(place) == events
    assert has_journal(SweepFolder.at(place.parent.parent, "s"))
    assert len({key.partition("/")[0] for key in place.sizes()}) == 1


@pytest.mark.usefixtures("small_blocks")
def test_a_driver_that_was_taken_for_dead_changes_nothing_any_more(place: Bucket) -> None:
    dead = write(place, CREATED, opened(1))
    write(place, opened(2))
    for run in range(90, 97):
        dead.append(opened(run))
    dead.close()

    assert read(place) == [CREATED, opened(1), opened(2)]
    write(place, opened(3))
    assert read(place) == [CREATED, opened(1), opened(2), opened(3)]
    assert len({key.partition("/")[0] for key in place.sizes()}) == 1


def test_a_driver_whose_lease_is_another_s_writes_no_more(place: Bucket) -> None:
    def lost() -> None:
        raise SweepError("taken over")

    journal = BucketJournal(place, check=lost)
    for _ in range(2):
        with pytest.raises(SweepError, match="taken over"):
            journal.append(CREATED)
    assert read(place) == []


def test_of_two_that_open_it_at_once_one_is_refused(
    place: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(place, CREATED)
    put = Bucket.put

    def late(self: Bucket, key: str, data: bytes) -> None:
        put(self, key, data)
        put(self, "000002-zzzzzzzz/000000.log", data)

    with monkeypatch.context() as patch:
        patch.setattr(Bucket, "put", late)
        with pytest.raises(SweepError, match="opened by another driver too"):
            BucketJournal(place, check=ours)
    assert read(place) == [CREATED]


EPOCH = len("000001-01234567/")


def delete(place: Bucket, name: str) -> None:
    """Delete an object of the epoch that counts."""
    (key,) = [key for key in place.sizes() if key[EPOCH:] == name]
    place.delete(key)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("name", ["000001.log", "000002/000.log", "000002/001.log"])
def test_an_object_that_is_missing_in_the_middle_is_named(
    place: Bucket, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeps.journal.segments, "_READS", 2)
    write(place, CREATED, *map(opened, range(1, 7)))
    assert [key[EPOCH:] for key in place.sizes()] == [
        *("000000.log", "000001.log"),
        *("000002/000.log", "000002/001.log", "000002/002.log"),
    ]
    delete(place, name)

    before = place.sizes()
    with pytest.raises(SweepError, match=r"\.log is missing\. Restore that object"):
        read(place)
    with pytest.raises(SweepError, match="is missing"):
        BucketJournal(place, check=ours)
    assert place.sizes() == before


@pytest.mark.usefixtures("small_blocks")
def test_what_is_missing_at_the_end_was_never_written(place: Bucket) -> None:
    write(place, CREATED, *map(opened, range(1, 7)))
    delete(place, "000002/002.log")
    assert read(place) == [CREATED, *map(opened, range(1, 6))]


def test_a_torn_last_object_is_passed_over_and_cut_by_the_next_driver(place: Bucket) -> None:
    write(place, CREATED, opened(1))
    (last,) = [key for key in place.sizes() if key.endswith("/001.log")]
    place.put(last, place.get(last)[:-5])

    assert read(place) == [CREATED]
    write(place, opened(2))
    assert read(place) == [CREATED, opened(2)]


def test_a_damaged_object_is_named_by_its_line(place: Bucket) -> None:
    write(place, CREATED, opened(1), opened(2))
    (middle,) = [key for key in place.sizes() if key.endswith("/001.log")]
    place.put(middle, b"{}\n")
    with pytest.raises(SweepError, match=rf"{place.url}, line 2, cannot be read"):
        read(place)


@pytest.mark.usefixtures("small_blocks")
def test_a_driver_that_dies_while_it_merges_leaves_each_event_once(
    place: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = [CREATED, *map(opened, range(1, 4))]
    with monkeypatch.context() as patch:
        patch.setattr(Bucket, "delete_below", lambda self, prefix: None)
        write(place, *events)
    assert len(place.sizes()) == 6  # copy, merged, and the four that it was merged from
    assert read(place) == events


@pytest.mark.usefixtures("small_blocks")
def test_a_reader_is_not_misled_by_a_merge_under_its_hands(
    place: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = [CREATED, *map(opened, range(1, 6))]
    journal = write(place, *events)
    get_all = Bucket.get_all

    def late(self: Bucket, keys: list[str]) -> list[bytes]:
        journal.close()
        return get_all(self, keys)

    monkeypatch.setattr(Bucket, "get_all", late)
    assert read(place) == events


def test_a_store_that_goes_away_ends_the_writing_until_a_driver_opens_it_again(
    place: Bucket, object_store: Any
) -> None:
    journal = BucketJournal(Bucket(place.url, patience_s=0.3), check=ours)
    journal.append(CREATED)
    object_store.fail(method="PUT")
    with pytest.raises(SweepError, match="cannot be reached"):
        journal.append(opened(1))
    object_store.mend()
    with pytest.raises(SweepError, match="cannot be reached"):
        journal.append(opened(2))  # it would rest on the one that is not there
    journal.close()
    assert read(place) == [CREATED]
    write(place, opened(1))
    assert read(place) == [CREATED, opened(1)]


@pytest.mark.usefixtures("small_blocks")
def test_an_append_costs_the_same_however_long_the_journal_is(
    place: Bucket, object_store: Any
) -> None:
    journal = write(place, CREATED)
    object_store.counts()
    costs = []
    for block in range(3):
        for run in range(4):
            journal.append(opened(4 * block + run))
        costs.append(object_store.counts())
    assert costs[0] == costs[1] == costs[2]


def test_optuna_reads_it(place: Bucket) -> None:
    params = SPACE.optuna_params({"x": 0.25})
    asked = Asked(
        trial=0, run=1, params=params, distributions=SPACE.distributions(), study=0, time=3.0
    )
    write(place, CREATED, opened(1), asked)
    study = optuna.load_study(study_name="s", storage=JournalStorage(Segments(place)))
    assert [trial.params for trial in study.trials] == [{"x": 0.25}]
