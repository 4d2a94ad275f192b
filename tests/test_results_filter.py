"""Which rows, in which order, with which columns."""

import math
from datetime import UTC, datetime

import pyarrow as pa
import pytest

from sweeps.errors import ConfigError
from sweeps.results import schema
from sweeps.results.filter import filtered
from sweeps.results.join import joined
from sweeps.results.pick import find_column, selected, sorted_by

TABLE = pa.table(
    {
        "number": pa.array([0, 1, 2, 3, 4]),
        "status": ["complete", "stopped", "failed", "running", "diverged"],
        "value": pa.array([0.1, 0.3, None, 0.2, math.nan]),
        "pareto": [True, False, False, None, False],
        "started": pa.array(
            [datetime(2026, 1, day, tzinfo=UTC) for day in range(1, 6)], schema.TIME
        ),
        "error": [None, None, "ValueError: out of Memory", None, None],
        "params.optimizer.lr": [1e-4, 1e-3, 1e-2, 1e-1, 1.0],
        "params.model": ["mlp", "convnet", "mlp", "mlp", "convnet"],
        "params.model.width": pa.array([8, None, 16, 32, None], pa.int64()),
        "params.head.lr rate": [1.0, 2.0, 3.0, 4.0, 5.0],
        "best.val/loss": [1.0, 2.0, None, 4.0, 5.0],
    }
)


@pytest.mark.parametrize(
    ("expression", "numbers"),
    [
        ("value<0.25", [0, 3]),
        ("value<0.25 and params.lr>=1e-3 and status==running", [3]),
        ("value <= 0.1 or value >= 0.3", [0, 1]),
        ("value<0.25 or value>0.25 and status==complete", [0, 3]),
        ("(value<0.25 or value>0.25) and status==complete", [0]),
        ("not value<0.25", [1, 2, 4]),
        ("NOT (status==failed OR status==running)", [0, 1, 4]),
        ("status==done", [0, 1, 2, 4]),
        ("status!=done", [3]),
        ("status in (failed, running)", [2, 3]),
        ("model=mlp", [0, 2, 3]),
        ("model != mlp", [1, 4]),
        ("width==16", [2]),
        ("width in (8, 32)", [0, 3]),
        ("width==null", [1, 4]),
        ("width != null", [0, 2, 3]),
        ("width != 16", [0, 3]),
        ("value == nan", [4]),
        ("value != nan", [0, 1, 3]),
        ("value < inf", [0, 1, 3]),
        ("value > -0.1", [0, 1, 3]),
        ("pareto", [0]),
        ("not pareto", [1, 2, 3, 4]),
        ("pareto == false", [1, 2, 4]),
        ("error ~ memory", [2]),
        ("started >= 2026-01-04", [3, 4]),
        ("started < 2026-01-02T00:00:00+00:00", [0]),
        ("`params.head.lr rate` > 3", [3, 4]),
        ("'val/loss' >= 4", [3, 4]),
        ("val/loss >= 4", [3, 4]),
        ("accuracy > 0.25", [1]),
    ],
)
def test_a_condition_picks_rows(expression, numbers):
    found = filtered(TABLE, expression, metric="accuracy")
    assert found["number"].to_pylist() == numbers


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("", "it ends where a column should come"),
        ("value", "behind value comes one of <, <="),
        ("value <", "it ends where a value should come"),
        ("value < < 3", "'<' stands where a value should come"),
        ("value < 3 4", "'4' is one too many"),
        ("(value < 3", r"'\)' should come before the end"),
        ("value in 3", r"'\(' should come before '3'"),
        ("value < abc", "value holds numbers, and 'abc' is none"),
        ("model < 3", "holds text: compare it by == or !="),
        ("value ~ 3", "~ looks in text, and value holds numbers"),
        ("pareto == maybe", "pareto holds true or false, and 'maybe' is none"),
        ("started > yesterday", "holds times such as"),
        ("status == complet", "status is never 'complet'.*did you mean complete"),
        ("status > complete", "status holds text"),
        ("valeu < 3", "no column 'valeu'; did you mean value"),
        ("learning_rate < 3", "no column 'learning_rate'.*there are number, status"),
        ('model == "mlp', "cannot be read"),
        ("(" * 60 + "value<1" + ")" * 60, "more than 50 levels"),
        ("__import__('os').system('x')", "there is no column '__import__'"),
    ],
)
def test_a_condition_that_cannot_be_read_is_answered_with_the_rule(expression, reason):
    with pytest.raises(ConfigError, match=reason):
        filtered(TABLE, expression)


def test_a_name_with_several_meanings_is_asked_for():
    table = pa.table({"params.a.lr": [1.0], "params.b.lr": [2.0]})
    with pytest.raises(ConfigError, match=r"may mean params\.a\.lr or params\.b\.lr"):
        find_column(table, "lr", flag="--sort")


@pytest.mark.parametrize(
    ("keys", "numbers"),
    [
        (["value"], [0, 3, 1, 4, 2]),
        (["-value"], [1, 3, 0, 4, 2]),
        (["value:desc"], [1, 3, 0, 4, 2]),
        (["-value:desc"], [0, 3, 1, 4, 2]),
        (["model", "-lr"], [4, 1, 3, 2, 0]),
        (["-pareto", "number"], [0, 1, 2, 4, 3]),
        ([], [0, 1, 2, 3, 4]),
    ],
)
def test_rows_are_sorted_and_what_is_missing_comes_last(keys, numbers):
    table = TABLE.drop_columns(["params.head.lr rate"])
    assert sorted_by(table, keys)["number"].to_pylist() == numbers


def test_an_unknown_order_or_column_is_refused():
    with pytest.raises(ConfigError, match="asc or desc"):
        sorted_by(TABLE, ["value:down"])
    with pytest.raises(ConfigError, match=r"--sort: there is no column 'valu'; did you mean"):
        sorted_by(TABLE, ["-valu"])


def test_columns_are_picked_in_their_order_once():
    assert selected(TABLE, "width, number,width").column_names == ["params.model.width", "number"]
    with pytest.raises(ConfigError, match="--columns is empty"):
        selected(TABLE, " , ")


def test_tables_of_different_columns_and_types_are_joined():
    one = pa.table({"a": [1, 2], "b": [True, False]})
    other = pa.table({"a": [0.5], "b": ["x"], "c": [3]})
    assert joined([one, other]).to_pydict() == {
        "a": [1.0, 2.0, 0.5],
        "b": ["true", "false", "x"],
        "c": [None, None, 3],
    }
