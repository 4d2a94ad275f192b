"""Numbers of layers and of their units or channels, from a network's options."""

from __future__ import annotations

from collections.abc import Sequence


def at_least_1(**values: int) -> None:
    """Check options that count something.

    Raises:
        ValueError: One is less than 1.
    """
    for name, value in values.items():
        if value < 1:
            raise ValueError(f"model.{name} is {value}; it must be 1 or more")


def hidden_widths(depth: int | None, width: int | Sequence[int]) -> list[int]:
    """Units of each hidden layer: the same in all, 2 where no depth is given, or as listed.

    Raises:
        ValueError: A number is out of its range, or `depth` and a list `width` disagree.
    """
    if not isinstance(width, int):
        return _listed(depth, width)
    if depth is not None and depth < 0:
        raise ValueError(f"model.depth is {depth}; it must be 0 or more")
    at_least_1(width=width)
    return [width] * (2 if depth is None else depth)


def stage_widths(
    depth: int | None, width: int | Sequence[int], *, default_depth: int = 3
) -> list[int]:
    """Channels of each stage: twice as many in each as in the one before, or as listed.

    Raises:
        ValueError: A number is out of its range, or `depth` and a list `width` disagree.
    """
    if not isinstance(width, int):
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
