"""A wrong option answered in one line."""

from __future__ import annotations


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
        raise ValueError(f"{key} is {value}; it must be {rule}")
