import enum
import pickle
import subprocess
import sys
import textwrap
import types
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

import pytest
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.types import RunMode
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from omegaconf import MISSING, DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sweeps.errors import ConfigError
from sweeps.planning.compose import Composer, apply, group_options
from sweeps.space.conditions import Condition
from sweeps.space.space import Choice, Parameter, Space, parse_space

FILES = {
    "app.yaml": """
        defaults:
          - compose_schema
          - data: digits
          - optimizer@optim: sgd
          - extra: ${model}
          - model: mlp
          - _self_
        free: {a: 1, b: [x, "${lr}"]}
        anything: null
        linked: ${optim}
        output: ${hydra:runtime.output_dir}
        home: ${oc.env:SURELY_NOT_SET}
        time: ${now:%H-%M-%S}
        hydra:
          job:
            name: a job
            config: {override_dirname: {kv_sep: ":", exclude_keys: [seed, optimizer]}}
        """,
    "model/mlp.yaml": "{width: 64, depth: 2, nested: {dropout: 0.1}}",
    "model/convnet.yaml": """
        # @package _global_
        defaults: [{norm@model.norm: batch}, _self_, {override /data: images}]
        model: {channels: 16, depth: "${epochs}"}
        """,
    "model/norm/batch.yaml": "momentum: 0.1",
    "model/norm/layer.yaml": "eps: 1e-5",
    "data/digits.yaml": "rows: 1797",
    "data/images.yaml": "{rows: 10, size: [8, 8]}",
    "optimizer/sgd.yaml": "{lr: 0.1, momentum: 0.9}",
    "optimizer/adam.yaml": "{lr: 1e-3, betas: [0.9, 0.999]}",
    "extra/mlp.yaml": "only_mlp: 1",
    "extra/convnet.yaml": "only_convnet: 1",
    "side/one.yaml": "value: 1",
    "side/two.yaml": "value: 2",
    "combined.yaml": """
        defaults: [{data: images}, {model: mlp}, {both: "${model}_${data}"}, _self_]
        epochs: 1
        """,
    "both/mlp_digits.yaml": "x: 1",
    "both/mlp_images.yaml": "x: 2",
    "both/convnet_images.yaml": "x: 3",
    "broken/good.yaml": "x: 1",
    "broken/bad.yaml": "x: ${",
}


class Color(enum.Enum):
    RED = 1
    BLUE = 2


@dataclass
class Schema:
    lr: float = 0.1
    epochs: int = 10
    seed: Optional[int] = None  # noqa: UP045
    name: str = "a name"
    color: Color = Color.RED
    sizes: list[int] = field(default_factory=lambda: [1, 2])
    table: dict[str, float] = field(default_factory=lambda: {"x": 1.0})
    model: Any = MISSING
    data: Any = MISSING
    optim: Any = MISSING
    extra: Any = MISSING
    free: Any = MISSING
    anything: Any = MISSING
    side: Any = MISSING
    packed: Any = MISSING
    broken: Any = MISSING
    local: Any = MISSING
    linked: Any = MISSING
    output: str = MISSING
    home: str = MISSING
    time: str = MISSING


@dataclass(frozen=True)
class App:
    loader: Any
    master: DictConfig

    def composer(self, *arguments: str, **options: Any) -> Composer:
        space, fixed = parse_space({}, arguments, **options)
        return Composer(self.loader, self.master, fixed, space)

    def expected(self, overrides: list[str], *, job_num: int = 0) -> DictConfig:
        config = self.loader.load_sweep_config(self.master, overrides)
        config.hydra.job.num = job_num
        config.hydra.job.id = f"job-{job_num}"
        return config


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    folder = tmp_path_factory.mktemp("conf")
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(textwrap.dedent(text).lstrip())
    ConfigStore.instance().store(name="compose_schema", node=Schema)
    with initialize_config_dir(version_base="1.3", config_dir=str(folder)):
        loader = GlobalHydra.instance().config_loader()
        yield App(loader, loader.load_configuration("app", [], RunMode.MULTIRUN))


def apply_all(composer: Composer, values: dict[str, Any], **options: Any) -> DictConfig:
    return apply(
        composer.base(values), composer.patch(values), job_num=0, job_id="job-0", **options
    )


def differences(ours: Any, hydras: Any, path: str = "") -> Iterator[str]:
    """Where two configs differ: in values, node and schema types, flags; nothing is resolved."""
    if type(ours) is not type(hydras):
        yield f"{path}: {type(ours)} is not {type(hydras)}"
        return
    ignored = {"resolver_cache"} if path else set()
    for name, value in vars(ours._metadata).items():
        if name not in ignored and value != vars(hydras._metadata)[name]:
            yield f"{path}: {name} {value!r} is not {vars(hydras._metadata)[name]!r}"
    mine, theirs = ours._content if hasattr(ours, "_content") else ours._val, hydras._value()
    if isinstance(ours, DictConfig) and isinstance(mine, dict) and isinstance(theirs, dict):
        if list(mine) != list(theirs):
            yield f"{path}: keys {list(mine)} are not {list(theirs)}"
            return
        for key in mine:
            yield from differences(mine[key], theirs[key], f"{path}.{key}")
    elif isinstance(ours, ListConfig) and isinstance(mine, list) and isinstance(theirs, list):
        if len(mine) != len(theirs):
            yield f"{path}: {mine} is not {theirs}"
            return
        for i, (a, b) in enumerate(zip(mine, theirs, strict=True)):
            yield from differences(a, b, f"{path}[{i}]")
    elif repr(mine) != repr(theirs):
        yield f"{path}: {mine!r} is not {theirs!r}"


# Equal to Hydra

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.text(
    "'\"\\,=: ${}é.\n", max_size=6
)
NUMBERS = st.integers(-5, 300) | st.floats()
PLAIN = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abc"), inner, max_size=2)
    ),
    max_leaves=4,
)
CANDIDATES: dict[str, st.SearchStrategy[Any]] = {
    "model": st.sampled_from(["mlp", "convnet"]),
    "model/norm": st.sampled_from(["batch", "layer"]),
    "data": st.sampled_from(["digits", "images"]),
    "optimizer@optim": st.sampled_from(["sgd", "adam"]),
    "+side": st.sampled_from(["one", "two", ["one", "two"]]),
    "+side@packed.here": st.sampled_from(["one", "two"]),
    "lr": NUMBERS,
    "epochs": st.integers() | st.just("7"),
    "seed": st.none() | st.integers(0, 9),
    "name": st.text("'\"\\,=: é.\n") | st.integers(),
    "color": st.sampled_from(["RED", "BLUE"]),
    "sizes": st.lists(st.integers(0, 3), max_size=3),
    "sizes.0": st.integers(0, 9),
    "table": st.dictionaries(st.sampled_from("xy"), NUMBERS, max_size=2),
    "+table.z": NUMBERS,
    "free.a": PLAIN,
    "++free.c.d": PLAIN,
    "anything": PLAIN,
    "++model.width": PLAIN,
    "++model.depth": PLAIN,
    "optim.lr": NUMBERS,
    "+new.key": PLAIN,
}
FIXED = [
    "seed=3", "~free", "~free.a", "+fix.a=[1,'b c']", "data=images", "free={a:{b:1}}",
    "hydra.job.chdir=true", "hydra.job.name=other", "++free.c=1", "name='x=y'", "optim.lr=3",
]  # fmt: skip


RISKY = {
    "lr": st.sampled_from(["0.5", "many", "${optim.lr}"]),
    "epochs": st.floats() | st.just("many"),
    "name": TEXT | st.just("???"),
    "color": st.sampled_from(["PINK", 2]),
    "sizes": st.just([1, "x"]),
    "data": st.just({"rows": 3}) | st.just(3) | st.just("nothing"),
    "optim": st.just({"lr": 5}) | st.just("nothing"),
    "free": PLAIN,
    "free.a.b": PLAIN,
    "model.channels": PLAIN,
    "linked.lr": NUMBERS,
    "+lr": NUMBERS,
    "unknown.key": NUMBERS,
    "unknown@optim": st.just("adam"),
}


@st.composite
def sweeps(draw: st.DrawFn) -> tuple[list[str], list[tuple[str, Any]]]:
    keys = draw(st.lists(st.sampled_from(sorted(CANDIDATES)), unique=True, max_size=6))
    swept = {key.lstrip("+"): (key, draw(CANDIDATES[key])) for key in keys}
    if draw(st.integers(0, 3)) == 3:
        key = draw(st.sampled_from(sorted(RISKY)))
        swept[key.lstrip("+")] = (key, draw(RISKY[key]))
    return draw(st.lists(st.sampled_from(FIXED), unique=True, max_size=2)), [*swept.values()]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(sweeps())
@example(([], [("model", "convnet"), ("model.channels", 32), ("lr", 1), ("free.a", "a, 'b'")]))
@example((["seed=3"], [("data", {"rows": 3}), ("lr", 1), ("optimizer@optim", "adam")]))
@example(([], [("free.a", 1), ("free", {"a": 2}), ("+new.key", {"a": None})]))
@example((["~free"], [("+side@packed.here", "two"), ("table", {"y": 2}), ("color", "BLUE")]))
@example(([], [("linked.lr", 3), ("output", "${lr}"), ("sizes", []), ("+side", ["one", "two"])]))
@example(([], [("model", "mlp"), ("model.channels", 3)]))
@example(([], [("epochs", "many")]))
def test_apply_equals_hydras_own_composition(
    app: App, sweep: tuple[list[str], list[tuple[str, Any]]]
) -> None:
    fixed, swept = sweep
    space = Space(tuple(Parameter(key=key, domain=Choice((value,))) for key, value in swept))
    values = {p.name: value for p, (_, value) in zip(space.parameters, swept, strict=True)}
    check_equal(app, fixed, space, values)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(sweeps(), st.lists(st.booleans(), min_size=7, max_size=7), st.booleans())
@example(([], [("model", "convnet"), ("model/norm", "layer"), ("lr", 1)]), [False] * 7, True)
@example(([], [("model", "convnet"), ("model.channels", 32)]), [True, True, *[False] * 5], True)
@example(([], [("data", {"rows": 3}), ("lr", 1), ("epochs", 2)]), [False, True] * 4, True)
def test_what_does_not_exist_is_not_composed(
    app: App, sweep: tuple[list[str], list[tuple[str, Any]]], where: list[bool], switch: bool
) -> None:
    fixed, swept = sweep
    conditional = tuple(
        Parameter(key=key, domain=Choice((value,)), when=(Condition("switch", Choice((there,))),))
        for (key, value), there in zip(swept, where, strict=False)
    )
    space = Space((*conditional, Parameter(key="+switch", domain=Choice((True, False)))))
    values = space.fill(lambda p: switch if p.name == "switch" else p.domain.samples[0])
    check_equal(app, fixed, space, values)


def check_equal(app: App, fixed: list[str], space: Space, values: dict[str, Any]) -> None:
    """Our composition is Hydra's own of the same overrides, or refused where Hydra refuses it."""
    composer = Composer(app.loader, app.master, fixed, space)
    try:
        hydras = app.expected([*fixed, *space.overrides(values)])
    except (HydraException, OmegaConfBaseException, ValueError, TypeError, AssertionError):
        with pytest.raises(ConfigError):
            apply_all(composer, values)
    else:
        assert list(differences(apply_all(composer, values), hydras)) == []


def test_a_typical_sweep_is_equal_over_its_whole_grid(app: App) -> None:
    composer = app.composer(
        "model=mlp,convnet", "optimizer@optim=adam,sgd", "lr=0.5,2", "+tag='a=b','c,d'", "seed=1"
    )
    space = composer._space
    for number, params in enumerate(space.grid()):
        values = space.values(params)
        ours = apply(
            composer.base(values), composer.patch(values), job_num=number, job_id=f"job-{number}"
        )
        hydras = app.expected(["seed=1", *space.overrides(values)], job_num=number)
        assert list(differences(ours, hydras)) == []
        assert ours == hydras
    assert ours.hydra.job.override_dirname == "+tag:'c,d',lr:2,model:convnet"


CONDITIONAL = (
    "model.norm.momentum=0.2,0.3", "model=mlp,convnet", "model/norm=batch,layer",
    "model.width=8,16", "model.channels=4,32", "lr=0.5,2",
)  # fmt: skip
WHEN = {
    "model.norm.momentum": {"model/norm": "batch", "lr": 2},
    "model/norm": {"model": "convnet"},
    "model.width": {"model": "mlp"},
    "model.channels": {"model": "convnet", "lr": [0.5, 2]},
}


def test_a_conditional_sweep_is_equal_over_its_whole_grid(app: App) -> None:
    composer = app.composer(*CONDITIONAL, when=WHEN)
    composer.validate()
    grid = composer._space.grid()
    assert len(grid) == 2 * 2 + 2 * (1 + 1) * 2 + 2
    for params in grid:
        values = composer._space.values(params)
        hydras = app.expected(composer._space.overrides(values))
        assert list(differences(apply_all(composer, values), hydras)) == []


def test_nothing_is_resolved(app: App) -> None:
    config = apply_all(app.composer("lr=1,2"), {"lr": 2})
    raw = OmegaConf.to_container(config, resolve=False)
    assert isinstance(raw, dict)
    assert raw["output"] == "${hydra:runtime.output_dir}"
    assert raw["home"] == "${oc.env:SURELY_NOT_SET}"
    assert raw["linked"] == "${optim}"


def test_a_base_is_composed_once_for_its_choices_and_is_not_touched(app: App) -> None:
    composer = app.composer("model=mlp,convnet", "lr=1,2", "+new=a,b")
    values = {"model": "mlp", "lr": 2.0, "new": "a"}
    base = composer.base(values)
    assert composer.base({**values, "lr": 1}) is base
    assert composer.base({**values, "model": "convnet"}).id != base.id
    assert app.composer("model=mlp,convnet", "lr=5,6").base({"model": "mlp", "lr": 5}).id == base.id
    first = apply_all(composer, values)
    first.lr = 77
    assert apply_all(composer, values).lr == 2
    assert base.config().lr == 0.1


# Another process

SCRIPT = """
    import pickle, sys
    from dataclasses import dataclass
    import hydra
    from hydra.core.config_store import ConfigStore
    from hydra.core.global_hydra import GlobalHydra
    from hydra.types import RunMode

    @dataclass
    class Optimizer:
        lr: float = 0.1

    @dataclass
    class Config:
        optimizer: Optimizer

    ConfigStore.instance().store(name="main_app", node=Config(Optimizer()))

    if __name__ == "__main__":
        from sweeps.planning.compose import Composer
        from sweeps.space.space import parse_space

        with hydra.initialize(version_base="1.3"):
            loader = GlobalHydra.instance().config_loader()
            master = loader.load_configuration("main_app", [], RunMode.MULTIRUN)
            space, fixed = parse_space({}, ["optimizer.lr=interval(0,1)"])
            composer = Composer(loader, master, fixed, space)
            values = {"optimizer.lr": 0.1 + 0.2}
            sys.stdout.buffer.write(pickle.dumps((composer.base(values), composer.patch(values))))
    """


def test_schema_classes_of_the_drivers_main_are_found_in_the_workers_module(tmp_path: Path) -> None:
    script = tmp_path / "my app.py"
    script.write_text(textwrap.dedent(SCRIPT))
    driver = subprocess.run([sys.executable, str(script)], capture_output=True, check=True)
    base, patch = pickle.loads(driver.stdout)
    worker = types.ModuleType("the_app_as_a_worker_imports_it")
    sys.modules[worker.__name__] = worker
    try:
        exec(compile(script.read_text(), script, "exec"), vars(worker))
    finally:
        del sys.modules[worker.__name__]
    config = apply(base, patch, job_num=3, job_id="3", main=worker)
    assert OmegaConf.get_type(config.optimizer) is worker.Optimizer
    assert config.optimizer.lr == 0.1 + 0.2


def test_a_schema_class_inside_a_function_is_refused(app: App) -> None:
    @dataclass
    class Local:
        x: int = 1

    ConfigStore.instance().store(group="local", name="inner", node=Local)
    with pytest.raises(
        ConfigError, match=r"cannot be sent to another process.*top of their module"
    ):
        apply_all(app.composer("+local=inner,other"), {"local": "inner"})


# The check before a sweep


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["optm.lr=1,2"], "optm.lr is not in the app's config; did you mean optim.lr or optim?"
         " Use +optm.lr to add it"),
        (["momentum=1,2"], "momentum is not in the app's config; did you mean optim.momentum"),
        (["modl=mlp,convnet"], "modl is not in the app's config; did you mean model"),
        (["zzz=1,2", "qqq=1,2"], "qqq is not in the app's config; Use +qqq to add it"),
        (["model=mlp,conv"], "model=conv: there is no model/conv; choose from convnet, mlp; "
         "did you mean convnet?"),
        (["model=x,y"], "model=x: there is no model/x; choose from convnet, mlp"),
        (["model=mlp,1"], "model=1: Config group override must be a string or a list. Got int"),
        (["+broken=good,bad"], "broken=bad: "),
        (["model=mlp,convnet", "data=digits,nothing"], "data=nothing: there is no data/nothing"),
        (["model=mlp,convnet", "model.width=1,2"],
         "model.width is not in the app's config with model=convnet; write ++model.width"),
        (["data=digits,images,digits2"], "data=digits2: there is no data/digits2"),
        (["epochs=1,many"], "epochs=many: Value 'many' of type 'str' could not be converted"),
        (["epochs=interval(1,8)"], "epochs=1.0: Value '1.0' of type 'float' could not be "
         "converted to Integer; write epochs=int(interval(1.0, 8.0))"),
        (["color=RED,PINK"], "color=PINK: Invalid value 'PINK', expected one of [RED, BLUE]"),
        (["table={x:2},{y:1}"], "table={y:1}: Key 'y' is not in struct; write ++table to add "
         "keys to it"),
        (["+lr=1,2"], "+lr is in the app's config already; write lr or ++lr"),
        (["sizes.a=1,2"], "sizes.a=1: invalid literal for int()"),
        (["nosuch@here=a,b"], "nosuch@here=a: "),
        (["model.width=1,2", "nothing=3"], "nothing=3: Could not override 'nothing'"),
    ],
)  # fmt: skip
def test_a_mistake_is_found_before_anything_starts(
    app: App, arguments: list[str], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        app.composer(*arguments).validate()
    assert message in str(caught.value)
    assert "http" not in str(caught.value)


def test_every_choice_is_composed_once(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    composer = app.composer(
        "model=mlp,convnet", "optimizer@optim=sgd,adam", "+side=one,two,[one,two]",
        "++model.width=int(interval(1,8))", "lr=tag(log,interval(1e-4,1))", "free.a=1,x,[2],null",
    )  # fmt: skip
    composed: list[list[str]] = []
    load = app.loader.load_sweep_config

    def counting(master: DictConfig, overrides: list[str]) -> DictConfig:
        composed.append(overrides)
        return load(master, overrides)

    monkeypatch.setattr(app.loader, "load_sweep_config", counting)
    composer.validate()
    assert composed == [
        ["model=mlp", "optimizer@optim=sgd", "+side=one"],
        ["model=convnet", "optimizer@optim=adam", "+side=two"],
        ["model=mlp", "optimizer@optim=sgd", "+side=[one,two]"],
    ]


def test_conditional_choices_are_composed_where_they_exist(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    composer = app.composer(*CONDITIONAL, "side=one,two", when={**WHEN, "side": {"model": "mlp"}})
    composed: list[list[str]] = []
    load = app.loader.load_sweep_config

    def counting(master: DictConfig, overrides: list[str]) -> DictConfig:
        composed.append(overrides)
        return load(master, overrides)

    monkeypatch.setattr(app.loader, "load_sweep_config", counting)
    with pytest.raises(ConfigError, match=r"Could not override 'side'"):
        composer.validate()
    composed.clear()
    composer = app.composer(*CONDITIONAL, "+side=one,two", when={**WHEN, "side": {"model": "mlp"}})
    composer.validate()
    assert composed == [
        ["model=mlp", "+side=one"],
        ["model=convnet", "model/norm=batch"],
        ["model=convnet", "model/norm=layer"],
        ["model=mlp", "+side=two"],
    ]


def test_what_exists_only_under_two_choices_at_once_is_tried_there(app: App) -> None:
    arguments = ["model=mlp,convnet", "data=digits,images", "model.widht=1,2"]
    when = {"model.widht": {"model": "mlp", "data": "images"}}
    with pytest.raises(
        ConfigError, match=r"model\.widht is not in the app's config; did you mean "
    ):
        app.composer(*arguments, when=when).validate()
    arguments[-1] = "model.width=1,2"
    app.composer(*arguments, when={"model.width": when["model.widht"]}).validate()


@pytest.mark.parametrize(
    ("arguments", "when", "message"),
    [
        (
            ["model=mlp,convnet", "model.width=1,2"],
            {"model.width": {"model": ["convnet"]}},
            "model.width is not in the app's config; did you mean ",
        ),
        (
            ["model=mlp,convnet", "model.width=1,2", "lr=1,2"],
            {"model.width": {"lr": 2}},
            "model.width is not in the app's config with model=convnet; write ++model.width to set "
            "it with every choice, or hydra.sweeper.when='{model.width: {model: [mlp]}}'",
        ),
        (
            ["lr=1,2", "epochs=1,many"],
            {"epochs": {"lr": 2}},
            "epochs=many: Value 'many' of type 'str' could not be converted",
        ),
        (
            ["model=mlp,convnet", "model/norm=batch,lair"],
            {"model/norm": {"model": "convnet"}},
            "model/norm=lair: there is no model/norm/lair; choose from batch, layer; did you mean "
            "layer?",
        ),
        (
            ["lr=1,2", "model=mlp,convmet"],
            {"model": {"lr": 2}},
            "model=convmet: there is no model/convmet; choose from convnet, mlp",
        ),
        (
            ["epochs=1,2,3", "sizes.0=1,x"],
            {"sizes.0": {"epochs": 3}},
            "sizes.0=x: Value 'x' of type 'str' could not be converted",
        ),
    ],
)
def test_a_mistake_is_found_where_a_parameter_exists(
    app: App, arguments: list[str], when: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        app.composer(*arguments, when=when).validate()
    assert message in str(caught.value)


def test_a_combination_that_a_constraint_excludes_need_not_compose(app: App) -> None:
    master = app.loader.load_configuration("combined", [], RunMode.MULTIRUN)
    own = App(app.loader, master)
    arguments = ["model=mlp,convnet", "data=digits,images"]
    excluded = "model != 'convnet' or data == 'images'"
    own.composer(*arguments, constraints=[excluded]).validate()
    own.composer("model=mlp,convnet", "data=choice(digits)", constraints=[excluded]).validate()
    with pytest.raises(ConfigError, match=r"there is no both/convnet_digits"):
        own.composer("model=mlp,convnet", "data=choice(digits)").validate()
    only = own.composer(
        "model=convnet,convnet2", "data=digits", constraints=["model not in ('convnet', 'x')"]
    )
    with pytest.raises(ConfigError, match=r"there is no model/convnet2"):
        only.validate()


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("sizes=[1,2],[3],[]", [3]),
        ("++table={x:2.5},{y:1}", {"y": 1}),
        ("free.a=[{b:[null,1.5]},'a, b'],x", [{"b": [None, 1.5]}, "a, b"]),
        ("+new={a:{b:[1,2]}},null", {"a": {"b": [1, 2]}}),
        ("data={rows:3},digits", {"rows": 3}),
    ],
)
def test_lists_and_mappings_are_choices_like_any_other(app: App, line: str, value: Any) -> None:
    composer = app.composer(line, "lr=1,2")
    composer.validate()
    (name, _) = [p.name for p in composer._space.parameters]
    values = {name: value, "lr": 2.0}
    assert composer._space.values(composer._space.optuna_params(values)) == values
    config = apply_all(composer, values)
    hydras = app.expected(composer._space.overrides(values))
    assert list(differences(config, hydras)) == []
    held = OmegaConf.to_container(OmegaConf.select(config, name))
    assert held == value or (isinstance(value, dict) and value.items() <= held.items())


def test_a_combination_that_fails_is_not_blamed_on_its_choices(app: App) -> None:
    master = app.loader.load_configuration("combined", [], RunMode.MULTIRUN)
    composer = App(app.loader, master).composer("model=mlp,convnet", "data=images,digits")
    composer.validate()
    message = r"model=convnet data=digits: there is no both/convnet_digits; choose from convnet_im"
    with pytest.raises(ConfigError, match=message):
        composer.base({"model": "convnet", "data": "digits"})


def test_a_choice_that_fails_with_all_the_others_is_named(app: App) -> None:
    composer = app.composer("model=convnet,mlp", "model/norm=layer,batch")  # the mlp has no norm
    with pytest.raises(ConfigError, match=r"model=mlp: Could not override 'model/norm'"):
        composer.validate()


def test_group_options_are_what_glob_expands_to(app: App) -> None:
    options = group_options(app.loader, app.master)
    assert options("model") == ["convnet", "mlp"]
    space, _ = parse_space({}, ["model=glob(*)"], group_options=options)
    assert space.describe() == [("model", "choice(convnet, mlp)")]
