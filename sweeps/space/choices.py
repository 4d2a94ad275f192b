"""Choices by name: a table, and a helpful miss."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from sweeps.errors import ConfigError, did_you_mean

T = TypeVar("T")

GIVEN = ("space", "view", "seed", "rungs", "num_samples")
"""What a sweep itself hands to those that take it; no options of the user's."""


def describe(table: Mapping[str, Callable[..., T]]) -> Iterator[tuple[str, str, str]]:
    """Of each choice its name, what it is in a line, and its options with their defaults."""
    for name in sorted(table):
        about = (inspect.getdoc(table[name]) or "").partition("\n")[0]
        options = [
            str(parameter.replace(annotation=parameter.empty)).replace(" = ", "=")
            for parameter in inspect.signature(table[name]).parameters.values()
            if parameter.name not in GIVEN
        ]
        yield name, about, ", ".join(options)


def make(
    table: Mapping[str, Callable[..., T]],
    name: str,
    *,
    key: str,
    given: Mapping[str, Any],
    options: Mapping[str, Any],
) -> T:
    """Build `table[name]` from the user's options and what it takes of `given`.

    Raises:
        ConfigError: The name is not in the table, an option is unknown, or its value is refused.
    """
    if name not in table:
        raise ConfigError(
            f"{key} is {name!r}; choose from {', '.join(sorted(table))}{did_you_mean(name, table)}"
        )
    factory = table[name]
    takes = inspect.signature(factory).parameters
    known = [p for p in takes if p not in given]
    for option in options:
        if option not in known:
            raise ConfigError(
                f"{key}.{option} is not an option of {name}; it takes "
                f"{', '.join(known) or 'none'}{did_you_mean(option, known)}"
            )
    try:
        return factory(**{p: given[p] for p in given if p in takes}, **options)
    except (ValueError, TypeError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{key} ({name}): {error}") from error
