"""A trial as a Hydra experiment file: what it composes to is the trial's config."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.singleton import Singleton
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf, open_dict

from sweeps.errors import ConfigError, SweepError
from sweeps.experiment import Experiment, make_experiment
from sweeps.experiment.values import difference, to_yaml
from sweeps.rerun.config import Recorded, plain

CONF = {
    "config.yaml": """
defaults: [{model: mlp}, {db@src: null}, {size: small}, _self_, {experiment: null}]
lr: 0.1
rates: [1, 2]
nested: {a: 1, b: {c: 2}}
out: ${hydra:runtime.output_dir}
api_key: null
""",
    "model/mlp.yaml": "width: 3",
    "model/conv.yaml": "defaults: [{act: relu}]\nchannels: 8",
    "model/act/relu.yaml": "slope: 0",
    "model/act/gelu.yaml": "slope: 1",
    "db/mysql.yaml": "host: my",
    "db/pg.yaml": "host: pg",
    "size/small.yaml": "# @package _global_\nsteps: 1\nsmall_only: 1",
    "size/large.yaml": "# @package _global_\nsteps: 9",
    "preset/big.yaml": "# @package _global_\ndefaults: [{override /model: conv}]\nlr: 0.7",
    "hparams/lab.yaml": """# @package _global_
defaults: [{override /hydra/sweeper: ray_tune}, {override /model: conv}]
lr: 0.5
hydra: {mode: MULTIRUN, sweeper: {params: {lr: 'interval(0, 1)'}}}
""",
    "experiment/base.yaml": "# @package _global_\nlr: 0.4\nrates: [3]",
}


@dataclass
class App:
    """An app's config folder, composed by Hydra's public API."""

    conf: Path
    name: str = "config"
    search_path: ConfigSearchPath | None = None
    made: Experiment | None = field(default=None)

    def compose(self, *overrides: str) -> DictConfig:
        with initialize_config_dir(str(self.conf), version_base="1.3"):
            self.search_path = GlobalHydra.instance().config_loader().get_search_path()
            return compose(self.name, list(overrides), return_hydra_config=True)

    def trial(self, *overrides: str) -> Recorded:
        config = self.compose(*overrides)
        with open_dict(config):
            hydra = config._get_node("hydra")
            del config["hydra"]
        assert isinstance(hydra, DictConfig)
        return Recorded(config=config, hydra=hydra)

    def experiment(self, trial: Recorded, file: Path) -> Experiment:
        assert self.search_path is not None
        made = make_experiment(trial, self.search_path, file)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(made.text(title="trial 0", command="python app.py"))
        return made

    def composed(self, made: Experiment) -> dict[str, Any]:
        """What the command that was made gives, by Hydra itself and with the file in its place."""
        further = [f"hydra.searchpath=[file://{folder}]" for folder in made.flags[1:]]
        return plain(self.compose(*further, *made.overrides), but="hydra")


@pytest.fixture
def hydras_state() -> Iterator[None]:
    state = Singleton.get_state()
    yield
    Singleton.set_state(state)


@pytest.fixture
def make_app(tmp_path: Path, hydras_state: None) -> Callable[..., App]:
    def make(files: Mapping[str, str] = CONF, **more: str) -> App:
        for name, text in {**files, **more}.items():
            path = tmp_path / "conf" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return App(tmp_path / "conf")

    return make


@pytest.fixture
def app(make_app: Callable[..., App]) -> App:
    return make_app()


FAST = {
    "values": ["lr=0.1", "nested.b.c=7", "rates=[]", "+on.x={a:1,b:[1,{c:yes}]}", "~nested.a"],
    "groups": ["model=conv", "model/act=gelu", "model.channels=4", "db@src=mysql", "+db@dst=pg"],
    "a sweep's own file": ["+hparams=lab", "lr=0.33"],
}
SLOW = {
    "values": ["lr=0.2", "nested.b.c=7"],
    "what equals the default": ["lr=0.1"],
    "a group": ["model=conv", "model.channels=4"],
    "a group within a group": ["model=conv", "model/act=gelu"],
    "a package": ["db@src=mysql"],
    "an added package": ["+db@dst=pg", "db@src=mysql", "dst.host=x"],
    "a preset": ["size=large", "lr=0.3"],
    "an added preset": ["+preset=big", "lr=0.3"],
    "a sweep's own file": ["+hparams=lab", "lr=0.33"],
    "an experiment": ["experiment=base", "lr=0.33"],
    "several choices": ["model=[mlp,conv]"],
    "no choice": ["~model"],
    "added keys": ["+x.y={a:1,b:[1,2,{c:d}]}", "+n=null", "+on.off=1"],
    "removed keys": ["~nested.b", "~rates"],
    "lists and mappings": ["rates=[]", "nested={a:5}", "+e=[[1],[2,3]]", "+m={}"],
    "strings": ["+s=[yes,'1e-3','2020-01-01','null','0x1','1_0',' a','','#','a: b']", "+t='???'"],
    "numbers": ["+s=[1e-3,1e-05,inf,nan,-0.0,1.0]", "lr=3"],
    "interpolations": ["lr='${nested.a}'", "+k='${oc.env:NO_SUCH_VARIABLE}'", "+f='a${lr}b'"],
}


def slow(cases: Mapping[str, Any]) -> list[Any]:
    return [pytest.param(case, id=name, marks=pytest.mark.slow) for name, case in cases.items()]


@pytest.mark.parametrize("inside", [True, False], ids=["among the app's", "elsewhere"])
@pytest.mark.parametrize(
    "overrides", [*(pytest.param(c, id=n) for n, c in FAST.items()), *slow(SLOW)]
)
def test_the_file_composes_to_the_trials_config(
    app: App, tmp_path: Path, overrides: list[str], inside: bool
) -> None:
    trial = app.trial(*overrides)
    file = app.conf / "experiment/best.yaml" if inside else tmp_path / "sweep/best/experiment.yaml"
    made = app.experiment(trial, file)
    assert in_order(app.composed(made)) == in_order(plain(trial.config))
    assert made.overrides[0] == ("experiment=best" if inside else "+best=experiment")
    assert made.flags == (() if inside else ("--config-dir", str(tmp_path / "sweep")))
    assert "hydra" not in (yaml.safe_load(file.read_text()) or {})


def in_order(node: Any) -> str:
    """The same for configs whose keys stand in another order; NaN equals itself."""
    if isinstance(node, dict):
        return str(sorted((str(key), in_order(value)) for key, value in node.items()))
    return repr(node)


def test_the_file_holds_what_was_set_and_quotes_strings(app: App) -> None:
    trial = app.trial("model=mlp", "lr=0.1", "+tag='1e-3'", "+word=plain", "rates=[3,4]")
    made = app.experiment(trial, app.conf / "experiment/best.yaml")
    assert made.body == (
        "defaults:\n  - override /model: mlp\n\nlr: 0.1\nrates: [3, 4]\ntag: '1e-3'\nword: plain\n"
    )


def test_what_only_a_command_line_can_remove_stands_on_it(app: App) -> None:
    made = app.experiment(app.trial("~nested.b"), app.conf / "experiment/best.yaml")
    assert made.overrides == ("experiment=best", "~nested.b")


def test_what_says_how_to_sweep_is_not_chosen_again(app: App) -> None:
    made = app.experiment(app.trial("+hparams=lab"), app.conf / "experiment/best.yaml")
    assert "hparams" not in made.body
    assert "lr: 0.5" in made.body
    assert app.compose(*made.overrides).hydra.mode is None


def test_an_app_that_begins_a_sweep_by_itself_is_run_once(make_app: Callable[..., App]) -> None:
    app = make_app({"config.yaml": "hydra: {mode: MULTIRUN}\nlr: 1"})
    made = app.experiment(app.trial("lr=2"), app.conf / "experiment/best.yaml")
    assert made.overrides == ("+experiment=best", "hydra.mode=RUN")


def test_a_group_that_must_be_chosen_is(make_app: Callable[..., App]) -> None:
    app = make_app(**{"config.yaml": "defaults: [{model: '???'}, _self_]\nlr: ???"})
    trial = app.trial("model=mlp", "lr=1")
    made = app.experiment(trial, app.conf / "experiment/best.yaml")
    assert app.composed(made) == {"model": {"width": 3}, "lr": 1}


def test_the_group_may_lie_deeper(app: App) -> None:
    trial = app.trial("lr=0.2")
    assert app.experiment(trial, app.conf / "experiment/a/b.yaml").overrides[0] == "experiment=a/b"
    assert app.experiment(trial, app.conf / "runs/a/b.yaml").overrides[0] == "+runs=a/b"
    assert app.experiment(trial, app.conf / "b.yaml").overrides[0] == "+conf=b"


def test_a_file_that_comes_out_otherwise_says_in_what(app: App) -> None:
    trial = app.trial("lr=0.2", "nested.a=3")
    file = app.conf / "model/best.yaml"
    with pytest.raises(SweepError, match=r"with model=best: it differs in lr, nested\.a"):
        app.experiment(trial, file)
    assert not file.exists()


@pytest.mark.parametrize("name", ["best.yml", "my best/x.yaml"])
def test_a_file_that_hydra_would_not_find_is_refused(app: App, tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="--experiment"):
        app.experiment(app.trial("lr=0.2"), tmp_path / name)


def test_a_change_of_the_apps_configs_is_made_up_for(app: App) -> None:
    trial = app.trial("model=conv")
    (app.conf / "model/conv.yaml").write_text("channels: 16\nnew: 1")
    made = app.experiment(trial, app.conf / "experiment/best.yaml")
    assert app.composed(made)["model"] == {"act": {"slope": 0}, "channels": 8}


def test_a_secret_is_left_out_and_named(app: App) -> None:
    trial = app.trial("api_key=a1b2c3d4", "lr=0.2", "+db.password='${oc.env:NO_SUCH_VARIABLE}'")
    file = app.conf / "experiment/best.yaml"
    made = app.experiment(trial, file)
    assert made.secrets == ("api_key",)
    assert "a1b2c3d4" not in f"{file.read_text()} {made}"
    assert "# api_key is a secret" in file.read_text()
    assert "password: ${oc.env:NO_SUCH_VARIABLE}" in file.read_text()


def test_a_secret_of_the_apps_own_configs_stays_there(make_app: Callable[..., App]) -> None:
    app = make_app({"config.yaml": "api_key: a1b2c3d4\nlr: 1"})
    made = app.experiment(app.trial("lr=2"), app.conf / "experiment/best.yaml")
    assert made.secrets == ()
    assert "api_key" not in made.body
    assert app.composed(made) == {"api_key": "a1b2c3d4", "lr": 2}


def test_an_app_with_a_config_dir_of_its_own_keeps_it(app: App, tmp_path: Path) -> None:
    trial, file = app.trial("lr=0.2"), tmp_path / "sweep/best/experiment.yaml"
    assert app.search_path is not None
    made = make_experiment(trial, app.search_path, file, options=["--config-dir", "more"])
    folder = f"hydra.searchpath=['file://{tmp_path}/sweep']"
    assert (made.flags, made.overrides) == ((), (folder, "+best=experiment"))
    file.parent.mkdir(parents=True)
    file.write_text(made.text(title="trial 0", command="python app.py"))
    assert plain(app.compose(*made.overrides), but="hydra") == plain(trial.config)


def test_recorded_overrides_are_not_resolved(app: App) -> None:
    trial = app.trial("+k='${oc.env:NO_SUCH_VARIABLE}'", "hydra.run.dir='${lr}'")
    assert trial.overrides == ["hydra.run.dir='${lr}'", "+k='${oc.env:NO_SUCH_VARIABLE}'"]


@dataclass
class Net:
    width: int = 3
    sizes: dict[str, float] = field(default_factory=dict)


@dataclass
class Typed:
    net: Net = field(default_factory=Net)
    lr: float = 0.1


def test_structured_configs_take_what_they_have_fields_for(
    make_app: Callable[..., App], tmp_path: Path
) -> None:
    app = make_app({"config.yaml": "defaults: [typed, _self_]"})
    ConfigStore.instance().store("typed", Typed)
    trial = app.trial("net.width=9", "lr=1", "+net.depth=2", "+net.sizes.a=1")
    made = app.experiment(trial, tmp_path / "sweep/best/experiment.yaml")
    assert made.overrides == ("+best=experiment", "++net.depth=2")
    assert app.composed(made) == {
        "net": {"width": 9, "sizes": {"a": 1.0}, "depth": 2},
        "lr": 1.0,
    }
    assert OmegaConf.get_type(app.compose(*made.overrides[1:]).net) is Net


# Values

TRICKY = ["yes", "1e-3", "1_0", "0x1F", "012", "1:30", "null", "~", "", "???", "2020-01-01", "a: b"]
TRICKY += [
    "# x",
    " a ",
    "- a",
    "{a}",
    "[a",
    "\\n",
    "a\nb",
    "'",
    '"',
    "!x",
    "*a",
    "&a",
    "%",
    "é",
    ".5",
]
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.sampled_from([*TRICKY, "${a}", "x${oc.env:Y}z", "${now:%Y}", "\\${a}"])
    | st.text(st.characters(exclude_characters="$\\", exclude_categories=["Cs"]), max_size=8)
)
lists = st.lists(scalars | st.lists(scalars, max_size=2), max_size=3)
keys = st.sampled_from(["a", "b", "lr", "on", "n", "1", "x-y"])


def configs(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(keys, leaves | st.dictionaries(keys, leaves, max_size=3), max_size=5)


@settings(deadline=None, max_examples=60)
@given(wanted=configs(scalars | lists), now=configs(scalars))
def test_the_values_make_one_config_of_another(wanted: Any, now: Any) -> None:
    for key in wanted.keys() & now.keys():  # Hydra itself can make no list of a mapping
        assume({type(wanted[key]), type(now[key])} != {dict, list})
    found = difference(wanted, OmegaConf.create(now))
    text = to_yaml(found.values)
    merged = plain(OmegaConf.merge(now, OmegaConf.load(io.StringIO(text))))
    for *path, key in found.removed:
        node = merged
        for part in path:
            node = node[part]
        del node[key]
    assert in_order(merged) == in_order(wanted)
    assert found.secrets == found.added == []
