"""What a sweep that goes on is asked to do otherwise."""

from __future__ import annotations

import pytest

from sweeps.planning import changes
from sweeps.space.space import parse_space

SEARCHED, _ = parse_space({"lr": "interval(0, 1)", "depth": "range(1, 6)"}, [])
FEWER, _ = parse_space({"lr": "interval(0, 1)"}, [])


@pytest.mark.parametrize(
    ("now", "told"),
    [
        (["width=5", "+net=a"], []),
        (["+width=5", "+net=a"], [("width=5", "+width=5")]),
        (["width=6", "+net=a"], [("width=5", "width=6")]),
        (["width=5", "+net=a", "epochs=3"], [(None, "epochs=3")]),
        (["width=5", "+net=a", "depth=2"], []),
        (["width=5", "+net=a", "+api_key=${oc.env:KEY}"], []),
        (["width=5"], [("+net=a", None)]),
    ],
)
def test_fixed_overrides_that_are_new_or_others_are_told(
    now: list[str], told: list[tuple[str | None, str]]
) -> None:
    was = ["width=5", "+net=a", "+api_key=***"]
    assert list(changes.of_fixed(was, now, spaces=[SEARCHED, FEWER])) == told


def test_what_became_of_each_parameter_is_told() -> None:
    assert changes.of_space(SEARCHED, SEARCHED) == []
    assert changes.of_space(SEARCHED, FEWER) == ["depth was range(1, 6) and is now not there"]
