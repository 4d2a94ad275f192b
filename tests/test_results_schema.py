import importlib.util
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sweeps.errors import SweepError
from sweeps.journal.file import Mark, mark_of
from sweeps.journal.status import Status
from sweeps.results import load_sweep, read_tables, schema, write_tables
from sweeps.results.stored import fresh_table

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def sweep(make_sweep):
    made = make_sweep({"lr": "tag(log, interval(0.001, 1))", "model": "mlp,convnet"})
    made.ask(0, lr=0.1, model="mlp")
    made.report(0, 1, 0.5, val_loss=0.7)
    made.end(0, Status.COMPLETE, 0.5, metrics={"test/accuracy": 0.4})
    made.close()
    return made


def about(path):
    return json.loads(pq.read_schema(path).metadata[b"caviar"])


@pytest.mark.parametrize("table", ["trials", "metrics"])
def test_every_column_says_what_it_means_and_has_the_type_of_the_schema(sweep, table):
    write_tables(sweep.folder)
    written = pq.read_schema(sweep.folder.table(table))
    for field in written:
        assert field.metadata[b"doc"], field.name
    plain = {c.name: c for c in schema.COLUMNS[table] if not c.is_pattern and c.name != "pareto"}
    assert plain.keys() <= set(written.names)
    for name, column in plain.items():
        assert written.field(name).type == column.type
        assert written.field(name).metadata.get(b"unit", b"").decode() == column.unit
    assert about(sweep.folder.table(table))["schema"] == schema.VERSION
    assert about(sweep.folder.table(table))["table"] == table


def test_a_parameters_column_says_what_was_searched(sweep):
    field = load_sweep(sweep.folder).table().schema.field("params.lr")
    assert field.metadata[b"doc"].endswith(b"Searched: tag(log, interval(0.001, 1.0)).")


def test_metrics_of_the_best_report_and_returned_ones_have_columns(sweep):
    (row,) = load_sweep(sweep.folder).table().to_pylist()
    assert (row["best.val_accuracy"], row["best.val_loss"]) == (0.5, 0.7)
    assert row["returned.test/accuracy"] == 0.4


def rewrite(path, **changed):
    table = pq.read_table(path)
    told = {**about(path), **changed}
    pq.write_table(table.replace_schema_metadata({"caviar": json.dumps(told)}), path)


def test_a_later_version_is_refused_in_a_line(sweep):
    write_tables(sweep.folder)
    rewrite(sweep.folder.trials_table, schema=schema.VERSION + 1)
    for read in (read_tables, lambda folder: fresh_table(folder, "trials")):
        with pytest.raises(SweepError, match=r"trials\.parquet is of schema version 2.*update"):
            read(sweep.folder)


def test_columns_that_a_table_of_an_earlier_caviar_lacks_are_null(sweep):
    write_tables(sweep.folder)
    path = sweep.folder.trials_table
    old = pq.read_table(path).drop_columns(["preemptions"])
    meta = {"caviar": json.dumps({"sweep": "sweep", "metric": "val_accuracy", "mode": "max"})}
    pq.write_table(old.replace_schema_metadata(meta), path)
    assert read_tables(sweep.folder).trials["preemptions"].to_pylist() == [None]
    assert fresh_table(sweep.folder, "trials") is None


def test_another_parquet_file_is_no_table_of_a_sweep(sweep):
    pq.write_table(pa.table({"x": [1]}), sweep.folder.trials_table)
    with pytest.raises(SweepError, match=r"trials\.parquet is no table of a sweep"):
        read_tables(sweep.folder)


# What tells an old table from a new one


def test_a_table_is_fresh_until_the_journal_goes_on_or_is_cut(sweep):
    write_tables(sweep.folder)
    assert fresh_table(sweep.folder, "metrics").num_rows == 1
    whole = sweep.folder.journal.read_bytes()
    sweep.ask(1, lr=0.2, model="mlp")
    assert fresh_table(sweep.folder, "metrics") is None
    sweep.folder.journal.write_bytes(whole)
    assert fresh_table(sweep.folder, "metrics").num_rows == 1
    sweep.folder.journal.write_bytes(whole[: whole[:-1].rfind(b"\n") + 1])
    assert fresh_table(sweep.folder, "metrics") is None


def test_a_torn_last_line_makes_no_table_old(sweep):
    write_tables(sweep.folder)
    with sweep.folder.journal.open("ab") as file:
        file.write(b'{"op_code"')
    assert fresh_table(sweep.folder, "trials").num_rows == 1


@pytest.mark.parametrize(
    ("text", "mark"),
    [
        (b"", Mark.of(0, b"")),
        (b"one", Mark.of(0, b"")),
        (b"one\n", Mark.of(4, b"one")),
        (b"one\ntwo\n", Mark.of(8, b"two")),
        (b"one\ntwo\nthr", Mark.of(8, b"two")),
        (b"one\n" + 9999 * b"x" + b"\n", Mark.of(10004, 9999 * b"x")),
        (b"one\n" + 9999 * b"x" + b"\n" + 9999 * b"y", Mark.of(10004, 9999 * b"x")),
    ],
)
def test_a_mark_is_of_the_whole_lines(tmp_path, text, mark):
    path = tmp_path / "journal.log"
    path.write_bytes(text)
    assert mark_of(path) == mark


# What is written of it


@pytest.fixture(scope="module")
def docs():
    spec = importlib.util.spec_from_file_location("make_tables", ROOT / "docs" / "make_tables.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_tables_is_up_to_date(docs):
    page = docs.PAGE.read_text()
    assert page == docs.page(), "run: python docs/make_tables.py"
    for columns in schema.COLUMNS.values():
        for column in columns:
            assert f"| `{column.name}` |" in page
