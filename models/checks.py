"""A wrong option answered in one line."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral, Real
from typing import Any


def require(holds: bool, key: str, value: object, rule: str) -> None:
    """Check one option.

    Args:
        holds: Whether the rule does.
        key: The config key, such as `trainer.epochs`.
        value: What it was given.
        rule: What it must be, as the end of a sentence that begins with `it must be`.

    Raises:
        ValueError: With key, value and rule.
    """
    if not holds:
        raise ValueError(f"{key} is {value!r}; it must be {rule}")


def number(
    key: str, value: object, holds: Callable[[Any], bool], rule: str, *, null: bool = False
) -> None:
    """Check that an option is a number within its range, or None where `null` allows it.

    Args:
        key: The config key.
        value: What it was given.
        holds: Whether a number is within the range.
        rule: The range in words, such as `1 or more`.
        null: Whether None will do.

    Raises:
        ValueError: With key, value and rule; `true`, text and NaN are no numbers.
    """
    _check(Real, "a number", key, value, holds, rule, null=null)


def integer(
    key: str, value: object, holds: Callable[[Any], bool], rule: str, *, null: bool = False
) -> None:
    """As `number`, of whole numbers: 1.5 is refused, and so is 2.0."""
    _check(Integral, "a whole number", key, value, holds, rule, null=null)


def _check(
    kind: type,
    called: str,
    key: str,
    value: object,
    holds: Callable[[Any], bool],
    rule: str,
    *,
    null: bool,
) -> None:
    if value is None and null:
        return
    rule = f"{rule}, or null" if null else rule
    is_number = isinstance(value, kind) and not isinstance(value, bool)
    require(is_number, key, value, f"{called}, {rule}")
    require(holds(value), key, value, rule)
