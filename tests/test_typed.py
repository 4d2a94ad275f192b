"""Options take the types of their schema, or are refused with key, value and rule."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

import pytest
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig

import hydra_plugins.ray_tune_sweeper.ray_tune_sweeper  # noqa: F401 - registers the schema
from hydra_plugins.ray_tune_sweeper._schema import RayTuneConf, checked
from sweeps.core.settings import Settings
from sweeps.errors import ConfigError
from sweeps.journal.objective import Objective
from sweeps.schedulers import SCHEDULERS, make_scheduler
from sweeps.searchers import SEARCHERS, View, make_searcher
from sweeps.space.space import parse_space

SPACE, _ = parse_space({"x": "range(0, 10)"}, [])
OWN = {"defaults", "_target_", "_recursive_"}
NONSENSE: list[Any] = ["nonsense", 2.5, -1, 0, True, None, math.nan, math.inf, [3], ["a"], [None]]
NONSENSE += [[], {}, {"a": 1}]
REQUIRED = {"max_t": 9, "perturbation_interval": 3, "hyperparam_mutations": ["x"]}


def under_hydra_sweeper(searcher: str = "random", scheduler: str = "none") -> DictConfig:
    """What Hydra composes for these choices."""

    def node(name: str) -> DictConfig:
        return ConfigStore.instance().load(f"hydra/sweeper/{name}.yaml").node

    config = node("ray_tune").copy()
    del config["defaults"]
    config.searcher, config.scheduler = node(f"searcher/{searcher}"), node(f"scheduler/{scheduler}")
    for key in REQUIRED.keys() & config.scheduler.keys():
        config.scheduler[key] = REQUIRED[key]
    return config


def read(config: DictConfig) -> Settings:
    settings = Settings.parse(checked(config))
    scheduler, searcher = dict(settings.scheduler), dict(settings.searcher)
    make_scheduler(scheduler.pop("name"), space=SPACE, seed=1, **scheduler)
    make_searcher(searcher.pop("name"), space=SPACE, view=View(Objective()), seed=1, **searcher)
    return settings


def answer(config: DictConfig) -> str | None:
    """What it is refused with, if it is."""
    try:
        read(config)
    except ConfigError as error:
        return str(error)
    return None


def check_answer(config: DictConfig, key: str, value: Any) -> None:
    """It is taken, or refused in one line that names it."""
    said = answer(config)
    assert said is None or (key in said and "\n" not in said), (key, value)


@pytest.mark.parametrize("key", [f.name for f in fields(RayTuneConf) if f.name not in OWN])
def test_nonsense_under_a_key_is_answered_in_one_line_that_names_it(key: str) -> None:
    for value in NONSENSE:
        config = under_hydra_sweeper()
        config[key] = value
        check_answer(config, key, value)


@pytest.mark.parametrize("name", SEARCHERS)
def test_nonsense_in_a_searchers_option_is_answered_in_one_line_that_names_it(name: str) -> None:
    for key in set(under_hydra_sweeper(name).searcher) - {"name"}:
        for value in NONSENSE:
            config = under_hydra_sweeper(name)
            config.searcher[key] = value
            check_answer(config, key, value)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_nonsense_in_a_schedulers_option_is_answered_in_one_line_that_names_it(name: str) -> None:
    for key in set(under_hydra_sweeper("random", name).scheduler) - {"name"}:
        for value in NONSENSE:
            config = under_hydra_sweeper("random", name)
            config.scheduler[key] = value
            check_answer(config, key, value)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("num_samples", "a", "hydra.sweeper.num_samples is 'a'; it must be a whole number or null"),
        ("num_samples", True, "is True; it must be a whole number or null"),
        ("num_samples", 1e3, "is 1000.0; it must be a whole number or null; did you mean 1000?"),
        ("max_losses", None, "hydra.sweeper.max_losses is None; it must be a whole number"),
        ("retry_backoff_s", "1 s", "hydra.sweeper.retry_backoff_s is '1 s'; it must be a number"),
        ("export", "flase", "is 'flase'; it must be true or false; did you mean false?"),
        ("storage_path", ["a"], "hydra.sweeper.storage_path is ['a']; it must be a text"),
        ("params", "x", "hydra.sweeper.params is 'x'; it must be a mapping"),
        ("constraints", "x < 1", "is 'x < 1'; it must be a list, such as [x < 1]"),
        ("constraints", ["x", ["y"]], "hydra.sweeper.constraints[1] is ['y']; it must be a text"),
        ("metric", 3, "hydra.sweeper.metric is 3; it must be a name, or a list of names"),
        ("num_sample", 3, "num_sample is not an option; did you mean hydra.sweeper.num_samples?"),
        ("zzz", 3, "hydra.sweeper.zzz is not an option; there are "),
        ("n_jobs", 3, "hydra.sweeper.n_jobs is a key of hydra-optuna-sweeper; caviar's is"),
        ("searcher", "x", "hydra.sweeper.searcher is 'x'; choose it with hydra/sweeper/searcher="),
    ],
)
def test_a_wrong_value_is_refused_with_the_rule(key: str, value: Any, message: str) -> None:
    config = under_hydra_sweeper()
    config[key] = value
    if key == "metric":
        config.mode = "min"
    with pytest.raises(ConfigError) as refused:
        read(config)
    assert message in str(refused.value)


def test_a_text_that_reads_as_its_type_is_taken_as_an_environment_variable_gives_it() -> None:
    config = under_hydra_sweeper(scheduler="asha")
    config.num_samples, config.retry_backoff_s, config.export = "7", "0.5", "no"
    config.name, config.scheduler.max_t = 12, "27"
    settings = read(config)
    assert (settings.num_samples, settings.retry_backoff_s, settings.export) == (7, 0.5, False)
    assert (settings.name, settings.scheduler["max_t"]) == ("12", 27)
