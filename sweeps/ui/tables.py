"""A sweep's trials as the page's table shows them."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pandas as pd
import pyarrow as pa

from sweeps.columns import parameter_array
from sweeps.errors import ConfigError, did_you_mean
from sweeps.journal.trials import Trial
from sweeps.render import short_names
from sweeps.results import SweepResults

ORDERS = ("best first", "newest first", "by number")

_CONDITION = re.compile(
    r"\s*([^\s<>=!]+)\s*(<=|>=|!=|==|=|<|>)\s*(\"[^\"]*\"|[^\s,]+)\s*(?:,|$|\s)"
)
_PARAMETER = "params."


def trials_frame(sweep: SweepResults) -> pd.DataFrame:
    """A row a trial, by number, with its parameters; `rank` is 0 for the best one."""
    trials = list(sweep.trials)
    rank = {trial.number: i for i, trial in enumerate(sweep.ranked())}
    columns: dict[str, pa.Array] = {
        "trial": pa.array([trial.number for trial in trials], pa.int64()),
        "status": pa.array([sweep.status(trial).value for trial in trials], pa.string()),
        "value": pa.array([trial.value for trial in trials], pa.float64()),
        **_other_objectives(sweep, trials),
        "step": pa.array([t.step if t.reports else None for t in trials], pa.int64()),
        "seconds": pa.array([round(trial.seconds, 1) for trial in trials], pa.float64()),
        "rank": pa.array([rank[trial.number] for trial in trials], pa.int64()),
    }
    values = [sweep.values(trial) for trial in trials]
    for name, domains in sweep.parameters.items():
        array = parameter_array(domains, [row.get(name) for row in values])
        columns[_PARAMETER + name] = array
    frame: pd.DataFrame = pa.table(columns).to_pandas(types_mapper=pd.ArrowDtype)
    return frame


def labels(sweep: SweepResults) -> dict[str, str]:
    """What the page calls the columns of objectives and parameters."""
    first, *others = sweep.objective.all
    return {
        "value": first.metric,
        **{f"value.{objective.metric}": objective.metric for objective in others},
        **{_PARAMETER + name: short for name, short in short_names(sweep.parameters).items()},
    }


def selected(
    frame: pd.DataFrame, labels: dict[str, str], *, statuses: Sequence[str], text: str, order: str
) -> pd.DataFrame:
    """The rows of these statuses that meet all conditions, in an order.

    Args:
        frame: Of `trials_frame`.
        labels: Of its columns; conditions may use either name.
        statuses: None means all.
        text: Conditions such as `lr<0.01 model=mlp`.
        order: One of `ORDERS`.

    Raises:
        ConfigError: There is no such column, or it is no condition.
    """
    if statuses:
        frame = frame[frame["status"].isin(statuses)]
    for name, relation, value in _conditions(text):
        frame = frame[_holds(frame[_column(frame, labels, name)], relation, value)]
    if order == "best first":
        return frame.sort_values("rank")
    return frame.iloc[::-1] if order == "newest first" else frame


def _other_objectives(sweep: SweepResults, trials: Sequence[Trial]) -> dict[str, pa.Array]:
    return {
        f"value.{objective.metric}": pa.array(
            [trial.values[i] if trial.values else None for trial in trials], pa.float64()
        )
        for i, objective in enumerate(sweep.objective.others, start=1)
    }


def _conditions(text: str) -> list[tuple[str, str, str]]:
    found, place = [], 0
    while text[place:].strip():
        match = _CONDITION.match(text, place)
        if match is None:
            raise ConfigError(
                f"{text[place:].strip()!r} is no condition: write NAME, one of < <= > >= = !=, and "
                f"a value, such as lr<0.01 model=mlp"
            )
        name, relation, value = match.groups()
        found.append((name, relation, value.strip('"')))
        place = match.end()
    return found


def _column(frame: pd.DataFrame, labels: dict[str, str], name: str) -> str:
    names = {column: column for column in frame.columns} | {
        label: column for column, label in labels.items()
    }
    names |= {c.removeprefix(_PARAMETER): c for c in frame.columns if c.startswith(_PARAMETER)}
    if name not in names:
        raise ConfigError(f"there is no column {name!r}{did_you_mean(name, names)}")
    return names[name]


def _holds(column: pd.Series, relation: str, value: str) -> pd.Series:
    """Where a column's value stands so to the given one; where it has none, nowhere."""
    numeric = pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
    given: object = value
    if numeric:
        try:
            given = float(value)
        except ValueError:
            raise ConfigError(f"{value!r} is no number, and the column holds numbers") from None
    else:
        column = column.astype("string").str.lower()
        given = value.lower()
    holds = {
        "<": column.lt,
        "<=": column.le,
        ">": column.gt,
        ">=": column.ge,
        "!=": column.ne,
    }.get(relation, column.eq)(given)
    return holds.fillna(False).astype(bool)
