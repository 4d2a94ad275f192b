from __future__ import annotations

import json
from typing import Any

import pytest

from sweeps.errors import ConfigError
from sweeps.journal.objective import Objective
from sweeps.searchers import View, make_searcher
from sweeps.space.space import Parameter, Space, parse_space

PARAMS = {
    "model.kernel": "range(3, 8, 2)",
    "model": "choice(mlp, convnet, resnet)",
    "lr": "tag(log, interval(1e-4, 1))",
    "model.channels": "choice(16, 64)",
}
WHEN = {
    "model.channels": {"model": ["convnet", "resnet"]},
    "model.kernel": {"model": "resnet", "model.channels": 64},
}


def space_of(params: dict[str, str], when: dict[str, Any] | None = None) -> Space:
    return parse_space(params, [], when=when)[0]


SPACE = space_of(PARAMS, WHEN)


def first(options: dict[str, Any]) -> Any:
    return lambda parameter: options.get(parameter.name, parameter.domain.samples[0])


@pytest.mark.parametrize(
    ("chosen", "there"),
    [
        ({"model": "mlp"}, ["model", "lr"]),
        ({"model": "convnet", "model.channels": 64}, ["model", "lr", "model.channels"]),
        ({"model": "resnet", "model.channels": 16}, ["model", "lr", "model.channels"]),
        (
            {"model": "resnet", "model.channels": 64},
            ["model.kernel", "model", "lr", "model.channels"],
        ),
    ],
)
def test_a_parameter_exists_where_its_parents_have_the_values(
    chosen: dict[str, Any], there: list[str]
) -> None:
    values = SPACE.fill(first(chosen))

    assert list(values) == there
    params = SPACE.optuna_params(values)
    assert list(params) == there
    assert SPACE.values(params) == values
    assert [line.partition("=")[0] for line in SPACE.overrides(values)] == there


def test_parents_are_asked_first_and_what_does_not_exist_never() -> None:
    asked: list[str] = []

    def suggest(parameter: Parameter) -> Any:
        asked.append(parameter.name)
        value = {"model": "resnet", "model.channels": 64}.get(parameter.name)
        return parameter.domain.samples[0] if value is None else value

    params = SPACE.draw(suggest)
    assert asked == ["model", "model.channels", "model.kernel", "lr"]
    assert params == {"model": "resnet", "model.channels": 64, "model.kernel": 3, "lr": 1e-4}


def test_a_trial_that_holds_too_much_shows_only_what_exists() -> None:
    everything = {"model": "mlp", "model.channels": 16, "model.kernel": 3, "lr": 0.1}
    assert SPACE.values(everything) == {"model": "mlp", "lr": 0.1}


def test_a_space_says_whether_it_is_conditional() -> None:
    assert SPACE.is_conditional
    assert not space_of(PARAMS).is_conditional


def test_conditions_are_told_and_kept() -> None:
    assert dict(SPACE.describe()) == {
        "model.kernel": "range(3, 9, 2) when model=resnet, model.channels=64",
        "model": "choice(mlp, convnet, resnet)",
        "lr": "tag(log, interval(0.0001, 1.0))",
        "model.channels": "choice(16, 64) when model=convnet or resnet",
    }
    again = Space.from_json(json.loads(json.dumps(SPACE.to_json())))
    assert again == SPACE
    assert again != space_of(PARAMS)
    assert again.to_json() == SPACE.to_json()


@pytest.mark.parametrize(
    ("domain", "given", "holding", "other"),
    [
        ("1,1.0,true,'1'", True, True, 1),
        ("1,1.0,true,'1'", "1", "1", 1),
        ("null,a", None, None, "a"),
        ("[1,2],[3]", [[1, 2]], [1, 2], [3]),
        ("{a:1},{a:2}", {"a": 2}, {"a": 2}, {"a": 1}),
        ("range(0,1,0.1)", 0.3, 0.3, 0.2),
        ("float(range(1,4))", 2, 2.0, 3.0),
        ("int(interval(1,9))", 4.0, 4, 5),
        ("inf,nan", float("nan"), float("nan"), float("inf")),
        ("true,false", False, False, True),
    ],
)
def test_a_condition_names_a_value_exactly(
    domain: str, given: Any, holding: Any, other: Any
) -> None:
    space = space_of({"x": "1,2", "parent": domain}, {"x": {"parent": given}})
    space = Space.from_json(space.to_json())
    assert "x" in space.fill(first({"parent": holding}))
    assert "x" not in space.fill(first({"parent": other}))


@pytest.mark.parametrize(
    ("when", "message"),
    [
        (
            {"model.chanels": {"model": "mlp"}},
            "hydra.sweeper.when: model.chanels is not swept; did you mean model.channels",
        ),
        (
            {"lr": {"modl": "mlp"}},
            "hydra.sweeper.when.lr: modl is not swept; did you mean model?",
        ),
        (
            {"lr": {"model": "convnt"}},
            "hydra.sweeper.when.lr: model: convnt is none of mlp, convnet, resnet; did you mean "
            "convnet?",
        ),
        (
            {"lr": {"model.kernel": 4}},
            "hydra.sweeper.when.lr: model.kernel: 4 is not on the grid range(3, 9, 2)",
        ),
        ({"lr": {"lr": 0.1}}, "hydra.sweeper.when.lr: a parameter cannot wait for itself"),
        (
            {"model": {"lr": 0.1}},
            "hydra.sweeper.when.model: lr is tag(log, interval(0.0001, 1.0)), which seldom has the "
            "same value twice; a condition needs a choice, a range or integers",
        ),
        (
            {"lr": {"model": ["mlp", "mlp"]}},
            "hydra.sweeper.when.lr: mlp is listed twice; list each value once",
        ),
        ({"lr": {"model": []}}, "hydra.sweeper.when.lr: there is nothing to choose from"),
        ({"lr": "mlp"}, "hydra.sweeper.when.lr is 'mlp'; it must map another swept parameter"),
        ({"lr": {}}, "hydra.sweeper.when.lr is {}; it must map another swept parameter"),
        ("model", "hydra.sweeper.when is 'model'; it must map a swept parameter"),
        (
            {
                "model": {"model.kernel": 3},
                "model.kernel": {"model.channels": 16},
                "model.channels": {"model": "mlp"},
            },
            "hydra.sweeper.when goes in a circle: model.kernel needs model.channels needs model "
            "needs model.kernel",
        ),
        (
            {"model.channels": {"model": "mlp"}, "lr": {"model.channels": 16, "model": "resnet"}},
            "hydra.sweeper.when.lr: it would never exist, for model would have to be mlp, and "
            "resnet at once",
        ),
    ],
)
def test_a_mistake_in_a_condition_is_answered_in_one_message(when: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        space_of(PARAMS, when)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_list_that_is_one_value_is_told_how_to_be_written() -> None:
    with pytest.raises(ConfigError, match=r"1 is none of \[1,2\], \[3\].*as \[\[1, 2\]\]"):
        space_of({"x": "1,2", "p": "[1,2],[3]"}, {"x": {"p": [1, 2]}})


def test_a_prefix_is_no_part_of_a_name() -> None:
    space = space_of({"+new": "1,2", "++x": "a,b"}, {"new": {"x": "b"}})
    assert space.overrides({"x": "b", "new": 2}) == ["+new=2", "++x=b"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"model": "mlp", "lr": 0.1, "model.channels": 16},
            "model.channels does not exist there: it needs model=convnet or resnet",
        ),
        ({"model": "convnet", "lr": 0.1}, "no value is given for model.channels"),
        ({"model": "ml", "lr": 0.1}, "model: ml is none of mlp"),
    ],
)
def test_a_configuration_holds_what_exists_and_nothing_else(
    values: dict[str, Any], message: str
) -> None:
    for reads in (SPACE.optuna_params, SPACE.overrides):
        with pytest.raises(ConfigError, match=message):
            reads(values)


@pytest.mark.parametrize("name", ["random", "tpe"])
def test_a_searcher_is_asked_for_what_exists_alone(name: str) -> None:
    searcher = make_searcher(name, space=SPACE, view=View(Objective()), seed=0)
    shapes = set()
    for number in range(40):
        params = searcher.ask(number)
        assert set(SPACE.values(params)) == set(params)
        shapes.add(tuple(sorted(params)))
    assert len(shapes) == 3
