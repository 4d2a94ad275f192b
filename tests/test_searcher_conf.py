"""The plugin's schema offers every searcher with the options and defaults that it has."""

from __future__ import annotations

import inspect

import pytest
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

import hydra_plugins.ray_tune_sweeper.ray_tune_sweeper  # noqa: F401 - registers the schema
from sweeps.searchers import SEARCHERS

GIVEN = {"space", "view", "seed", "rungs", "num_samples"}


@pytest.mark.parametrize("name", SEARCHERS)
def test_a_searchers_schema_is_its_signature(name: str) -> None:
    node = ConfigStore.instance().load(f"hydra/sweeper/searcher/{name}.yaml").node
    parameters = inspect.signature(SEARCHERS[name]).parameters
    options = {p: parameters[p].default for p in parameters if p not in GIVEN}
    assert OmegaConf.to_container(node) == {"name": name, **options}
