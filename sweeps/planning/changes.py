"""What a sweep that goes on is asked to do otherwise than before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sweeps.secrets import is_masked
from sweeps.space.space import Space


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
) -> Iterator[tuple[str | None, str | None]]:
    """The fixed overrides that are not the same, before and now; None where there is none.

    What is searched now, or was before, is no matter of theirs: it is another search space. What a
    secret was is not known.

    Args:
        was: The fixed overrides before.
        now: Those that are asked for.
        spaces: What is and was searched.
    """
    searched = {parameter.name for space in spaces for parameter in space.parameters}
    before = {_name(override): override for override in was}
    after = {_name(override): override for override in now}
    for name in {**before, **after}:
        old, new = before.get(name), after.get(name)
        if old != new and name not in searched and not is_masked(old or ""):
            yield old, new


def _name(override: str) -> str:
    return override.partition("=")[0].lstrip("+~")


def _described(space: Space) -> dict[str, str]:
    constraints = {repr(constraint.text): "a constraint" for constraint in space.constraints}
    return {**dict(space.describe()), **constraints}
