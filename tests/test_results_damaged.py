"""Tables that a disk damaged: the journal says the same, and they are made again from it."""

import pytest

import sweeps
from sweeps.cli import main
from sweeps.errors import SweepError
from sweeps.journal.status import Status
from sweeps.results import load_sweep, read_tables, write_tables
from sweeps.results.parts import Parts


@pytest.fixture
def sweep(make_sweep):
    """Ten trials that are over, with their tables."""
    made = make_sweep({"lr": "interval(0, 1)"})
    for number in range(10):
        made.ask(number, lr=number / 10)
        made.end(number, Status.COMPLETE, number / 10)
    made.close()
    write_tables(made.folder)
    return made


def garbage(data: bytes) -> bytes:
    return b"garbage\n"


def empty(data: bytes) -> bytes:
    return b""


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def data_pages(data: bytes) -> bytes:
    return data[:4] + bytes(600) + data[604:]


def footer(data: bytes) -> bytes:
    return data[:-3000] + bytes(2990) + data[-10:]


DAMAGES = [garbage, empty, cut, data_pages, footer]


def damage(path, how) -> None:
    path.write_bytes(how(path.read_bytes()))


@pytest.mark.parametrize("how", DAMAGES)
def test_the_journal_is_read_in_the_place_of_a_damaged_table(sweep, how, capsys):
    expected = load_sweep(sweep.folder).table()
    damage(sweep.folder.trials_table, how)
    assert sweeps.load(sweep.folder).arrow.trials.equals(expected)
    assert main(["results", str(sweep.folder.path), "--csv"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 11


@pytest.mark.parametrize("how", DAMAGES)
def test_what_reads_the_files_alone_is_told_which_is_damaged(sweep, how):
    damage(sweep.folder.trials_table, how)
    with pytest.raises(SweepError, match=r"trials\.parquet is damaged .*sweep's journal"):
        read_tables(sweep.folder)


@pytest.mark.parametrize("how", [garbage, cut, footer])
def test_the_next_driver_makes_a_damaged_table_again(sweep, how):
    damage(sweep.folder.metrics_table, how)
    sweep.opened_again()
    parts = Parts(sweep.folder, load_sweep(sweep.folder).record)
    for event in sweep.events:
        parts.take(event)
    parts.find_written()
    parts.write()
    now = load_sweep(sweep.folder)
    found = read_tables(sweep.folder)
    assert found.trials["value"].equals(now.table()["value"])
    assert found.metrics.num_rows == now.metrics().num_rows


def test_a_damaged_part_is_written_again(sweep):
    sweep.folder.discard_tables()
    sweep.opened_again()
    record = load_sweep(sweep.folder).record

    def parts() -> Parts:
        found = Parts(sweep.folder, record)
        for event in sweep.events:
            found.take(event)
        found.find_written()
        return found

    parts().write()
    assert parts().is_written
    damage(sweep.folder.part("trials", 0, 99), garbage)
    again = parts()
    assert not again.is_written
    again.write()
    assert read_tables(sweep.folder).trials.num_rows == 10
