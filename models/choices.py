"""A choice by name: a table, and a helpful miss."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")


def choose(table: Mapping[str, T], name: str, *, key: str) -> T:
    """The entry `name` of a table.

    Args:
        table: What there is, by name.
        name: What was asked for.
        key: The config key that asked, for the message.

    Raises:
        ValueError: The table has no such entry; the message lists what there is.
    """
    try:
        return table[name]
    except (KeyError, TypeError):
        raise ValueError(miss(name, list(table), key=key)) from None


def miss(name: object, choices: list[str], *, key: str, limit: int = 20) -> str:
    """One line that says what was asked for, the nearest choice, and what there is."""
    near = difflib.get_close_matches(str(name), choices, n=1, cutoff=0.5)
    hint = f" did you mean {near[0]!r}?" if near else ""
    listed = ", ".join(sorted(choices)[:limit]) + (", ..." if len(choices) > limit else "")
    return f"{key} is {name!r};{hint} choose from: {listed}"
