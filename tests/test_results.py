import json
import math
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from sweeps.errors import SweepError
from sweeps.journal.events import Lost, Opened
from sweeps.journal.status import Decision, Status
from sweeps.results import (
    load_sweep,
    write_csv,
    write_json,
    write_parquet,
    write_tables,
)
from sweeps.storage.folder import SweepFolder


@pytest.fixture
def sweep(make_sweep):
    """Five trials: complete, paused, failed, diverged, running."""
    made = make_sweep({"lr": "tag(log, interval(0.001, 1))", "model": "mlp,convnet"})
    for number in range(5):
        made.ask(number, lr=0.1 / (number + 1), model="mlp")
    made.report(0, 1, 0.8, Decision.PAUSE, checkpoint="trials/0/1/checkpoints/000001")
    made.report(1, 1, 0.7, Decision.PAUSE, val_loss=0.4)
    made.promote(0)
    made.report(0, 2, 0.9)
    made.end(0, Status.COMPLETE, 0.9, metrics={"test_accuracy": 0.88})
    made.end(2, Status.FAILED, error="Traceback\n  File x\nValueError: no such thing\n")
    made.report(3, 1, math.nan)
    made.end(3, Status.DIVERGED)
    return made


def test_trials_are_a_row_each_with_the_parameters_the_app_saw(sweep):
    (sweep.folder.job(0, 1) / "checkpoints" / "000001").mkdir(parents=True)
    rows = load_sweep(sweep.folder).table().to_pylist()
    assert [row["number"] for row in rows] == [0, 1, 2, 3, 4]
    statuses = ["complete", "paused", "failed", "diverged", "running"]
    assert [row["status"] for row in rows] == statuses
    assert rows[1]["params.lr"] == pytest.approx(0.05)
    assert rows[0]["params.model"] == "mlp"
    assert rows[0]["value"] == 0.9
    assert (rows[0]["best_step"], rows[0]["step"], rows[0]["promotions"]) == (2, 2, 1)
    assert rows[0]["returned.test_accuracy"] == 0.88
    assert rows[2]["error"] == "ValueError: no such thing"
    assert rows[0]["checkpoint"] == "trials/0/1/checkpoints/000001"


def test_a_table_names_no_checkpoint_that_is_gone(sweep):
    assert load_sweep(sweep.folder).table()["checkpoint"].to_pylist() == [None] * 5


def test_failures_that_were_tried_again_are_counted_apart_from_losses(make_sweep):
    made = make_sweep()
    made.ask(0, lr=0.1)
    made.add(Lost, trial=0, reason="Traceback", cause="error")
    made.add(Lost, trial=0, reason="killed", cause="out_of_memory")
    made.end(0, Status.DIVERGED)
    (row,) = load_sweep(made.folder).table().to_pylist()
    assert (row["retries"], row["losses"]) == (1, 1)


def test_a_pause_counts_not_as_duration(make_sweep):
    made = make_sweep()
    made.ask(0, lr=0.1)
    made.report(0, 1, 0.5, Decision.PAUSE)
    made.now += 1000
    made.promote(0)
    made.report(0, 2, 0.6)
    made.end(0, Status.COMPLETE, 0.6)
    assert load_sweep(made.folder).table()["duration_s"].to_pylist() == [3.0]


def test_a_segment_that_died_counts_up_to_its_last_word(make_sweep):
    made = make_sweep()
    made.ask(0, lr=0.1)
    made.report(0, 1, 0.5)
    made.now += 1000
    made.add(Opened, run=2)
    assert load_sweep(made.folder).trials[0].seconds == 1.0
    made.add(Lost, trial=0, reason="killed")
    assert load_sweep(made.folder).table()["losses"].to_pylist() == [1]


def test_the_time_between_two_drivers_does_not_count(make_sweep):
    made = make_sweep()
    made.close("interrupted")
    made.now += 1000
    made.add(Opened, run=2)
    made.close()
    assert load_sweep(made.folder).elapsed == 2.0


def test_times_are_utc_timestamps(sweep):
    started = load_sweep(sweep.folder).table()["started"]
    assert started.type == pa.timestamp("ms", tz="UTC")
    assert started[0].as_py() == datetime.fromtimestamp(1_700_000_003, UTC)


def test_a_paused_trial_of_a_sweep_that_is_done_counts_as_stopped(sweep):
    sweep.close("interrupted")
    assert load_sweep(sweep.folder).table()["status"].to_pylist()[1] == "paused"
    sweep.add(Opened, run=2)
    sweep.close("done")
    assert load_sweep(sweep.folder).table()["status"].to_pylist()[1] == "stopped"


def test_ranking_puts_failed_and_diverged_trials_last(sweep):
    ranked = load_sweep(sweep.folder).ranked()
    assert [trial.number for trial in ranked] == [0, 1, 2, 3, 4]
    assert load_sweep(sweep.folder).best is not None


def test_ranking_follows_the_mode(make_sweep):
    made = make_sweep(metric="val_loss", mode="min")
    for number, value in enumerate([0.3, 0.1, 0.2]):
        made.ask(number, lr=0.1)
        made.report(number, 1, value, metric="val_loss")
    results = load_sweep(made.folder)
    assert [trial.number for trial in results.ranked()] == [1, 2, 0]
    assert results.best.number == 1


def test_metrics_are_a_row_a_report_with_the_objective_first(sweep):
    table = load_sweep(sweep.folder).metrics()
    assert table.column_names == ["trial", "run", "step", "time", "val_accuracy", "val_loss"]
    rows = table.to_pylist()
    assert [(row["trial"], row["step"]) for row in rows] == [(0, 1), (0, 2), (1, 1), (3, 1)]
    assert rows[0]["val_loss"] is None
    assert math.isnan(rows[3]["val_accuracy"])


def test_a_metric_named_as_a_column_keeps_its_own(make_sweep):
    made = make_sweep()
    made.ask(0, lr=0.1)
    made.report(0, 1, 0.5, **{"time": 3.0})
    assert load_sweep(made.folder).metrics()["metric.time"].to_pylist() == [3.0]


@pytest.mark.parametrize(
    ("space", "value", "kind", "shown"),
    [
        ("interval(0, 1)", 0.5, pa.float64(), 0.5),
        ("tag(one_minus_log, interval(0.9, 0.999))", 0.99, pa.float64(), 0.99),
        ("int(interval(1, 8))", 3, pa.int64(), 3),
        ("range(1, 10, 2)", 5, pa.int64(), 5),
        ("1,2", 2, pa.int64(), 2),
        ("0.5,null", 0.5, pa.float64(), 0.5),
        ("null,0.5", None, pa.float64(), None),
        ("true,false", True, pa.bool_(), True),
        ("a,b", "b", pa.string(), "b"),
        ("1,1.0", 1.0, pa.string(), "1.0"),
        ("1,a", 1, pa.string(), "1"),
        ("[1,2],[3]", [1, 2], pa.string(), "[1, 2]"),
        ("{a:1},{a:2}", {"a": 2}, pa.string(), '{"a": 2}'),
        ("99999999999999999999,1", 1, pa.string(), "1"),
    ],
)
def test_a_parameter_column_has_the_type_of_its_values(make_sweep, space, value, kind, shown):
    made = make_sweep({"x": space})
    assert load_sweep(made.folder).table()["params.x"].type == kind
    made.ask(0, x=value)
    column = load_sweep(made.folder).table()["params.x"]
    assert column.type == kind
    assert column.to_pylist() == [pytest.approx(shown) if isinstance(shown, float) else shown]


def test_tables_are_written_whole_beside_the_journal(sweep):
    results = write_tables(sweep.folder)
    assert pq.read_table(sweep.folder.trials_table).equals(results.table())
    metrics = pq.read_table(sweep.folder.metrics_table)
    assert str(metrics.to_pydict()) == str(results.metrics().to_pydict())
    names = {path.name for path in sweep.folder.path.iterdir()}
    assert names == {"sweep.yaml", "journal.log", "trials.parquet", "metrics.parquet"}
    about = json.loads(pq.read_schema(sweep.folder.trials_table).metadata[b"caviar"])
    assert {"sweep": "sweep", "metric": "val_accuracy", "mode": "max"}.items() <= about.items()


def test_a_running_sweep_is_read_up_to_its_last_whole_line(sweep):
    with sweep.folder.journal.open("ab") as file:
        file.write(b'{"op_code": 7, "trial')
    assert len(load_sweep(sweep.folder).trials) == 5


def test_some_trials_can_be_picked_from_a_table_in_their_order(sweep):
    results = load_sweep(sweep.folder)
    best = [results.trials[1], results.trials[0]]
    assert results.only(results.table(), best)["number"].to_pylist() == [1, 0]
    assert results.only(results.metrics(), best)["trial"].to_pylist() == [1, 0, 0]


def test_csv_json_and_parquet_hold_the_same_rows(sweep, tmp_path, capsys):
    table = load_sweep(sweep.folder).table()
    write_csv(table, tmp_path / "t.csv")
    assert pa.csv.read_csv(tmp_path / "t.csv")["number"].to_pylist() == [0, 1, 2, 3, 4]
    write_parquet(table, tmp_path / "t.parquet")
    assert pq.read_table(tmp_path / "t.parquet").equals(table)
    write_json(table, None)
    rows = json.loads(capsys.readouterr().out)
    assert rows[0]["started"].startswith("2023-11-14T22:13:23")
    assert rows[3]["value"] is None


def test_an_empty_sweep_has_empty_tables(make_sweep):
    results = load_sweep(make_sweep().folder)
    assert results.table().num_rows == 0
    assert results.metrics().column_names == ["trial", "run", "step", "time"]
    assert results.best is None


def test_a_sweep_that_never_began_is_named(make_sweep):
    made = make_sweep()
    made.folder.journal.unlink()
    with pytest.raises(SweepError, match=r"no journal\.log: its sweep never began"):
        load_sweep(made.folder)


def test_a_folder_that_is_no_sweep_is_refused(tmp_path):
    with pytest.raises(SweepError, match=r"sweep\.yaml cannot be read"):
        load_sweep(SweepFolder(tmp_path))
