"""`sweeps.load`: a sweep in a notebook."""

import math
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pandas as pd
import pytest

import sweeps
from cluster.bucket import Bucket
from sweeps.errors import ConfigError
from sweeps.journal.events import Opened, Reported
from sweeps.journal.file import Journal
from sweeps.journal.segments import open_journal
from sweeps.journal.status import Decision, Status
from sweeps.results import sweep as sweep_module
from sweeps.results import write_tables
from sweeps.storage.folder import SweepFolder

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def sweep(make_sweep):
    made = make_sweep({"lr": "interval(0, 1)", "model": "mlp,convnet"})
    for number, model in enumerate(["mlp", "convnet", "mlp"]):
        made.ask(number, lr=number / 10, model=model)
        made.report(number, 1, 0.5 + number / 10, val_loss=1.0)
        made.end(number, Status.COMPLETE, 0.5 + number / 10)
    made.ask(3, lr=0.9, model="mlp")
    made.end(3, Status.FAILED, error="ValueError: <b>no</b>")
    return made


def _refuse(folder):
    raise AssertionError("the journal was read")


def test_the_tables_are_frames_and_arrow(sweep):
    loaded = sweeps.load(sweep.folder.path)
    assert isinstance(loaded.trials, pd.DataFrame)
    assert loaded.trials["status"].tolist() == ["complete"] * 3 + ["failed"]
    assert loaded.trials["params.model"].tolist() == ["mlp", "convnet", "mlp", "mlp"]
    assert loaded.metrics[["trial", "step", "val_accuracy", "val_loss"]].values.tolist() == [
        [0, 1, 0.5, 1.0],
        [1, 1, 0.6, 1.0],
        [2, 1, 0.7, 1.0],
    ]
    assert loaded.arrow.metrics.num_rows == 3


def test_the_best_trial_has_its_parameters_metrics_and_checkpoint(make_sweep):
    made = make_sweep()
    made.ask(0, lr=0.25)
    made.report(0, 3, 0.75, checkpoint="trials/0/1/checkpoints/000003", val_loss=0.5)
    folder = made.folder.path / "trials/0/1/checkpoints/000003"
    folder.mkdir(parents=True)
    best = sweeps.load(made.folder).best
    assert best == sweeps.Best(
        number=0,
        value=0.75,
        values={"val_accuracy": 0.75},
        step=3,
        params={"lr": 0.25},
        metrics={"val_accuracy": 0.75, "val_loss": 0.5},
        checkpoint=str(folder),
    )


def test_the_study_is_optunas(sweep):
    study = sweeps.load(sweep.folder.path).study
    assert isinstance(study, optuna.Study)
    assert study.best_value == pytest.approx(0.7)


def test_a_name_is_enough(sweep, monkeypatch):
    monkeypatch.chdir(sweep.folder.path.parent)
    assert sweeps.load("sweep").name == "sweep"
    with pytest.raises(ConfigError, match="no sweep 'sweap'"):
        sweeps.load("sweap")


def test_of_a_sweep_with_tables_the_journal_is_not_read(sweep, monkeypatch):
    write_tables(sweep.folder)
    monkeypatch.setattr(sweep_module, "read_events", _refuse)
    assert len(sweeps.load(sweep.folder.path).metrics) == 3
    assert "4 trials" in repr(sweeps.load(sweep.folder.path))


def test_tables_older_than_the_journal_are_not_shown(sweep):
    write_tables(sweep.folder)
    assert len(sweeps.load(sweep.folder.path).trials) == 4
    sweep.add(Opened, run=2)
    sweep.ask(4, lr=0.5, model="mlp")
    assert len(sweeps.load(sweep.folder.path).trials) == 5


def test_reload_looks_anew(sweep):
    loaded = sweeps.load(sweep.folder.path)
    assert len(loaded.trials) == 4
    sweep.ask(4, lr=0.5, model="mlp")
    assert len(loaded.trials) == 4
    assert len(loaded.reload().trials) == 5
    assert loaded.results.trials[4].status is Status.RUNNING


def test_it_shows_itself_in_a_line_and_in_a_notebook(sweep):
    loaded = sweeps.load(sweep.folder.path)
    words = repr(loaded)
    assert words.startswith("<Sweep sweep, not ended; 4 trials: 3 complete, 1 failed; ")
    assert "best val_accuracy 0.7 in trial 2" in words
    page = loaded._repr_html_()
    assert page.index(">2<") < page.index(">1<") < page.index(">0<") < page.index(">3<")
    sweep.close()
    assert "sweep, done;" in repr(loaded.reload())


def test_a_sweep_without_trials_shows_itself_too(make_sweep):
    loaded = sweeps.load(make_sweep().folder)
    assert "0 trials" in repr(loaded)
    assert loaded._repr_html_()
    assert loaded.best is None
    assert loaded.metrics.empty


def test_a_sweep_of_which_all_failed_has_no_best(make_sweep):
    made = make_sweep()
    made.ask(0, lr=0.1)
    made.report(0, 1, math.nan)
    made.end(0, Status.DIVERGED)
    loaded = sweeps.load(made.folder)
    assert loaded.best is None
    assert "best" not in repr(loaded).partition(str(made.folder.path))[0]


def test_a_sweep_in_a_bucket_is_read_by_its_url(sweep, bucket):
    folder = SweepFolder.at(Bucket.parse(bucket), "sweep")
    folder.sweep_yaml.write_bytes(sweep.folder.sweep_yaml.read_bytes())
    folder.push(folder.sweep_yaml)
    journal = open_journal(folder, check=lambda: None)
    journal.append(*sweep.events)
    assert len(sweeps.load(f"{bucket}/sweep").trials) == 4
    write_tables(folder)
    loaded = sweeps.load(f"{bucket}/sweep")
    assert len(loaded.metrics) == 3
    assert f"{bucket}/sweep" in repr(loaded)


def test_importing_sweeps_stays_light():
    code = (
        "import sweeps, sys; sweeps.load;"
        "heavy = {'ray', 'torch', 'optuna', 'hydra', 'pyarrow', 'pandas', 'rich', 'numpy'};"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, capture_output=True)


@pytest.mark.slow
def test_a_hundred_thousand_rows_of_metrics_load_in_under_a_second(make_sweep):
    made = make_sweep()
    reports = [
        Reported(
            trial=number,
            run=1,
            step=step,
            metrics={"val_accuracy": step / 100, "val_loss": 1.0},
            value=step / 100,
            checkpoint=None,
            decision=Decision.CONTINUE,
            time=made.now + step,
        )
        for number in range(100)
        for step in range(1000)
    ]
    for number in range(100):
        made.ask(number, lr=0.1)
    Journal(made.folder.journal).append(*reports)
    write_tables(made.folder)
    pd.DataFrame({"x": [1]}).describe()  # what is imported is not what is measured
    began = time.process_time()
    assert len(sweeps.load(made.folder.path).metrics) == 100_000
    assert time.process_time() - began < 1.0
