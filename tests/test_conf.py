"""Every file under conf/ composes, and what it configures can be built."""

import shlex
from pathlib import Path

import hydra
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from omegaconf import OmegaConf
from omegaconf.errors import MissingMandatoryValue

import models
from models.training.evaluation import METRICS

CONF = Path(__file__).resolve().parents[1] / "conf"
GROUPS = {"model", "data", "optimizer", "lr_schedule", "averaging", "trainer"}
REQUIRED = {"npz": ["data.path=a.npz"], "mnist": ["data.path=a.npz"]} | {
    "table": ["data.path=a.csv", "data.target=y"],
    "parquet": ["data.path=folder", "data.target=y"],
}


def choices(group):
    return sorted(file.stem for file in (CONF / group).glob("*.yaml"))


def compose(*overrides, hydra_too=False):
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return hydra.compose("train", list(overrides), return_hydra_config=hydra_too)


def instantiate(*overrides):
    return hydra.utils.instantiate(compose(*overrides), _convert_="all")


def small():
    return models.MLP(4, 3, width=8)


@pytest.fixture(autouse=True)
def _clean_hydra():
    yield
    GlobalHydra.instance().clear()


@pytest.mark.parametrize("file", sorted(CONF.rglob("*.yaml")), ids=lambda f: f.stem)
def test_a_file_begins_with_a_command_that_uses_it(file):
    first = file.read_text().removeprefix("# @package _global_\n").splitlines()[0]
    assert first.startswith(("# caviar train", "# caviar sweep"))
    group, name = file.parent.name, file.stem
    assert name == "train" or name == "default" or f"{group}={name}" in first


@pytest.mark.parametrize("file", sorted(CONF.rglob("*.yaml")), ids=lambda f: f.stem)
def test_the_first_lines_command_composes(file):
    if file.parent.name == "experiment" and not has_sweeper():
        pytest.skip("the sweeper plugin is not installed")
    first = file.read_text().removeprefix("# @package _global_\n").splitlines()[0]
    compose(*shlex.split(first.removeprefix("# caviar "))[1:])


@pytest.mark.parametrize("name", choices("model"))
def test_a_model_can_be_built(name):
    net = instantiate(f"model={name}")["model"]((1, 8, 8), 3)
    assert net(torch.randn(5, 1, 8, 8)).shape == (5, 3)


@pytest.mark.parametrize("name", choices("data"))
def test_a_data_set_can_be_built(name):
    assert hasattr(instantiate(f"data={name}", *REQUIRED.get(name, []))["data"], "load")


@pytest.mark.parametrize("name", choices("optimizer"))
def test_an_optimizer_can_be_built(name):
    optimizer = instantiate(f"optimizer={name}")["optimizer"](small())
    assert [group["weight_decay"] > 0 for group in optimizer.param_groups][1:] in ([], [False])


@pytest.mark.parametrize(
    ("choice", "options"),
    [
        (["optimizer=sgd"], {}),
        (["optimizer=sgd", "optimizer.momentum=0.5"], {"momentum": 0.5}),
        (["optimizer=momentum"], {"momentum": 0.9}),
        (["optimizer=nesterov"], {"momentum": 0.9, "nesterov": True}),
    ],
)
def test_an_optimizer_is_what_its_name_says(choice, options):
    made = instantiate(*choice, "optimizer.lr=0.1", "optimizer.weight_decay=0")["optimizer"]
    ours, theirs = small(), small()
    theirs.load_state_dict(ours.state_dict())
    for net, optimizer in (
        (ours, made(ours)),
        (theirs, torch.optim.SGD(theirs.parameters(), lr=0.1, **options)),
    ):
        for _ in range(3):
            net.zero_grad()
            net(torch.eye(4)).square().sum().backward()
            optimizer.step()
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict())


@pytest.mark.parametrize("name", choices("lr_schedule"))
def test_a_schedule_can_be_built(name):
    schedule = instantiate(f"lr_schedule={name}")["lr_schedule"](epochs=3)
    factors = [schedule.factor(step, 10) for step in range(30)]
    assert all(0 < factor <= 1 for factor in factors)
    assert max(factors) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("name", choices("averaging"))
def test_an_averaging_can_be_built(name):
    assert instantiate(f"averaging={name}")["averaging"](small(), epochs=3).net is None


@pytest.mark.parametrize("name", choices("trainer"))
def test_a_trainer_can_be_built(name):
    assert instantiate(f"trainer={name}")["trainer"].epochs > 0


@pytest.mark.parametrize("model", ["mlp", "softmax"])
@pytest.mark.parametrize("optimizer", choices("optimizer"))
def test_models_train_with_every_optimizer(model, optimizer):
    parts = instantiate(f"model={model}", f"optimizer={optimizer}", "trainer.epochs=2")
    fit = parts["trainer"].fit(parts)
    assert fit.objective > 0.8


@pytest.mark.parametrize("model", sorted(set(choices("model")) - {"mlp", "softmax"}))
def test_a_model_for_images_trains(model):
    search = ["trainer=darts", "trainer.order=1", "model.operations=[none,skip_connect]"]
    few = search if model == "darts_supernet" else []
    parts = instantiate(f"model={model}", "trainer.epochs=2", *few)
    fit = parts["trainer"].fit(parts)
    assert fit.objective > 0.4


def test_the_parts_are_plain():
    parts = instantiate()
    assert type(parts) is dict
    assert type(parts["data"]) is models.Digits
    assert all(callable(parts[key]) for key in ("model", "optimizer", "lr_schedule"))


def test_every_group_is_tested():
    assert {p.name for p in CONF.iterdir() if p.is_dir()} - {"experiment", "cluster"} == GROUPS


def experiments(*, swept):
    texts = {
        name: (CONF / "experiment" / f"{name}.yaml").read_text() for name in choices("experiment")
    }
    return [name for name, text in texts.items() if ("hydra/sweeper" in text) == swept]


def has_sweeper():
    return any("ray_tune" in p.__module__ for p in Plugins.instance().discover())


@pytest.mark.skipif(not has_sweeper(), reason="the sweeper plugin is not installed")
@pytest.mark.parametrize("name", experiments(swept=True))
def test_an_experiment_composes_and_trains_as_long_as_its_scheduler_says(name):
    config = compose(f"experiment={name}", "data.path=a.npz" if "mnist" in name else "seed=0",
                     hydra_too=True)  # fmt: skip
    sweeper = config.hydra.sweeper
    assert config.trainer.epochs == sweeper.scheduler.max_t
    assert config.trainer.monitor == sweeper.metric
    assert METRICS[config.trainer.monitor] == sweeper.mode


@pytest.mark.skipif(not has_sweeper(), reason="the sweeper plugin is not installed")
@pytest.mark.parametrize("name", experiments(swept=True))
def test_an_experiment_searches_keys_that_exist(name):
    config = compose(f"experiment={name}", hydra_too=True)
    missing = object()
    for key in config.hydra.sweeper.params:
        assert OmegaConf.select(config, key, default=missing) is not missing, key


@pytest.mark.skipif(not has_sweeper(), reason="the sweeper plugin is not installed")
def test_a_sweep_is_after_the_best_validation_accuracy_unless_it_says_otherwise():
    sweeper = compose(hydra_too=True).hydra.sweeper
    assert (sweeper.metric, sweeper.mode) == ("val_accuracy", "max")
    other = compose("hydra.sweeper.metric=val_loss", "hydra.sweeper.mode=min", hydra_too=True)
    assert (other.hydra.sweeper.metric, other.hydra.sweeper.mode) == ("val_loss", "min")


@pytest.mark.parametrize("name", experiments(swept=False))
def test_an_experiment_to_train_can_be_built_and_asks_for_the_path_of_its_data(name):
    assert not compose(f"experiment={name}", hydra_too=True).hydra.sweeper.params
    with pytest.raises(MissingMandatoryValue, match=r"data\.path"):
        OmegaConf.to_container(compose(f"experiment={name}"), throw_on_missing=True)
    parts = instantiate(f"experiment={name}", "data.path=a.file")
    assert parts["data"].path == "a.file"
    shape = (14,) if name == "adult_mlp" else (1, 28, 28)
    assert parts["model"](shape, 3)(torch.randn(2, *shape)).shape == (2, 3)
