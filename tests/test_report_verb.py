"""`caviar report`: where it writes; whether a sweep seems driven; what was spent when."""

import json
import time

import pytest

from cluster.bucket import Bucket
from sweeps.cli import main
from sweeps.journal.events import Started
from sweeps.journal.segments import open_journal
from sweeps.journal.status import Status
from sweeps.reports.history import history
from sweeps.results import load_sweep
from sweeps.storage.folder import Record, find_sweep
from sweeps.storage.lease import Lease, seems_driven


@pytest.mark.parametrize("text", ["", "- a list\n", "words\n"])
def test_a_record_that_is_none_is_told_in_plain_words(make_sweep, text, capsys):
    made = make_sweep()
    made.folder.sweep_yaml.write_text(text)
    assert main(["report", str(made.folder.path)]) == 1
    assert "sweep.yaml cannot be read: it holds no record of a sweep" in capsys.readouterr().err


def test_the_history_counts_steps_as_the_sweep_does(make_sweep):
    made = make_sweep(mode="max")
    for trial in range(2):
        made.ask(trial, lr=0.1 * (trial + 1))
        for step in (1, 2, 3):
            made.report(trial, step, step / 10 + trial, checkpoint=f"c{trial}/{step}")
    params = made.space.optuna_params({"lr": 0.3})
    made.add(
        Started,
        trial=0,
        run=1,
        reason="exploit",
        checkpoint="c1/2",
        source=1,
        params=params,
        step=2,
    )
    made.report(0, 3, 1.5)
    sweep = load_sweep(made.folder)
    past = history(sweep)
    assert past.steps[-1] == sweep.trials.steps == 7
    assert past.best == sorted(past.best)
    assert (past.best[-1], past.leaders[-1]) == (sweep.best.value, sweep.best.number)


def test_the_last_report_that_counts_may_make_the_incumbent_worse(make_sweep):
    made = make_sweep()
    record = Record.read(made.folder)
    Record(**{**vars(record), "options": {"objective_at": "last"}}).write(made.folder)
    for trial in range(2):
        made.ask(trial, lr=0.1)
    made.report(0, 1, 0.9)
    made.report(1, 1, 0.7)
    made.report(0, 2, 0.5)
    past = history(load_sweep(made.folder))
    assert past.best == [0.9, 0.9, 0.7]
    assert past.leaders == [0, 0, 1]


def test_the_verb_writes_it_into_the_sweeps_folder(make_sweep, capsys):
    made = make_sweep()
    assert main(["report", str(made.folder.path)]) == 0
    assert made.folder.report.read_text().startswith("<!doctype html>")
    assert str(made.folder.report) in capsys.readouterr().out


def test_the_verb_writes_another_file_and_says_why_it_cannot(make_sweep, tmp_path, capsys):
    made = make_sweep()
    out = tmp_path / "new" / "r.html"
    assert main(["report", str(made.folder.path), "-o", str(out)]) == 0
    assert out.exists()
    assert not made.folder.report.exists()
    assert main(["report", str(made.folder.path), "-o", str(out / "below.html")]) == 1
    assert "cannot be written" in capsys.readouterr().err
    assert main(["report", str(tmp_path / "none")]) == 2


def test_the_verb_opens_it_if_asked(make_sweep, monkeypatch):
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    made = make_sweep()
    assert main(["report", str(made.folder.path), "--open"]) == 0
    assert opened == [made.folder.report.as_uri()]


def test_a_report_in_a_bucket_is_put_beside_the_journal(make_sweep, bucket):
    made = make_sweep()
    made.ask(0, lr=0.1)
    made.end(0, Status.COMPLETE, 0.5)
    place = Bucket.parse(f"{bucket}/sweep")
    place.put("sweep.yaml", made.folder.sweep_yaml.read_bytes())
    there = find_sweep(f"{bucket}/sweep")
    open_journal(there, check=lambda: None).append(*made.events)
    assert main(["report", f"{bucket}/sweep"]) == 0
    assert place.get("report.html").startswith(b"<!doctype html>")


def test_a_sweep_seems_driven_while_its_driver_lives(make_sweep):
    folder = make_sweep().folder
    assert not seems_driven(folder.lease)
    with Lease(folder.lease):
        assert seems_driven(folder.lease)
    assert not seems_driven(folder.lease)
    dead = {"host": "elsewhere", "pid": 1, "started": 0.0, "heartbeat": time.time() - 60}
    folder.lease.write_text(json.dumps(dead))
    assert not seems_driven(folder.lease)
    folder.lease.write_text(json.dumps({**dead, "heartbeat": time.time()}))
    assert seems_driven(folder.lease)
