"""Columns by the names that users give them, rows in the order that they ask for."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from sweeps.errors import ConfigError, did_you_mean

_KINDS = ("params.", "best.", "returned.", "value.")
_LISTED = 12


def find_column(table: pa.Table, name: str, *, flag: str, metric: str | None = None) -> str:
    """A column by its name, or by what can only mean it: `lr` is `params.optimizer.lr`.

    Args:
        table: Which has the columns.
        name: As given.
        flag: Where it was given, for the message.
        metric: The objective's metric, which `value` holds.

    Raises:
        ConfigError: There is none, or there are several; the nearest is named.
    """
    names: list[str] = table.column_names
    if name in names:
        return name
    if name == metric and "value" in names:
        return "value"
    for kind in _KINDS:
        bare = name.removeprefix(kind)
        of_kind = [n for n in names if n.startswith(kind)]
        if f"{kind}{bare}" in of_kind:
            return f"{kind}{bare}"
        ending = [n for n in of_kind if n.removeprefix(kind).endswith(f".{bare}")]
        if len(ending) > 1:
            raise ConfigError(f"{flag}: {name!r} may mean {' or '.join(ending)}: say which")
        if ending:
            return ending[0]
    raise ConfigError(
        f"{flag}: there is no column {name!r}{did_you_mean(name, _words(names))}; "
        f"there are {', '.join(names[:_LISTED])}{', ...' if len(names) > _LISTED else ''}"
    )


def _words(names: Sequence[str]) -> list[str]:
    """What a column may be called: in full, and by its last part."""
    return [*names, *(name.rpartition(".")[2] for name in names)]


def sorted_by(table: pa.Table, keys: Sequence[str], *, metric: str | None = None) -> pa.Table:
    """The rows in an order; what is missing or NaN comes last, equal ones stay as they were.

    Args:
        table: To sort.
        keys: Columns, the first counts most; `-lr` and `lr:desc` turn the order round.
        metric: As in `find_column`.
    """
    order = [_key(table, key, metric) for key in keys]
    if not order:
        return table
    return table.take(pc.sort_indices(table, order))


def _key(table: pa.Table, given: str, metric: str | None) -> tuple[str, str]:
    name, _, way = given.partition(":")
    if way not in ("", "asc", "desc"):
        raise ConfigError(f"--sort is {given!r}; behind the colon stands asc or desc")
    turned = name.startswith("-") and name not in table.column_names
    column = find_column(table, name[1:] if turned else name, flag="--sort", metric=metric)
    return column, "descending" if turned != (way == "desc") else "ascending"


def selected(table: pa.Table, names: str | None, *, metric: str | None = None) -> pa.Table:
    """The columns of a list such as `number,value,lr`, in that order; all without one."""
    if names is None:
        return table
    given = [name.strip() for name in names.split(",") if name.strip()]
    if not given:
        raise ConfigError("--columns is empty: give names such as number,value")
    found = [find_column(table, name, flag="--columns", metric=metric) for name in given]
    return table.select(list(dict.fromkeys(found)))
