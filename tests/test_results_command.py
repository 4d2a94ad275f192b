"""`caviar results`: chosen rows, files, sweeps and trials side by side."""

import csv
import io
import json
import sys

import openpyxl
import pytest

from sweeps.cli import main
from sweeps.errors import SweepError
from sweeps.journal.status import Decision, Status
from sweeps.results import load_sweep, write_tables, xlsx
from sweeps.results import sweep as sweep_module
from sweeps.results.xlsx import write_xlsx
from sweeps.storage.folder import Record

SPACE = {"optimizer.lr": "interval(0, 1)", "model": "mlp,convnet"}


def fill(made, values, *, model="mlp"):
    for number, value in enumerate(values):
        made.ask(number, **{"optimizer.lr": value / 2, "model": model})
        made.report(number, 1, value, val_loss=1 - value)
        made.end(number, Status.COMPLETE, value)
    return made


@pytest.fixture
def sweep(make_sweep):
    made = fill(make_sweep(SPACE), [0.3, 0.9, 0.1, 0.7])
    made.ask(4, **{"optimizer.lr": 0.9, "model": "convnet"})
    made.end(4, Status.FAILED, error="=1+1\x01")
    return made


@pytest.fixture
def caviar(capsys, monkeypatch, sweep):
    """Runs `caviar results` where the sweeps are; what it printed."""
    monkeypatch.chdir(sweep.folder.path.parent)

    def run(*arguments, code=0):
        try:
            ended = main(["results", *arguments])
        except SystemExit as error:
            ended = error.code
        out, err = capsys.readouterr()
        assert ended == code, err
        return out if code == 0 else err

    return run


def trials_in(text):
    """The numbers of the trials in a printed table."""
    rows = [line.replace("●", " ").split() for line in text.partition("\n\n")[0].splitlines()]
    return [int(row[0]) for row in rows if row[0].isdigit()]


def numbers(text):
    return [int(row["number"]) for row in csv.DictReader(io.StringIO(text))]


def test_rows_are_sorted_filtered_and_counted(caviar):
    assert trials_in(caviar("sweep", "--sort", "lr")) == [2, 0, 3, 1, 4]
    assert trials_in(caviar("sweep", "--sort", "-value", "--top", "2")) == [1, 3]
    out = caviar("sweep", "--filter", "value<0.8 and status==complete", "--top", "2")
    assert trials_in(out) == [3, 0]
    assert "3 of 5 trials meet the filter, 2 of them are shown (--all)" in out
    assert "0 of 5 trials meet the filter" in caviar("sweep", "--filter", "value>7")


def test_columns_are_shown_by_short_names(caviar):
    lines = caviar("sweep", "--columns", "number,lr,val_loss", "--sort", "lr").splitlines()
    assert lines[0].split() == ["number", "lr", "val_loss"]
    assert lines[2].split() == ["2", "0.05", "0.9"]


def test_files_hold_the_chosen_rows(caviar, tmp_path):
    out = caviar("sweep", "--csv", "--filter", "value>0.2", "--sort", "-lr", "--columns", "number")
    assert numbers(out) == [1, 3, 0]
    assert numbers(caviar("sweep", "--csv", "--top", "2", "--filter", "value<0.8")) == [3, 0]
    rows = json.loads(caviar("sweep", "--json", "--metrics", "--sort", "-val_accuracy"))
    assert [row["trial"] for row in rows] == [1, 3, 0, 2]


def test_an_excel_file_has_a_header_and_no_formulas(caviar, tmp_path):
    path = tmp_path / "t.xlsx"
    caviar("sweep", "--xlsx", str(path))
    sheet = openpyxl.load_workbook(path)["results"]
    header, *rows = sheet.iter_rows()
    names = [cell.value for cell in header]
    assert names[:3] == ["number", "status", "value"]
    assert [row[0].value for row in rows] == [0, 1, 2, 3, 4]
    error = rows[4][names.index("error")]
    assert (error.value, error.data_type) == ("=1+1", "s")
    assert rows[0][names.index("started")].value.year == 2023


def test_a_missing_openpyxl_is_answered_with_what_to_install(caviar, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    said = caviar("sweep", "--xlsx", str(tmp_path / "t.xlsx"), code=2)
    assert said.strip() == "--xlsx needs openpyxl: pip install 'caviar[xlsx]'"


def test_more_rows_than_a_sheet_holds_are_refused(sweep, monkeypatch, tmp_path):
    monkeypatch.setattr(xlsx, "_MOST_ROWS", 3)
    with pytest.raises(SweepError, match="5 rows are more than an Excel sheet holds"):
        write_xlsx(load_sweep(sweep.folder).table(), tmp_path / "t.xlsx")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--filter", "valeu<1"], "--filter: there is no column 'valeu'; did you mean value?"),
        (["--sort", "-lrr"], "--sort: there is no column 'lrr'; did you mean lr?"),
        (["--columns", "number,modle"], "--columns: there is no column 'modle'; did you mean"),
        (["--diff", "0", "9"], "--diff names trial 9; sweep has trials 0 to 4"),
        (["--diff", "0", "1", "--top", "3"], "--diff goes with --csv"),
        (["other", "--diff", "0", "1"], "--diff is of two trials of one sweep"),
        (["--diff", "0"], "expected 2 arguments"),
    ],
)
def test_what_cannot_be_is_answered_in_a_line(caviar, flags, said):
    assert said in caviar("sweep", *flags, code=2)


def test_tables_that_are_up_to_date_are_enough_for_a_file(caviar, sweep, monkeypatch):
    write_tables(sweep.folder)

    def refuse(folder):
        raise AssertionError("the journal was read")

    monkeypatch.setattr(sweep_module, "read_events", refuse)
    assert numbers(caviar("sweep", "--csv", "--filter", "val_accuracy>0.5")) == [1, 3]


# Side by side


@pytest.fixture
def other(make_sweep, sweep):
    space = {"optimizer.lr": "interval(0, 2)", "depth": "1,2"}
    made = make_sweep(space, name="other", scheduler={"name": "asha", "max_t": 9})
    made.ask(0, **{"optimizer.lr": 1.5, "depth": 2})
    made.report(0, 3, 0.95, Decision.PAUSE, f1=0.5)
    made.close()
    return made


def test_sweeps_stand_side_by_side_and_differences_are_marked(caviar, other):
    out = caviar("sweep", "other")
    rows = {}
    for line in out.splitlines():
        marked = line.startswith("≠")
        cells = [cell.strip() for cell in line.lstrip("≠ ").split("  ") if cell.strip()]
        rows[cells[0] if cells else ""] = (marked, cells[1:])
    assert rows["sweep"] == (False, ["sweep", "other"])
    assert rows["objective"] == (False, ["max val_accuracy"] * 2)
    assert rows["best"] == (True, ["0.9", "0.95"])
    assert rows["best trial"] == (True, ["1, step 1", "0, step 3"])
    assert rows["trials"] == (True, ["5: 4 complete, 1 failed", "1: 1 stopped"])
    assert rows["searcher"] == (False, ["random", "random"])
    assert rows["scheduler"] == (True, ["none", "asha"])
    assert rows["scheduler max_t"] == (True, ["-", "9"])
    assert rows["space optimizer.lr"] == (True, ["interval(0.0, 1.0)", "interval(0.0, 2.0)"])
    assert rows["space model"] == (True, ["choice(mlp, convnet)", "-"])
    assert rows["best depth"] == (True, ["-", "2"])


def test_several_sweeps_as_a_file_are_one_long_table(caviar, other):
    out = caviar("sweep", "other", "--csv", "--filter", "value>0.5", "--sort", "-val_accuracy")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [(row["sweep"], row["number"]) for row in rows] == [
        ("other", "0"),
        ("sweep", "1"),
        ("sweep", "3"),
    ]
    assert rows[1]["params.depth"] == ""
    best = json.loads(caviar("sweep", "other", "--json", "--top", "1"))
    assert [(row["sweep"], row["number"]) for row in best] == [("sweep", 1), ("other", 0)]
    metrics = json.loads(caviar("sweep", "other", "--json", "--metrics"))
    assert [row["sweep"] for row in metrics] == ["sweep"] * 4 + ["other"]


def test_sweeps_of_one_name_are_told_apart_by_their_place(make_sweep_in, caviar, tmp_path):
    for place in ("a", "b"):
        fill(make_sweep_in(tmp_path / place, SPACE, name="same"), [0.5])
    rows = json.loads(caviar("a/same", "b/same", "--json"))
    assert [row["sweep"] for row in rows] == [str(tmp_path / p / "same") for p in ("a", "b")]


def test_chosen_rows_of_several_sweeps_follow_the_comparison(caviar, other):
    out = caviar("sweep", "other", "--top", "1", "--columns", "sweep,number,value")
    assert out.splitlines()[-1].split() == ["other", "0", "0.95"]


# Two trials


def write_config(made, trial, text):
    folder = made.folder.job(trial, 1) / ".hydra"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(text)


def test_two_trials_differ_in_keys_of_their_whole_configs(caviar, sweep):
    shared = "data: {rows: 10, names: [a, b]}\napp: {out: '${hydra:runtime.output_dir}'}\n"
    write_config(sweep, 0, f"{shared}optimizer: {{lr: 0.15, decay: 0}}\ndb: {{password: one}}\n")
    write_config(sweep, 1, f"{shared}optimizer: {{lr: 0.45}}\ndb: {{password: two}}\n")
    out = caviar("sweep", "--diff", "0", "1")
    rows = {line.lstrip("≠→ ").split()[0]: line for line in out.splitlines() if line.strip()}
    assert rows["optimizer.lr"].split()[-2:] == ["0.15", "0.45"]
    assert rows["optimizer.decay"].split()[-2:] == ["0", "-"]
    assert "data" not in out
    assert "hydra" not in out
    assert "one" not in out
    assert "two" not in out
    assert (
        rows["db.password"].split("***")[1:] == ["  ", " (another)"] or "***" in rows["db.password"]
    )
    assert rows["val_accuracy"].split()[-2:] == ["0.3", "0.9"]
    assert rows["val_loss"].split()[-2:] == ["0.7", "0.1"]


def test_trials_without_a_config_are_compared_by_their_parameters(caviar):
    rows = json.loads(caviar("sweep", "--diff", "0", "4", "--json"))
    shown = {row["key"]: (row["trial 0"], row["trial 4"]) for row in rows}
    assert shown["model"] == ("mlp", "convnet")
    assert shown["→ status"] == ("complete", "failed")


def test_what_was_fixed_is_compared_too(caviar, other):
    record = load_sweep(other.folder).record
    Record(**{**vars(record), "overrides": ["data.rows=5", "api_key=***"]}).write(other.folder)
    assert "fixed data.rows" in caviar("sweep", "other")
