"""The tables of a sweep that runs: in parts, whole at the end, readable at every moment."""

import time
from contextlib import suppress

import pyarrow.parquet as pq
import pytest

from cluster.bucket import Bucket
from sweeps.journal.events import Asked, Created, Opened
from sweeps.journal.segments import open_journal
from sweeps.journal.status import Decision, Status
from sweeps.results import load_sweep, read_tables, stored, write_tables
from sweeps.results import parts as parts_module
from sweeps.results.live import LiveTables
from sweeps.results.parts import Parts
from sweeps.space.space import parse_space
from sweeps.storage.folder import SweepFolder


@pytest.fixture(autouse=True)
def short_parts(monkeypatch):
    """Parts of two trials each."""
    monkeypatch.setattr(parts_module, "TRIALS", 2)


@pytest.fixture
def sweep(make_sweep):
    """Five trials with reports; one has ended, one is paused, the others run."""
    made = make_sweep({"lr": "interval(0, 1)"})
    for number in range(5):
        made.ask(number, lr=number / 10)
        made.report(number, 1, number / 10)
    made.end(0, Status.COMPLETE, 0.0)
    made.report(1, 2, 0.3, Decision.PAUSE)
    return made


def written(made, *, rows=10**6):
    """Parts that took in all that happened."""
    parts = Parts(made.folder, load_sweep(made.folder).record, rows=rows)
    for event in made.events:
        parts.take(event)
    parts.find_written()
    return parts


def names(folder):
    return sorted(path.name for path in (folder.path / "tables").iterdir())


def same(folder):
    """Whether the tables on disk say what the journal says, but for what a part cannot know."""
    found, now = read_tables(folder), load_sweep(folder)
    unknown = ["checkpoint"]
    assert found.trials.drop_columns(unknown).equals(now.table().drop_columns(unknown))
    assert str(found.metrics.to_pydict()) == str(now.metrics().to_pydict())


def test_each_part_holds_the_rows_of_its_range_of_trials(sweep):
    parts = written(sweep)
    parts.write()
    assert parts.is_written
    spans = ["000000-000001", "000002-000003", "000004-000005"]
    expected = [f"{table}-{span}.parquet" for table in ("metrics", "trials") for span in spans]
    assert names(sweep.folder) == expected
    part = pq.read_table(sweep.folder.part("trials", 2, 3))
    assert part["number"].to_pylist() == [2, 3]
    same(sweep.folder)


def test_a_part_of_which_nothing_happened_is_not_written_again(sweep):
    parts = written(sweep)
    parts.write()
    before = {name: (sweep.folder.path / "tables" / name).stat() for name in names(sweep.folder)}
    sweep.report(4, 2, 0.9)
    parts.take(sweep.events[-1])
    parts.write()
    changed = {
        name
        for name, was in before.items()
        if (sweep.folder.path / "tables" / name).stat().st_ino != was.st_ino
    }
    assert changed == {"metrics-000004-000005.parquet", "trials-000004-000005.parquet"}
    same(sweep.folder)


def test_a_call_writes_so_many_rows_at_most_what_waited_longest_first(sweep):
    parts = written(sweep, rows=1)
    parts.write()
    assert names(sweep.folder) == ["metrics-000000-000001.parquet", "trials-000000-000001.parquet"]
    sweep.report(0, 3, 0.9)
    parts.take(sweep.events[-1])
    parts.write()
    assert "trials-000002-000003.parquet" in names(sweep.folder)
    assert "trials-000004-000005.parquet" not in names(sweep.folder)
    while not parts.is_written:
        parts.write()
    same(sweep.folder)


def test_a_metric_that_comes_later_is_null_before(sweep):
    written(sweep).write()
    sweep.report(4, 2, 0.9, val_loss=0.1)
    written(sweep).write()
    losses = read_tables(sweep.folder).metrics["val_loss"].to_pylist()
    assert losses == [None] * 6 + [0.1]
    same(sweep.folder)


def test_the_end_makes_one_file_of_the_parts(sweep):
    written(sweep).write()
    sweep.close()
    write_tables(sweep.folder)
    assert not (sweep.folder.path / "tables").exists()
    same(sweep.folder)


def test_another_driver_writes_only_what_changed_since(sweep):
    sweep.close("interrupted")
    write_tables(sweep.folder)
    sweep.add(Opened, run=2)
    sweep.ask(5, lr=0.5)
    parts = written(sweep)
    parts.write()
    changed = [f"{t}-{s}.parquet" for t in ("metrics", "trials") for s in _OPEN]
    assert names(sweep.folder) == changed
    same(sweep.folder)
    sweep.end(0, Status.STOPPED, 0.0)
    written(sweep).write()
    same(sweep.folder)


_OPEN = ("000000-000001", "000002-000003", "000004-000005")
"""Each holds a trial that runs or is paused: a new driver opens it."""


def test_parts_of_ended_trials_stay_as_a_killed_driver_left_them(make_sweep):
    made = make_sweep({"lr": "interval(0, 1)"})
    for number in range(4):
        made.ask(number, lr=0.1)
        made.end(number, Status.COMPLETE, 0.5)
    written(made).write()
    before = sorted(p.stat().st_ino for p in (made.folder.path / "tables").iterdir())
    made.add(Opened, run=2)
    again = written(made)
    assert again.is_written
    assert sorted(p.stat().st_ino for p in (made.folder.path / "tables").iterdir()) == before
    made.ask(4, lr=0.2)
    again = written(made)
    again.write()
    same(made.folder)


def test_tables_of_a_journal_that_was_cut_by_hand_go_with_the_next_driver(sweep):
    written(sweep).write()
    write_tables(sweep.folder)
    lines = sweep.folder.journal.read_bytes().splitlines(keepends=True)
    sweep.folder.journal.write_bytes(b"".join(lines[:-2]))
    del sweep.events[-2:]
    parts = written(sweep)
    assert read_tables(sweep.folder).trials.num_rows == 0
    parts.write()
    same(sweep.folder)


@pytest.mark.parametrize("crash", ["before metrics", "before trials", "before parts go"])
def test_a_crash_while_the_parts_become_one_file_is_seen_as_nothing(sweep, monkeypatch, crash):
    written(sweep).write()
    sweep.close("interrupted")
    from sweeps.results import write

    real, calls = write.write_parquet, []

    def dying(table, path):
        calls.append(path)
        if crash == "before metrics" or (crash == "before trials" and len(calls) == 2):
            raise KeyboardInterrupt
        real(table, path)

    monkeypatch.setattr(write, "write_parquet", dying)
    if crash == "before parts go":
        monkeypatch.setattr(SweepFolder, "discard_parts", _interrupt)
    with suppress(KeyboardInterrupt):
        write_tables(sweep.folder)
    found = read_tables(sweep.folder)
    assert found.trials["number"].to_pylist() == [0, 1, 2, 3, 4]
    assert found.metrics.num_rows == 6
    monkeypatch.undo()
    monkeypatch.setattr(parts_module, "TRIALS", 2)
    write_tables(sweep.folder)
    same(sweep.folder)


def _interrupt(folder):
    raise KeyboardInterrupt


def test_a_half_written_part_is_not_read(sweep):
    written(sweep).write()
    partial = sweep.folder.path / "tables" / ".trials-000000-000001.parquet.partial"
    partial.write_bytes(b"PAR1")
    same(sweep.folder)


def test_parts_that_go_while_they_are_read_are_found_in_the_whole_table(sweep, monkeypatch):
    written(sweep).write()
    real, calls = SweepFolder.parts, []

    def compacting(folder, table):
        found = real(folder, table)
        if not calls:
            calls.append(table)
            write_tables(folder)
        return found

    monkeypatch.setattr(SweepFolder, "parts", compacting)
    same(sweep.folder)


@pytest.mark.parametrize(("second", "kind"), [("int(interval(1, 8))", "double"), ("a,b", "string")])
def test_parts_of_a_changed_space_are_read_with_those_before(sweep, second, kind):
    written(sweep).write()
    space, _ = parse_space({"lr": second}, [])
    sweep.add(Created, name="s-1", modes=("max",), space=space.to_json(), study=1)
    sweep.add(
        Asked,
        trial=5,
        run=1,
        params={"lr": "b" if kind == "string" else 3},
        distributions=space.distributions(),
        study=1,
    )
    written(sweep, rows=1).write()
    column = read_tables(sweep.folder).trials["params.lr"]
    assert str(column.type) == kind
    assert len(column) == 5
    parts = written(sweep)
    parts.write()
    assert len(read_tables(sweep.folder).trials) == 6


def test_a_sweep_without_tables_has_empty_ones(make_sweep):
    found = read_tables(make_sweep().folder)
    assert found.trials.num_rows == found.metrics.num_rows == 0
    assert "value" in found.trials.column_names


def test_a_driver_keeps_the_parts_up_to_date_behind_the_decisions(sweep):
    with LiveTables(sweep.folder, sweep.events, every_s=0.05) as tables:
        _wait_until(lambda: _rows(sweep.folder) == (5, 6))
        sweep.ask(5, lr=0.5)
        tables(sweep.events[-1], load_sweep(sweep.folder).trials)
        _wait_until(lambda: _rows(sweep.folder) == (6, 6))
    same(sweep.folder)


def test_tables_that_cannot_be_written_are_told_in_the_log_and_tried_again(sweep, caplog):
    blocked = sweep.folder.path / "tables"
    blocked.write_text("in the way")
    with LiveTables(sweep.folder, sweep.events, every_s=0.05):
        _wait_until(lambda: "the tables are not up to date" in caplog.text)
        blocked.unlink()
        _wait_until(lambda: _rows(sweep.folder) == (5, 6))


def test_nothing_is_written_before_its_time(sweep):
    with LiveTables(sweep.folder, sweep.events, every_s=3600):
        pass
    assert not (sweep.folder.path / "tables").exists()


def test_a_bucket_has_parts_and_then_one_file(sweep, bucket):
    stage = SweepFolder.at(Bucket.parse(bucket), "sweep")
    stage.sweep_yaml.write_bytes(sweep.folder.sweep_yaml.read_bytes())
    journal = open_journal(stage, check=lambda: None)
    journal.append(*sweep.events)
    stage.push(stage.sweep_yaml)
    parts = Parts(stage, load_sweep(sweep.folder).record)
    for event in sweep.events:
        parts.take(event)
    parts.write()
    reader = SweepFolder.at(Bucket.parse(bucket), "sweep")
    assert stored.fresh_table(reader, "trials") is None
    assert set(reader.parts("trials")) == {(0, 1), (2, 3), (4, 5)}
    same(reader)
    write_tables(stage)
    reader = SweepFolder.at(Bucket.parse(bucket), "sweep")
    assert reader.parts("trials") == {}
    same(reader)
    assert stored.fresh_table(reader, "trials").num_rows == 5
    journal.close()
    assert stored.fresh_table(reader, "trials").num_rows == 5
    journal = open_journal(stage, check=lambda: None)
    assert stored.fresh_table(reader, "trials").num_rows == 5
    sweep.add(Opened, run=2)
    journal.append(sweep.events[-1])
    assert stored.fresh_table(reader, "trials") is None


def _rows(folder):
    found = read_tables(folder)
    return found.trials.num_rows, found.metrics.num_rows


def _wait_until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
