"""A sweep's trials as the page's table shows them: filtered, ordered, in a few columns."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from sweeps.errors import ConfigError
from sweeps.render import short_names
from sweeps.results import SweepResults
from sweeps.results.filter import filtered

ORDERS = ("best first", "newest first", "by number")

_PARAMETER = "params."
_RANK = "rank"


def trials_table(sweep: SweepResults) -> pa.Table:
    """The table of `caviar results`, and of each trial how many are better."""
    table = sweep.table()
    rank = {trial.number: place for place, trial in enumerate(sweep.ranked())}
    ranks = [rank[number] for number in table["number"].to_pylist()]
    return table.append_column(_RANK, pa.array(ranks, pa.int64()))


def labels(sweep: SweepResults) -> dict[str, str]:
    """The columns that the page shows, and what it calls them."""
    first, *others = sweep.objective.all
    return {
        "number": "trial",
        "status": "status",
        "value": first.metric,
        **{f"value.{objective.metric}": objective.metric for objective in others},
        "step": "step",
        "duration_s": "seconds",
        **{_PARAMETER + name: short for name, short in short_names(sweep.parameters).items()},
    }


def selected(
    table: pa.Table, *, statuses: Sequence[str], condition: str, metric: str, order: str
) -> pa.Table:
    """The rows of these statuses that meet a condition, in an order.

    Args:
        table: Of `trials_table`.
        statuses: None means all.
        condition: As of `caviar results --filter`; empty where there is none.
        metric: The objective's, by which `value` may be called.
        order: One of `ORDERS`.

    Raises:
        ConfigError: The condition cannot be read, or names no column.
    """
    if statuses:
        table = table.filter(pc.is_in(table["status"], pa.array(statuses, pa.string())))
    if condition.strip():
        try:
            table = filtered(table, condition, metric=metric)
        except ConfigError as error:
            raise ConfigError(str(error).removeprefix("--")) from error
    if order == "by number":
        return table
    by = [(_RANK, "ascending")] if order == "best first" else [("number", "descending")]
    return table.sort_by(by)


def shown(table: pa.Table, columns: Sequence[str]) -> pa.Table:
    """Those of the columns that there are."""
    return table.select([name for name in columns if name in table.column_names])
