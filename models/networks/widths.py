"""Numbers of layers and of their units or channels, from a network's options."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from models.checks import integer

if TYPE_CHECKING:
    from typing_extensions import TypeIs


def at_least_1(**values: int) -> None:
    """Check options that count something.

    Raises:
        ValueError: One is less than 1.
    """
    for name, value in values.items():
        integer(f"model.{name}", value, lambda v: v >= 1, "1 or more")


def is_list(value: int | Sequence[int]) -> TypeIs[Sequence[int]]:
    """Whether an option lists numbers; text is a sequence too, and no list."""
    return isinstance(value, Sequence) and not isinstance(value, str)


def hidden_widths(depth: int | None, width: int | Sequence[int]) -> list[int]:
    """Units of each hidden layer: the same in all, 2 where no depth is given, or as listed.

    Raises:
        ValueError: A number is out of its range, or `depth` and a list `width` disagree.
    """
    if is_list(width):
        return _listed(depth, width)
    integer("model.depth", depth, lambda v: v >= 0, "0 or more", null=True)
    at_least_1(width=width)
    return [width] * (2 if depth is None else depth)


def stage_widths(
    depth: int | None, width: int | Sequence[int], *, default_depth: int = 3
) -> list[int]:
    """Channels of each stage: twice as many in each as in the one before, or as listed.

    Raises:
        ValueError: A number is out of its range, or `depth` and a list `width` disagree.
    """
    if is_list(width):
        return _listed(depth, width)
    stages = default_depth if depth is None else depth
    at_least_1(depth=stages, width=width)
    return [width * 2**stage for stage in range(stages)]


def _listed(depth: int | None, width: Sequence[int]) -> list[int]:
    if depth is not None and depth != len(width):
        raise ValueError(
            f"model.depth is {depth} and model.width lists {len(width)} layers; "
            "they must agree, or model.depth be null"
        )
    for units in width:
        at_least_1(width=units)
    return list(width)
