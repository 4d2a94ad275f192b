import itertools
import json
import math

import optuna
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import assume, example, given, reject, settings
from hypothesis import strategies as st

from sweeps.errors import ConfigError
from sweeps.space.conditions import Condition
from sweeps.space.domains import float_range
from sweeps.space.literals import literal
from sweeps.space.space import Choice, Float, Int, Parameter, Space, parse_space

PARSER = OverridesParser.create()
QUICK = settings(max_examples=60, deadline=None)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.text(
    "'\"\\,=: \t[]{}()$#~a1.\n", max_size=8
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TEXT
KEYS = st.from_regex(r"[a-z_][a-z0-9_]{0,4}( [a-z]{1,3})?", fullmatch=True).filter(
    lambda key: key not in {"null", "true", "false", "inf", "nan"}
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3)
)


def swept(line, **options):
    space, fixed = parse_space({}, [line], **options)
    assert fixed == []
    (parameter,) = space.parameters
    return parameter


def exactly(value):
    """A text that differs where type, sign of zero or NaN do."""
    return repr(value)


# Values as text


@QUICK
@given(VALUES)
@example("")
@example("null")
@example("True")
@example("1")
@example("1e5")
@example("nan")
@example("${oc.env:HOME}")
@example("\\")
@example("a\\'b\\\\")
@example('it\'s, "so"')
@example(-0.0)
@example(5e-324)
@example(math.inf)
@example([[], {}, "", None])
def test_hydra_reads_a_literal_back_exactly(value):
    override = PARSER.parse_override(f"key={literal(value)}")
    assert not override.is_sweep_override()
    assert exactly(override.value()) == exactly(value)


@QUICK
@given(st.text("ab1.-+ \\:=,[]{}()\tnulinf'\"$é", min_size=1, max_size=6))
def test_a_mapping_key_is_written_exactly_or_refused(key):
    try:
        text = literal({key: 1})
    except ConfigError:
        return
    assert PARSER.parse_override(f"x={text}").value() == {key: 1}


def test_numpy_numbers_are_written_as_numbers():
    numpy = pytest.importorskip("numpy")
    assert literal(numpy.float64(0.1)) == "0.1"


def test_what_the_grammar_cannot_hold_is_refused():
    with pytest.raises(ConfigError, match="object, which no Hydra override can hold"):
        literal(object())


# The grammar's table


@pytest.mark.parametrize(
    ("text", "domain"),
    [
        ("choice(a,b)", Choice(("a", "b"))),
        ("a,b", Choice(("a", "b"))),
        ("choice(a)", Choice(("a",))),
        ("choice('1',1)", Choice(("1", 1))),
        ("1,'1',null,true", Choice((1, "1", None, True))),
        ("choice([1,2],{a:[null]},[])", Choice(([1, 2], {"a": [None]}, []))),
        ("choice('a,b',\"it's\",'')", Choice(("a,b", "it's", ""))),
        ("choice(1.0,inf)", Choice((1.0, math.inf))),
        ("range(1,10,2)", Int(low=1, high=9, step=2)),
        ("range(3)", Int(low=0, high=2)),
        ("range(10,1,-3)", Int(low=4, high=10, step=3)),
        ("range(4,5)", Choice((4,))),
        ("range(0,1,0.25)", Float(low=0.0, high=0.75, step=0.25)),
        ("range(0,2.1,0.7)", Float(low=0.0, high=1.4, step=0.7)),
        ("range(1,0,-0.5)", Float(low=0.5, high=1.0, step=0.5)),
        ("float(range(1,3))", Float(low=1.0, high=2.0, step=1.0)),
        ("interval(0,1)", Float(low=0.0, high=1.0)),
        ("interval(2,2)", Choice((2.0,))),
        ("int(interval(1,8))", Int(low=1, high=8)),
        ("int(interval(0.5,2.5))", Int(low=1, high=2)),
        ("int(interval(3,3.9))", Choice((3,))),
        ("tag(log,interval(1e-4,1))", Float(low=1e-4, high=1.0, scale="log")),
        ("int(tag(log,interval(16,256)))", Int(low=16, high=256, scale="log")),
        ("tag(log,int(interval(16,256)))", Int(low=16, high=256, scale="log")),
        (
            "tag(one_minus_log,interval(0.9,0.999))",
            Float(low=0.9, high=0.999, scale="one_minus_log"),
        ),
        ("sort(3,1,2)", Choice((1, 2, 3))),
        ("sort(choice(a,c,b),reverse=true)", Choice(("c", "b", "a"))),
        ("sort(range(10,1,-3))", Int(low=4, high=10, step=3)),
        ("str(1,2)", Choice(("1", "2"))),
    ],
)
def test_reads_hydras_sweeps(text, domain):
    parameter = swept(f"x={text}")
    assert parameter.domain == domain
    assert Space.from_json(Space((parameter,)).to_json()) == Space((parameter,))


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("optimizer.lr", "optimizer.lr"),
        ("+x", "x"),
        ("++x.y", "x.y"),
        ("db@source", "db@source"),
        ("+db@app.source", "db@app.source"),
        ("a/b", "a/b"),
        ("layers.0", "layers.0"),
    ],
)
def test_a_key_keeps_its_prefix_and_its_package(key, name):
    parameter = swept(f"{key}=a,b")
    assert (parameter.key, parameter.name) == (key, name)
    assert parameter.override("b") == f"{key}=b"


def test_glob_lists_a_groups_configs():
    options = {"model": ["convnet", "mlp", "mlp_big"]}.__getitem__
    assert swept("model=glob(mlp*)", group_options=options).domain == Choice(("mlp", "mlp_big"))
    assert swept("model=glob(*,exclude=mlp)", group_options=options).domain == Choice(
        ("convnet", "mlp_big")
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "lr=interval(1,0)",
            "lr=interval(1,0): the low end 1.0 is above the high end 0.0; write (0",
        ),
        ("n=int(interval(8,1))", "low end 8 is above the high end 1"),
        ("lr=tag(log,interval(0,1))", "log needs a low end above 0, got 0.0"),
        ("lr=tag(log,interval(-1,1))", "log needs a low end above 0, got -1.0"),
        ("n=int(tag(log,interval(0,8)))", "log needs a low end of at least 1, got 0"),
        ("m=tag(one_minus_log,interval(0.9,1))", "needs a high end below 1, got 1.0"),
        (
            "m=int(tag(one_minus_log,interval(-5,0)))",
            "one_minus_log needs real numbers; drop int()",
        ),
        ("m=tag(one_minus_log,interval(0,1e-20))", "1 - x is the same for 0.0 and 1e-20; use log"),
        ("n=int(interval(0.2,0.8))", "no integer lies between 0.2 and 0.8"),
        ("n=int(interval(0,1e17))", "integers beyond 2**53"),
        ("x=interval(0,inf)", "both ends must be finite, got 0.0 and inf"),
        ("x=interval(nan,1)", "both ends must be finite"),
        ("x=interval(a,b)", "interval and range need numbers, such as interval(1e-4, 1)"),
        ("x=interval(1)", "interval and range need numbers"),
        ("x=range(5,5)", "the range is empty: the stop is excluded"),
        ("x=range(1,0,0.1)", "the range is empty"),
        ("x=range(1,5,0)", "the step of a range may not be 0"),
        ("x=range(1,5,0.0)", "the step of a range may not be 0"),
        ("x=range(0,inf,0.5)", "a range needs finite numbers"),
        ("x=range(0,1,1e-16)", "the step 1e-16 is too fine"),
        (
            "x=tag(logg,interval(0,1))",
            "the tag 'logg' is unknown; the tags are log, one_minus_log; did you mean log?",
        ),
        ("x=tag(int,interval(0,1))", "write int(interval(1, 8))"),
        ("x=tag(log,one_minus_log,interval(0.1,0.2))", "log and one_minus_log exclude each other"),
        ("x=tag(log,range(1,9))", "log is for an interval, such as tag(log, interval(1, 10))"),
        ("x=tag(log,choice(1,9))", "log is for an interval"),
        ("x=choice(a,b,a)", "a is listed twice; list each value once"),
        ("x=nan,nan", "nan is listed twice"),
        ("x=choice(null,1)", "Hydra's choice() takes no null; write the values alone: null,1"),
        ("x=choice()", "empty choice is not legal"),
        ("x=choice(a", "x=choice(a: Hydra cannot read it: no viable alternative"),
        ("x=choise(a,b)", "there is no function choise(); did you mean choice?"),
        ("x", "missing EQUAL"),
        ("x=shuffle(a,b)", "the searcher decides the order; drop shuffle(...)"),
        ("x=shuffle(range(1,5))", "drop shuffle(...)"),
        ("x=interval(0,1),interval(2,3)", "one sweep cannot stand inside another"),
        ("x=choice([range(1,2)],2)", "one sweep cannot stand inside another"),
        ("x=[choice(1,2)]", "a sweep cannot stand inside a list or a mapping"),
        ("x={a:choice(1,2)}", "a sweep cannot stand inside a list or a mapping"),
        ("model=glob(*)", "glob() needs the app's config groups"),
        ("hydra.verbose=true,false", "a sweep varies the app's config, not Hydra's"),
        ("~x=1,2", "a deletion cannot be swept"),
    ],
)
def test_a_mistake_is_answered_in_one_message(line, message):
    with pytest.raises(ConfigError) as caught:
        parse_space({}, [line])
    assert message in str(caught.value)
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


def test_a_glob_that_matches_nothing_says_what_there_is():
    with pytest.raises(ConfigError, match="matches nothing in model; its options are a, b"):
        parse_space({}, ["model=glob(x*)"], group_options=lambda group: ["a", "b"])
    with pytest.raises(ConfigError, match="matches nothing in lr; it is no config group"):
        parse_space({}, ["lr=glob(*)"], group_options=lambda group: [])


# Params and the command line


def test_what_is_not_swept_is_fixed_as_typed():
    params = {"a": "1,2", "b": 3, "c": "x y", "d": None, "e": [1, "u,v"], "f": True, "~g": None}
    space, fixed = parse_space(params, ["h='p,q'", "~i", "+j={k:1}", "hydra.verbose=true"])
    assert [p.name for p in space.parameters] == ["a"]
    assert fixed == [
        "b=3", "c=x y", "d=null", "e=[1,'u,v']", "f=true", "~g",
        "h='p,q'", "~i", "+j={k:1}", "hydra.verbose=true",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("params", "arguments", "swept_keys", "fixed"),
    [
        ({"x": "1,2"}, ["x=3"], [], ["x=3"]),
        ({"x": "3"}, ["x=1,2"], ["x"], []),
        ({"x": "1,2", "y": "1,2"}, ["x=3,4"], ["y", "x"], []),
        ({"+x": "1,2"}, ["x=3"], [], ["+x=3"]),
        ({"++x": "1,2"}, ["x=3,4"], ["++x"], []),
        ({"x": "1,2"}, ["++x=3,4"], ["++x"], []),
        ({"x": "1,2"}, ["~x"], [], ["~x"]),
        ({"db@a": "m,n"}, ["db=m", "db@a=n"], [], ["db=m", "db@a=n"]),
        ({}, ["x=1,2", "x=3,4"], ["x"], []),
        ({}, ["x=1,2", "x=3"], [], ["x=3"]),
        ({}, ["~x", "+x=1,2"], ["+x"], ["~x"]),
        ({}, ["x=1", "x=2"], [], ["x=1", "x=2"]),
    ],
)
def test_the_command_line_wins_and_the_later_one_wins(params, arguments, swept_keys, fixed):
    space, rest = parse_space(params, arguments)
    assert ([p.key for p in space.parameters], rest) == (swept_keys, fixed)


def test_nested_params_are_refused():
    with pytest.raises(ConfigError, match=r"params\.optimizer is a mapping.*optimizer\.lr: "):
        parse_space({"optimizer": {"lr": "1,2"}}, [])


# Values, and Optuna's view of them


def test_a_choice_reaches_optuna_as_itself_where_that_is_possible():
    parameter = swept("x=adam,null,true,0.5,3,[1,2],inf")
    assert parameter.distribution() == optuna.distributions.CategoricalDistribution(
        ("adam", None, True, 0.5, 3, "[1,2]", "inf")
    )


@pytest.mark.parametrize(
    "line", ["x=1,1.0,true,'1'", "x=0,false,0.0,-0.0", "x=[1,2],'[1,2]'", "x=nan,inf,-inf,1"]
)
def test_choices_that_are_equal_in_python_stay_apart(line):
    parameter = swept(line)
    distribution = optuna.distributions.json_to_distribution(
        optuna.distributions.distribution_to_json(parameter.distribution())
    )
    json.loads(
        optuna.distributions.distribution_to_json(distribution), parse_constant=pytest.fail
    )  # strict JSON
    for value in parameter.domain.values:
        index = distribution.to_internal_repr(parameter.from_value(value))
        journaled = distribution.to_external_repr(index)
        assert exactly(parameter.to_value(journaled)) == exactly(value)


def test_one_minus_log_is_journaled_as_one_minus_x():
    space, _ = parse_space({}, ["m=tag(one_minus_log,interval(0.9,0.999))"])
    ((name, distribution),) = space.distributions().items()
    assert name == "1 - m"
    assert distribution.log
    assert space.values({name: distribution.low}) == {"m": 0.999}
    assert space.values({name: distribution.high}) == {"m": 0.9}
    assert space.values({name: 0.05}) == {"m": 0.95}


@st.composite
def domains(draw):
    kind = draw(st.sampled_from(["float", "log", "one_minus_log", "grid", "int", "choice"]))
    if kind == "choice":
        values = draw(st.lists(VALUES, min_size=1, max_size=4, unique_by=literal))
        return Choice(tuple(values))
    if kind == "int":
        low, step = draw(st.integers(-50, 50)), draw(st.integers(1, 4))
        return Int(low=low, high=low + step * draw(st.integers(1, 9)), step=step)
    if kind == "grid":
        start = draw(st.floats(-10, 10))
        step = draw(st.floats(1e-3, 10))
        return float_range(start, start + step * draw(st.integers(2, 30)), step)
    ends = {"float": (-1e6, 1e6), "log": (1e-12, 1e6), "one_minus_log": (-3.0, 1 - 1e-9)}[kind]
    low, high = sorted(draw(st.tuples(st.floats(*ends), st.floats(*ends))))
    assume(low < high if kind != "one_minus_log" else 1 - low > 1 - high)
    return Float(low=low, high=high, scale="uniform" if kind == "float" else kind)


@st.composite
def conditions(draw, parents):
    """Of some parameters that have separate values, one or two that one of them has."""
    finite = [p for p in parents if p.domain.size is not None]
    chosen = draw(st.lists(st.sampled_from(finite), max_size=2, unique_by=id)) if finite else []
    return tuple(
        Condition(p.name, Choice(tuple(p.domain.at(i) for i in draw(some_indices(p.domain.size)))))
        for p in chosen
    )


def some_indices(size):
    return st.lists(st.integers(0, size - 1), min_size=1, max_size=2, unique=True)


@st.composite
def spaces(draw, of=domains()):  # noqa: B008 - a strategy is a constant
    """Parameters of all kinds in any order; some exist only where earlier drawn ones let them."""
    prefixes = st.sampled_from(["", "+", "++"])
    parameters = []
    for i, domain in enumerate(draw(st.lists(of, min_size=1, max_size=5))):
        key = f"{draw(prefixes)}group.p{i}"
        parameters.append(Parameter(key=key, domain=domain, when=draw(conditions(parameters))))
    try:
        return Space(tuple(draw(st.permutations(parameters))))
    except ConfigError as error:
        if "it would never exist" not in str(error):
            raise
        reject()


@settings(max_examples=150, deadline=None)
@given(spaces(), st.integers(0, 2**32 - 1))
def test_values_bounds_and_texts_round_trip(space, seed):
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    trial = study.ask()
    drawn = space.draw(lambda p: trial._suggest(p.optuna_name, p.distribution()))
    values = space.values(drawn)
    assert exactly(space.values(json.loads(json.dumps(drawn)))) == exactly(values)
    params = space.optuna_params(values)
    assert set(params) == set(drawn) == set(trial.params)
    assert exactly(space.values(params)) == exactly(values)
    there = [p for p in space.parameters if p.name in values]
    for parameter in space.parameters:
        held = [exactly(values.get(c.parent, "?")) in map(exactly, c.values.values)
                for c in parameter.when]  # fmt: skip
        assert (parameter in there) == all(held)
    for parameter, line in zip(there, space.overrides(values), strict=True):
        value = values[parameter.name]
        override = PARSER.parse_override(line)
        assert override.get_key_element() == parameter.key
        assert exactly(override.value()) == exactly(value)
        check_domain(parameter.domain, value)


def check_domain(domain, value):
    """A value in bounds, on its grid and of its type."""
    if isinstance(domain, Choice):
        assert exactly(value) in map(exactly, domain.values)
        return
    assert type(value) is (float if isinstance(domain, Float) else int)
    assert domain.low <= value <= domain.high
    if isinstance(domain, Int):
        assert (value - domain.low) % domain.step == 0
    elif domain.step is not None:
        index = round((value - domain.low) / domain.step)
        assert exactly(domain.at(index)) == exactly(value)


SMALL = st.lists(SCALARS, min_size=1, max_size=3, unique_by=literal).map(
    lambda values: Choice(tuple(values))
) | st.integers(1, 2).map(lambda high: Int(low=0, high=high))


@QUICK
@given(spaces(of=SMALL))
def test_a_grid_holds_each_combination_that_exists_once(space):
    combinations = [exactly(space.values(params)) for params in space.grid()]
    every = itertools.product(
        *([(p.name, p.domain.at(i)) for i in range(p.domain.size)] for p in space.parameters)
    )
    there = map(dict, every)
    expected = {exactly(space.fill(lambda p, chosen=chosen: chosen[p.name])) for chosen in there}
    assert len(combinations) == len(set(combinations)) == space.size()
    assert set(combinations) == expected


@QUICK
@given(spaces())
def test_json_round_trip(space):
    data = json.loads(json.dumps(space.to_json()))
    again = Space.from_json(data)
    assert again == space
    assert again.to_json() == data


@QUICK
@given(domains())
def test_ends_are_exact_in_optuna_and_back(domain):
    parameter = Parameter(key="x", domain=domain)
    distribution = parameter.distribution()
    for value in domain.samples:
        internal = distribution.to_internal_repr(parameter.from_value(value))
        assert distribution._contains(internal)
        assert exactly(parameter.to_value(distribution.to_external_repr(internal))) == exactly(
            value
        )


@QUICK
@given(st.floats(-10, 10), st.integers(1, 40), st.floats(1e-3, 10), st.sampled_from([1, -1]))
def test_a_float_range_is_hydras_but_for_the_last_bits(start, count, step, sign):
    stop = start + sign * step * (count - 0.5)
    ours = float_range(start, stop, sign * step)
    hydras = PARSER.parse_override(f"x=range({start!r},{stop!r},{sign * step!r})")
    expected = sorted(hydras.sweep_iterator())
    assert [ours.at(i) for i in range(ours.size)] == pytest.approx(expected, abs=1e-9)


def test_float_grid_values_are_the_decimals_one_would_write():
    domain = swept("x=range(0,1,0.1)").domain
    assert [domain.at(i) for i in range(domain.size)] == [k / 10 for k in range(10)]
    assert domain.to_value(0.1 + 0.2) == 0.3


def test_a_step_without_short_decimals_keeps_its_last_value():
    domain = swept(f"angle=range(0,{2 * math.pi},{math.pi / 4})").domain
    assert domain.size == 8
    distribution = domain.distribution()  # a warning of Optuna's would be an error here
    assert domain.to_value(distribution.high) == pytest.approx(7 * math.pi / 4)


@pytest.mark.parametrize(
    ("line", "value", "message"),
    [
        ("x=interval(0,1)", 2, "x: 2 is not between 0.0 and 1.0"),
        ("x=interval(0,1)", "a", "x: 'a' is not a number"),
        ("x=interval(0,1)", True, "x: True is not a number"),
        ("x=interval(0,1)", math.nan, "x: nan is not between"),
        ("x=int(interval(1,8))", 2.5, "x: 2.5 is not an integer"),
        ("x=int(interval(1,8))", math.inf, "x: inf is not an integer"),
        ("x=int(interval(1,8))", 9, "x: 9 is not between 1 and 8"),
        ("x=range(1,8,2)", 2, "x: 2 is not on the grid range(1, 9, 2)"),
        ("x=range(0,1,0.25)", 0.3, "x: 0.3 is not on the grid; the nearest value is 0.25"),
        ("x=adam,sgd", "adams", "x: adams is none of adam, sgd; did you mean adam?"),
    ],
)
def test_a_value_outside_is_refused(line, value, message):
    with pytest.raises(ConfigError) as caught:
        swept(line).from_value(value)
    assert str(caught.value).startswith(message)


def test_values_equal_in_python_stand_for_the_exact_one():
    assert exactly(swept("x=1.0,2.5").from_value(1)) == "1.0"
    assert swept("x=interval(0,1)").override(1) == "x=1.0"
    assert swept("x=int(interval(0,8))").override(3.0) == "x=3"


def test_a_configuration_names_every_parameter():
    space, _ = parse_space({}, ["optimizer.lr=interval(0,1)", "depth=1,2"])
    with pytest.raises(ConfigError, match=r"lr is not in the search space; did you mean optim"):
        space.optuna_params({"lr": 0.1, "depth": 1})
    with pytest.raises(ConfigError, match="no value is given for depth"):
        space.overrides({"optimizer.lr": 0.1})


def test_a_name_twice_is_refused():
    parameter = swept("x=1,2")
    with pytest.raises(ConfigError, match="twice"):
        Space((parameter, parameter))


# Grids


def test_grid_is_every_combination_last_fastest():
    space, _ = parse_space({}, ["a=x,[1]", "b=range(1,6,2)", "c=int(interval(0,1))"])
    grid = space.grid()
    assert space.size() == len(grid) == 12
    assert [space.values(params) for params in grid] == [
        {"a": a, "b": b, "c": c} for a in ("x", [1]) for b in (1, 3, 5) for c in (0, 1)
    ]
    assert grid[-1] == grid[11] == grid[10:][1] == {"a": "[1]", "b": 5, "c": 1}
    with pytest.raises(IndexError):
        grid[12]


def test_grid_needs_finite_parameters():
    space, _ = parse_space({}, ["optimizer.lr=interval(0,1)", "b=1,2"])
    assert space.size() is None
    with pytest.raises(
        ConfigError,
        match=r"grid needs a range or a choice: optimizer\.lr is interval\(0\.0, 1\.0\)",
    ):
        space.grid()


def test_a_huge_grid_costs_nothing_until_it_is_read():
    space, _ = parse_space({}, [f"x{i}=range(0,1000000)" for i in range(3)])
    assert len(space.grid()) == 10**18
    assert space.grid()[10**18 - 1] == {f"x{i}": 999999 for i in range(3)}


def test_describe_says_what_was_asked():
    space, _ = parse_space({}, ["+lr=tag(log,interval(1e-4,1))", "x=null,'a b'"])
    assert space.describe() == [
        ("lr", "tag(log, interval(0.0001, 1.0))"),
        ("x", "null, 'a b'"),
    ]
