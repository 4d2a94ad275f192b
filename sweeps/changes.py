"""What a sweep that goes on is asked to do otherwise than before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sweeps.space import Space


def of_space(was: Space, now: Space) -> list[str]:
    """What became of each parameter and constraint that is not the same, in words."""
    before, after = _described(was), _described(now)
    return [
        f"{name} was {before.get(name, 'not there')} and is now {after.get(name, 'not there')}"
        for name in {**before, **after}
        if before.get(name) != after.get(name)
    ]


def of_fixed(
    was: Iterable[str], now: Iterable[str], *, spaces: Iterable[Space]
) -> Iterator[tuple[str | None, str]]:
    """The fixed overrides that are new (None before) or have another value: before and now.

    What is searched now, or was before, is no matter of theirs: it is another search space.

    Args:
        was: The fixed overrides before.
        now: Those that are asked for.
        spaces: What is and was searched.
    """
    searched = {parameter.name for space in spaces for parameter in space.parameters}
    before = {_name(override): override for override in was}
    for override in now:
        name = _name(override)
        if name not in searched and before.get(name) != override:
            yield before.get(name), override


def _name(override: str) -> str:
    return override.partition("=")[0].lstrip("+~")


def _described(space: Space) -> dict[str, str]:
    constraints = {repr(constraint.text): "a constraint" for constraint in space.constraints}
    return {**dict(space.describe()), **constraints}
