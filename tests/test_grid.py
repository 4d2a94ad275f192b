from __future__ import annotations

import time
from typing import Any

import pytest

from sweeps.errors import ConfigError
from sweeps.journal.objective import Objective
from sweeps.searchers import View, make_searcher
from sweeps.space import grid
from sweeps.space.space import Space, parse_space


def space_of(params: dict[str, str], **options: Any) -> Space:
    return parse_space(params, [], **options)[0]


def tried(space: Space, levels: Any = None) -> list[dict[str, Any]]:
    searcher = make_searcher("grid", space=space, view=View(Objective()), seed=0, levels=levels)
    assert searcher.limit is not None
    return [space.values(searcher.ask(number)) for number in range(searcher.limit)]


@pytest.mark.parametrize(
    ("domain", "levels", "values"),
    [
        ("interval(0, 1)", 5, [0.0, 0.25, 0.5, 0.75, 1.0]),
        ("interval(0.1, 0.5)", 5, [0.1, 0.2, 0.3, 0.4, 0.5]),
        ("interval(-1, 1)", 2, [-1.0, 1.0]),
        ("tag(log, interval(1e-4, 1))", 5, [1e-4, 1e-3, 1e-2, 1e-1, 1.0]),
        ("tag(one_minus_log, interval(0.9, 0.999))", 3, [0.9, 0.99, 0.999]),
        ("tag(one_minus_log, interval(0, 0.9375))", 5, [0.0, 0.5, 0.75, 0.875, 0.9375]),
        ("int(interval(1, 9))", 3, [1, 5, 9]),
        ("int(interval(1, 8))", 5, [1, 3, 4, 6, 8]),
        ("int(interval(1, 3))", 7, [1, 2, 3]),
        ("int(tag(log, interval(16, 256)))", 5, [16, 32, 64, 128, 256]),
        ("int(tag(log, interval(1, 8)))", 7, [1, 2, 3, 4, 6, 8]),
        ("range(0, 7)", 3, [0, 1, 2, 3, 4, 5, 6]),
        ("range(0, 1, 0.25)", 3, [0.0, 0.25, 0.5, 0.75]),
        ("choice(a, b, c)", 2, ["a", "b", "c"]),
    ],
)
def test_levels_are_equally_far_apart_on_their_scale_with_both_ends(
    domain: str, levels: int, values: list[Any]
) -> None:
    got = [row["x"] for row in tried(space_of({"x": domain}), levels)]
    assert got == values
    assert [type(value) for value in got] == [type(value) for value in values]


@pytest.mark.parametrize("scale", ["log", "uniform", "one_minus_log"])
def test_levels_stay_inside_awkward_bounds(scale: str) -> None:
    text = "interval(0.1234567, 0.987654321)"
    space = space_of({"x": text if scale == "uniform" else f"tag({scale}, {text})"})
    got = [row["x"] for row in tried(space, 50)]
    assert got == sorted(set(got))
    assert (got[0], got[-1], len(got)) == (0.1234567, 0.987654321, 50)


def test_levels_by_name_leave_the_other_integers_whole() -> None:
    space = space_of(
        {"lr": "interval(0, 1)", "n": "int(interval(1, 9))", "m": "int(interval(1,3))"}
    )
    rows = tried(space, {"lr": 3, "n": 2})
    assert len(rows) == 3 * 2 * 3
    assert {row["n"] for row in rows} == {1, 9}
    assert {row["m"] for row in rows} == {1, 2, 3}


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        (None, "grid needs a range or a choice: lr is interval(0.0, 1.0); or say into how many "
         "values an interval is cut with hydra.sweeper.searcher.levels=5, or ={lr: 5}"),
        (1, "hydra.sweeper.searcher.levels is 1; it must be a number of values, 2 or more"),
        (2.5, "hydra.sweeper.searcher.levels is 2.5; it must"),
        (True, "hydra.sweeper.searcher.levels is True; it must"),
        ("many", "hydra.sweeper.searcher.levels is 'many'; it must"),
        ({"lr": 0}, "hydra.sweeper.searcher.levels.lr is 0; it must"),
        ({"optimizr": 5}, "hydra.sweeper.searcher.levels: optimizr is not swept; did you mean "
         "optimizer?"),
        ({"optimizer": 5}, "hydra.sweeper.searcher.levels: optimizer is choice(adam, sgd), which a "
         "grid takes whole"),
        ({"n": 3}, "hydra.sweeper.searcher.levels: n is range(1, 9), which a grid takes whole"),
        ({}, "grid needs a range or a choice: lr"),
    ],
)  # fmt: skip
def test_levels_that_break_a_rule_are_refused(levels: Any, message: str) -> None:
    space = space_of({"lr": "interval(0,1)", "optimizer": "adam,sgd", "n": "range(1,9)"})
    with pytest.raises(ConfigError) as caught:
        tried(space, levels)
    assert message in str(caught.value)


CONDITIONAL = {
    "lr": "0.1,0.2",
    "model.kernel": "3,5",
    "model": "mlp,convnet,resnet",
    "model.channels": "16,64",
}
WHEN = {
    "model.channels": {"model": ["convnet", "resnet"]},
    "model.kernel": {"model.channels": 64},
}


def test_what_does_not_exist_makes_no_second_combination() -> None:
    space = space_of(CONDITIONAL, when=WHEN)
    rows = tried(space)
    expected = [
        {"lr": lr, "model.kernel": kernel, "model": model, "model.channels": channels}
        for model, channels, kernels in [
            ("mlp", None, [None]),
            ("convnet", 16, [None]),
            ("convnet", 64, [3, 5]),
            ("resnet", 16, [None]),
            ("resnet", 64, [3, 5]),
        ]
        for lr in (0.1, 0.2)
        for kernel in kernels
    ]
    assert rows == [{k: v for k, v in row.items() if v is not None} for row in expected]
    assert space.size() == len(rows) == 14


def test_what_breaks_a_constraint_is_left_out_and_not_counted() -> None:
    space = space_of(
        {"a": "range(1,5)", "b": "range(1,5)", "c": "x,y"}, constraints=["a * b <= 4", "b > 1"]
    )
    rows = tried(space)
    assert rows == [
        {"a": a, "b": b, "c": c}
        for a in range(1, 5)
        for b in range(2, 5)
        if a * b <= 4
        for c in "xy"
    ]
    assert space.size() == len(rows)


def test_constraints_on_what_does_not_exist_hold() -> None:
    space = space_of(CONDITIONAL, when=WHEN, constraints=["model.kernel == 3", "lr < 0.2"])
    rows = tried(space)
    assert [row.get("model.kernel") for row in rows] == [None, None, 3, None, 3]
    assert {row["lr"] for row in rows} == {0.1}


def test_a_grid_that_constraints_empty_is_refused() -> None:
    space = space_of({"a": "range(1,5)"}, constraints=["a > 4", "a > 1"])
    with pytest.raises(ConfigError, match=r"no combination of the grid.*'a > 4' refuses 4"):
        tried(space)
    assert space.size() == 0


def test_slices_and_ends_of_a_conditional_grid() -> None:
    space = space_of(CONDITIONAL, when=WHEN)
    combinations = space.grid()
    everything = list(combinations)
    assert combinations[3:11:2] == everything[3:11:2]
    assert combinations[-1] == everything[-1]
    for index in (14, -15):
        with pytest.raises(IndexError):
            combinations[index]


def test_only_what_decides_is_enumerated() -> None:
    space = space_of(
        {**{f"x{i}": "range(0,1000000)" for i in range(3)}, "a": "range(1,100)", "b": "p,q"},
        when={"x0": {"b": "p"}},
        constraints=["a <= 50"],
    )
    started = time.perf_counter()
    combinations = space.grid()
    assert combinations.total == 50 * (10**18 + 10**12) == space.size()
    assert space.values(combinations[-1]) == {"x1": 999999, "x2": 999999, "a": 50, "b": "q"}
    assert time.perf_counter() - started < 0.5


def test_too_much_to_decide_on_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grid, "MOST_DECIDING", 24)
    fits = space_of({"a": "range(0,4)", "b": "range(0,6)", "c": "1,2"}, constraints=["a < b"])
    assert len(tried(fits)) == 28
    large = space_of({"a": "range(0,5)", "b": "range(0,5)", "c": "1,2"}, constraints=["a < b"])
    with pytest.raises(ConfigError, match=r"at most 24 combinations .* and a, b have more"):
        tried(large)
    assert large.size() is None


def test_a_continuous_space_has_no_size() -> None:
    assert space_of({"a": "interval(0,1)", "b": "1,2"}).size() is None
