from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweeps.errors import ConfigError, SweepError
from sweeps.journal.events import Asked, Event
from sweeps.journal.objective import Objective
from sweeps.searchers import View, make_searcher, redraw
from sweeps.searchers.grid import GridSearcher
from sweeps.searchers.redraw import BY_SEARCHER, Redraw
from sweeps.simulate import Setup, simulate
from sweeps.space.constraints import parse_constraint
from sweeps.space.scale import from_unit
from sweeps.space.space import Space, parse_space

PARAMS = {
    "model.width": "int(interval(1, 4096))",
    "model.depth": "range(1, 65)",
    "model": "choice(mlp, convnet)",
    "model/norm": "choice(batch, layer)",
    "lambda": "interval(-1, 1)",
    "layers": "[1,2],[3]",
    "mixed": "auto,1,true,null",
    "x": "interval(-10, 10)",
    "y": "interval(-10, 10)",
}
SPACE, _ = parse_space(PARAMS, [])
VALUES = {
    "model.width": 64,
    "model.depth": 4,
    "model": "mlp",
    "model/norm": "batch",
    "lambda": -0.5,
    "layers": [1, 2],
    "mixed": "auto",
    "x": 2.0,
    "y": 0.0,
}


def constrained(params: Mapping[str, str], *constraints: str, **options: Any) -> Space:
    return parse_space(params, [], constraints=constraints, **options)[0]


def holds(text: str, **values: Any) -> bool:
    return parse_constraint(text, SPACE.parameters).holds({**VALUES, **values})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model.width * model.depth <= 256", True),
        ("model.width * model.depth < 256", False),
        ("1 < x <= 2 <= 3", True),
        ("1 < x < 2 <= 3", False),
        ("x ** 2 ** 3 == 256", True),
        ("-x ** 2 == -4", True),
        ("(x + 1) * 2 - 6 / 3 == 4", True),
        ("7 // x == 3 and 7 % x == 1", True),
        ("not x > 3 and (y > 0 or x == 2)", True),
        ("abs(lambda) == 0.5", True),
        ("lambda<0", True),
        ("min(x, 5, 1) == 1 and max(x, 5) == 5", True),
        ("round(2.567, 1) == 2.6 and round(x) == 2", True),
        ("sqrt(x * 8) == 4 and log2(8) == 3 + y and exp(y) == 1 and log(exp(1)) == 1 + y", True),
        ("model == 'mlp' or x > 100", True),
        ("model != 'mlp'", False),
        ("model in ('convnet', 'resnet')", False),
        ("model not in ['convnet', 'resnet']", True),
        ("'ml' in model", True),
        ("model < 'n'", True),
        ("model/norm == 'batch'", True),
        ("model/norm=='model/norm'", False),
        ("layers == [1, 2] and 2 in layers", True),
        ("layers == (1, 2)", True),
        ("mixed == 'auto' or mixed <= 3", True),
        ("mixed == None", False),
        ("1e-3 <= x", True),
    ],
)
def test_an_expression_means_what_it_says(text: str, expected: bool) -> None:
    assert holds(text) is expected


def test_a_flag_stands_by_itself() -> None:
    assert holds("mixed", mixed=True)
    assert not holds("mixed and x == 2", mixed=False)


@pytest.mark.parametrize(
    "text",
    [
        "1 / y >= 0 or True or x == 2",
        "x % y == 0",
        "x // y == 0",
        "log(y) < 0",
        "sqrt(-x) < 9",
        "(-x) ** 0.5 < 9",
        "y ** -1 > 0",
        "exp(x * 1000) > 0",
        "10.0 ** (x * 1000) > 0",
        "model.width ** model.width ** model.width > 0",
        "9 ** 9 ** 9 ** model.depth > 0",
        "round(exp(709) * 10 * x) > 0",
    ],
)
def test_what_cannot_be_computed_does_not_hold(text: str) -> None:
    assert not holds(text)


@pytest.mark.parametrize("text", ["x <= 5", "x != model.width", "not x == 3"])
def test_it_holds_where_a_parameter_does_not_exist(text: str) -> None:
    assert parse_constraint(text, SPACE.parameters).holds({"model.width": 3})


@pytest.mark.parametrize(
    ("text", "position", "message"),
    [
        ("model.widht <= 3", 1, "model.widht is not swept; did you mean model.width"),
        ("x <= 3 and modle.depth > 2", 12, "modle.depth is not swept; did you mean model.depth"),
        ("model == mlp", 10, "mlp is not swept; write the text as 'mlp', in quotes"),
        ("x ^ 2 <= 3", 1, "^ is no operator here; write ** for a power"),
        ("'é' == model and x ^ 2 <= 3", 18, "^ is no operator here; write ** for a power"),
        ("model/norm == 'batch' and x ^ 2 <= 3", 27, "^ is no operator here"),
        ("(x > 1) & (y > 1)", 1, "& is no operator here; write and"),
        ("(x > 1) | (y > 1)", 1, "| is no operator here; write or"),
        ("x > 1 && y > 1", 8, "it cannot be read: invalid syntax; write and for &&"),
        ("x = 1", 3, "it cannot be read: "),
        ("x is 1", 1, "is compares no values; write =="),
        ("x <", 4, "it cannot be read: it ends too early"),
        ("x < 1 and model/norm == 'batch' or", 35, "it cannot be read: it ends too early"),
        ("", 1, "it cannot be read: it ends too early"),
        ("x < 3 4", 7, "it cannot be read: invalid syntax"),
        ("x < 3 and and y < 2", 11, "it cannot be read: invalid syntax"),
        ("model/norm == 'é' and x < 3 4 or x > 9", 29, "it cannot be read: invalid syntax"),
        ("x < 3 and (y < 2", 11, "it cannot be read: '(' was never closed"),
        ("x < 3) and y < 2", 6, "it cannot be read: unmatched ')'"),
        ("x\x00 < 1", 1, "it cannot be read: source code string cannot contain null bytes"),
        ("x * 2", 1, "it must be true or false; compare it with something, as in x <= 1"),
        ("abs(x)", 1, "it must be true or false"),
        ("1 < 2", 1, "it names no swept parameter"),
        ("sin(x) < 1", 1, "there is no function sin, only abs, min"),
        ("sqr(x) < 1", 1, "did you mean sqrt?"),
        ("max(x) < 1", 1, "max takes 2 or more arguments, got 1"),
        ("sqrt(x, 2) < 1", 1, "sqrt takes 1 arguments, got 2"),
        ("round(number=x) < 1", 1, "a function takes no named arguments here"),
        ("min(*layers) < 1", 5, "only names of swept parameters"),
        ("x.real.__class__ == 1", 1, "x.real.__class__ is not swept"),
        ("().__class__ == x", 1, "only names of swept parameters"),
        ("'a'.join(layers) == 'b'", 1, "only names of swept parameters"),
        ("__import__('os') == x", 1, "there is no function __import__"),
        ("layers[0] == x", 1, "only names of swept parameters"),
        ("(lambda: x) == 1", 8, "it cannot be read"),
        ("[i for i in layers] == x", 1, "only names of swept parameters"),
        ("f'{x}' == 'a'", 1, "only names of swept parameters"),
        ("(z := x) > 1", 2, "only names of swept parameters"),
        ("x if y else x", 1, "only names of swept parameters"),
        ("{'a': 1} == x", 1, "only names of swept parameters"),
        ("x == 1j", 6, "only names of swept parameters"),
        ("x << 9 == 1", 1, "only names of swept parameters"),
        ("~x == 1", 1, "only names of swept parameters"),
        ("-" * 60 + "x < 1", 41, "it is nested too deeply"),
        ("(" * 300 + "x" + ")" * 300 + " < 1", 201, "it cannot be read: too many nested"),
    ],
)
def test_a_mistake_is_answered_with_its_place(text: str, position: int, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_constraint(text, SPACE.parameters)
    said = str(caught.value)
    start = f"hydra.sweeper.constraints: {text!r}, character {position}: "
    assert said.startswith(start)
    assert message in said


def test_what_is_too_long_is_not_even_parsed() -> None:
    started = time.perf_counter()
    with pytest.raises(
        ConfigError, match=r"hydra.sweeper.constraints: '\(\(\(.*is longer than 1000"
    ):
        parse_constraint("(" * 10**6, SPACE.parameters)
    with pytest.raises(ConfigError, match="nested too deeply"):
        parse_constraint("not " * 249 + "x", SPACE.parameters)
    assert time.perf_counter() - started < 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model * 2 <= 3", "'mlp' is not a number (where model is 'mlp')"),
        ("x < model", "'mlp' is not a number"),
        ("mixed <= 3", "'auto' is not a number (where mixed is 'auto')"),
        ("layers + layers == layers", "[1, 2] is not a number"),
        ("model == 'mlp' and x", "2.0 is neither true nor false; compare it with something"),
        ("x", "2.0 is neither true nor false"),
        ("x in model.width", "2.0 cannot be in 64; in needs a list"),
        ("round(x, model.width) > 1", "round takes up to 15 digits, got 64"),
        ("'a' * model.width == 'aa'", "'a' is not a number"),
    ],
)
def test_what_does_not_go_together_is_said_and_not_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        holds(text)
    assert message in str(caught.value)
    assert text in str(caught.value)


PIECES = st.sampled_from(
    ["x", "y", "model", "layers", "model/norm", "lambda", "1", "2.5", "'mlp'", "None", "True", "(",
     ")", "[", "]", ",", " + ", " - ", "*", "/", "//", "%", "**", "<", "<=", "==", "!=", " in ",
     " not ", " and ", " or ", "abs(", "min(", "log(", "round(", ".", "{", ":", "^", "=", "\\",
     "1e9", "lambda ", " if ", " else ", "é"]
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES, max_size=12).map("".join) | st.text(max_size=20))
def test_any_text_is_read_or_refused_and_never_fails_otherwise(text: str) -> None:
    try:
        assert type(holds(text)) is bool
    except ConfigError:
        return


def test_a_space_keeps_its_constraints() -> None:
    space = constrained(PARAMS, "x <= y", "model/norm == 'batch'")
    again = Space.from_json(space.to_json())
    assert again == space
    assert [c.text for c in again.constraints] == ["x <= y", "model/norm == 'batch'"]
    assert [c.text for c in again.violated({**VALUES, "model/norm": "layer"})] == [
        "x <= y",
        "model/norm == 'batch'",
    ]


# Drawing again

COMPOUND = {
    "alpha": "interval(1, 2)",
    "beta": "interval(1, 1.5)",
    "gamma": "interval(1, 1.5)",
}
COMPOUND_SCALING = "abs(alpha * beta**2 * gamma**2 - 2) <= 0.1"


def asks(space: Space, name: str, number: int, *, seed: int = 0) -> list[dict[str, Any]]:
    view = View(Objective())
    searcher = make_searcher(name, space=space, view=view, seed=seed)
    taken = []
    for i in range(number):
        params = searcher.ask(i)
        view.apply(
            Asked(
                trial=i,
                run=1,
                params=params,
                distributions={n: space.distributions()[n] for n in params},
                notes=view.take_notes(),
                time=0.0,
            )
        )
        taken.append(space.values(params))
    assert [t.number for t in view.study.trials] == list(range(number))
    return taken


@pytest.mark.parametrize("name", ["random", "tpe"])
def test_compound_scaling_is_met_by_every_draw(name: str) -> None:
    space = constrained(COMPOUND, COMPOUND_SCALING)
    drawn = asks(space, name, 30)
    for values in drawn:
        assert values["alpha"] * values["beta"] ** 2 * values["gamma"] ** 2 == pytest.approx(
            2, abs=0.1
        )
    assert len({tuple(values.values()) for values in drawn}) == 30
    assert drawn == asks(space, name, 30)
    assert drawn != asks(space, name, 30, seed=1)


def test_a_first_draw_that_meets_them_is_the_searchers_own() -> None:
    free, bound = constrained(COMPOUND), constrained(COMPOUND, "alpha <= 1.9")
    unbound = asks(free, "random", 40)
    kept = [i for i, values in enumerate(unbound) if values["alpha"] <= 1.9]
    drawn = asks(bound, "random", 40)
    assert 30 < len(kept) < 40
    assert [drawn[i] for i in kept] == [unbound[i] for i in kept]


class Stubborn:
    """Always proposes what is refused, and puts it and a note into the view as samplers do."""

    limit: int | None = None

    def __init__(self, view: View) -> None:
        self.view = view
        self.asked: list[tuple[int, int]] = []

    def ask(self, number: int, attempt: int = 0) -> Mapping[str, Any]:
        self.asked.append((number, attempt))
        trial = self.view.study.ask()
        self.view.set_trial_system_attr(trial.number, "stubborn", attempt)
        return {"x": 9.0}


def test_a_searcher_that_does_not_learn_gives_way_to_uniform_draws() -> None:
    space = constrained({"x": "interval(0, 10)"}, "x <= 1")
    view = View(Objective())
    stubborn = Stubborn(view)
    searcher = Redraw(stubborn, space=space, view=view, seed=3)

    drawn = [searcher.ask(0)["x"] for _ in range(2)]

    assert drawn[0] == drawn[1] <= 1
    assert stubborn.asked == [(0, attempt) for attempt in range(BY_SEARCHER)] * 2
    assert view.study.trials == []
    assert view.take_notes() is None


def test_uniform_draws_are_uniform_where_they_are_allowed() -> None:
    space = constrained({"x": "tag(log, interval(1e-4, 1))"}, "x <= 1e-2")
    view = View(Objective())
    searcher = Redraw(Stubborn(view), space=space, view=view, seed=0)
    logs = [math.log10(searcher.ask(number)["x"]) for number in range(400)]
    assert max(logs) <= -2
    share = np.histogram(logs, bins=4, range=(-4, -2))[0] / 400
    assert share == pytest.approx([0.25] * 4, abs=0.07)


def test_constraints_that_nothing_meets_are_refused_before_the_sweep() -> None:
    space = constrained(COMPOUND, "alpha <= 1.9", "beta * gamma > 2.4")
    with pytest.raises(ConfigError) as caught:
        make_searcher("random", space=space, view=View(Objective()), seed=0)
    assert "none of 10000 random configurations meets them" in str(caught.value)
    assert "'beta * gamma > 2.4' refuses 10000 of them" in str(caught.value)


def test_a_constraint_that_calculates_with_a_text_is_refused_before_the_sweep() -> None:
    space = constrained({"width": "1,2,3,4,5,6,7,auto"}, "width * 2 <= 20")
    with pytest.raises(ConfigError, match=r"'auto' is not a number \(where width is 'auto'\)"):
        make_searcher("random", space=space, view=View(Objective()), seed=0)
    careful = constrained({"width": "1,2,3,4,5,6,7,auto"}, "width == 'auto' or width * 2 <= 6")
    assert {values["width"] for values in asks(careful, "random", 60)} == {1, 2, 3, "auto"}


def test_a_trial_for_which_nothing_is_found_says_what_refuses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    space = constrained({"x": "interval(0, 1)"}, "x <= 0.002", "x >= 0.0000001")
    view = View(Objective())
    searcher = make_searcher("random", space=space, view=view, seed=0)
    monkeypatch.setattr(redraw, "TRIES", 60)
    with pytest.raises(SweepError, match=r"trial 0 was found in 60 draws: .*'x <= 0.002' refuses"):
        searcher.ask(0)
    assert view.study.trials == []


@pytest.mark.parametrize("seed", range(4))
def test_what_a_trial_would_find_is_not_refused_before_the_sweep(seed: int) -> None:
    space = constrained({"x": "interval(0, 1)"}, "x <= 0.001")
    searcher = make_searcher("random", space=space, view=View(Objective()), seed=seed)
    assert searcher.ask(0)["x"] <= 0.001


def test_it_is_not_asked_of_a_parameter_that_does_not_exist() -> None:
    space = constrained(
        {"net": "a,b", "net.width": "range(1,100)"},
        "net.width <= 3",
        when={"net.width": {"net": "a"}},
    )
    drawn = asks(space, "random", 60)
    nets = Counter(values["net"] for values in drawn)
    assert nets["b"] > nets["a"] > 0
    assert all(values["net.width"] <= 3 for values in drawn if values["net"] == "a")


def test_a_grid_needs_no_second_draw() -> None:
    space = constrained({"x": "range(0, 200)", "y": "range(0, 200)"}, "x * 200 + y == 12345")
    searcher = make_searcher("grid", space=space, view=View(Objective()), seed=0)
    assert isinstance(searcher, GridSearcher)
    assert searcher.limit == 1
    assert searcher.ask(0) == {"x": 61, "y": 145}


# A whole sweep


def curve(values: Mapping[str, Any], trial: int) -> Iterable[tuple[Mapping[str, float], float]]:
    for step in range(1, 10):
        yield {"objective": sum(v for v in values.values() if v != "a") / step}, 1.0


@pytest.mark.parametrize("searcher", ["random", "tpe"])
def test_a_sweep_that_is_cut_goes_on_with_the_same_draws(searcher: str) -> None:
    space = constrained(
        {"net": "a,2", "width": "int(interval(1, 64))", "depth": "int(interval(1, 64))"},
        "width * depth <= 64",
        when={"depth": {"net": "a"}},
    )
    setup = Setup(
        space=space,
        num_samples=24,
        searcher={"name": searcher},
        scheduler={"name": "asha", "max_t": 9},
        workers=3,
    )
    whole = simulate(curve, setup)
    assert len(whole.asks) == 24
    for ask in whole.asks:
        assert not space.violated(space.values(ask.params))
        assert set(ask.distributions) == set(ask.params) == set(space.values(ask.params))
    for cut in range(40, len(whole.events), 61):
        resumed = simulate(curve, setup, history=whole.events[:cut])
        assert decisions(resumed.events) == decisions(whole.events)


def decisions(events: Iterable[Event]) -> list[Any]:
    return [(e.trial, e.params, e.notes) for e in events if isinstance(e, Asked)]


def test_a_draw_is_a_function_of_seed_number_and_attempt() -> None:
    space = constrained({"x": "interval(0, 10)"}, "x <= 1")
    draw = redraw._uniform(space)
    (distribution,) = space.distributions().values()
    expected = from_unit(distribution, np.random.default_rng(7).random())
    assert draw(np.random.default_rng(7)) == {"x": expected}
