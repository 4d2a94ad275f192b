"""An app's configs, as Hydra finds and composes them."""

from __future__ import annotations

import copy
import importlib.util
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.config_search_path import ConfigSearchPath, SearchPathElement
from hydra.core.default_element import GroupDefault
from hydra.core.plugins import Plugins
from hydra.core.utils import setup_globals
from hydra.errors import HydraException
from hydra.plugins.config_source import ConfigResult
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sweeps.errors import ConfigError
from sweeps.planning.compose import COMPOSING
from sweeps.planning.overriding import reason
from sweeps.rerun.config import Recorded

_FILE, _PACKAGE = "file://", "pkg://"
_SEARCH_PATH = re.compile(r"\+*hydra\.searchpath=")


@dataclass(frozen=True, kw_only=True)
class Configs:
    """Where an app's configs are, and which one is the first."""

    search_path: ConfigSearchPath
    config_name: str | None
    overrides: tuple[str, ...] = ()
    """Of the trial's own those that say where configs are: `hydra.searchpath`."""

    @classmethod
    def of(cls, search_path: ConfigSearchPath, recorded: Recorded) -> Configs:
        """Those that a job was composed from."""
        return cls(
            search_path=search_path,
            config_name=recorded.hydra.job.config_name,
            overrides=tuple(o for o in recorded.overrides if _SEARCH_PATH.match(o)),
        )

    def compose(self, overrides: Sequence[str]) -> DictConfig:
        """The config of a run with some overrides, `hydra` node and all, unresolved.

        Raises:
            ConfigError: Hydra cannot compose it.
        """
        with COMPOSING, _in_one_line():
            return self._loader.load_configuration(
                config_name=self.config_name,
                overrides=[*self.overrides, *overrides],
                run_mode=RunMode.RUN,
            )

    @cached_property
    def choices(self) -> dict[str, Any]:
        """The choice of each group by default; one that must be made is `???`.

        Raises:
            ConfigError: Hydra cannot read the defaults list.
        """
        with COMPOSING, _in_one_line():  # as for a multirun, which may lack choices yet
            found = self._loader.compute_defaults_list(
                self.config_name, list(self.overrides), RunMode.MULTIRUN
            )
        return _without_hydras(found.overrides.known_choices)

    def reaches_hydra(self, group: str, choice: Any) -> bool:
        """Whether a group's config also says something of Hydra's own, such as a sweeper."""
        names = choice if isinstance(choice, list) else [choice]
        return any(map(_reaches_hydra, filter(None, (self._load(group, name) for name in names))))

    def folders(self) -> Iterator[tuple[int, Path]]:
        """(place in the search path, folder) of what lies on this disk."""
        for index, element in enumerate(self.search_path.get_path()):
            scheme, separator, place = element.path.partition("://")
            if f"{scheme}{separator}" == _FILE or not separator:
                yield index, Path(place if separator else scheme).resolve()
            elif f"{scheme}{separator}" == _PACKAGE:
                yield from ((index, folder) for folder in _package(place))

    def with_folder(self, folder: Path, *, at: int) -> Configs:
        """The same with one more folder, before what is at that place of the search path."""
        search_path = copy.deepcopy(self.search_path)
        element = SearchPathElement("experiment", f"{_FILE}{folder}")
        search_path.get_path().insert(at, element)
        return replace(self, search_path=search_path)

    @property
    def end(self) -> int:
        """Where Hydra puts a `--config-dir`: before the configs that Python code registered."""
        return len(self.search_path.get_path()) - 1

    @cached_property
    def _loader(self) -> ConfigLoaderImpl:
        setup_globals()
        Plugins.instance()  # Hydra's own configs and those of its plugins are registered by it
        return ConfigLoaderImpl(config_search_path=self.search_path)

    def _load(self, group: str, name: Any) -> ConfigResult | None:
        path = f"{group.partition('@')[0]}/{name}"
        with COMPOSING, _in_one_line():
            _, repository = self._loader._parse_overrides_and_create_caching_repo(
                self.config_name, list(self.overrides)
            )
            return repository.load_config(path)


def choices(hydra: DictConfig) -> dict[str, Any]:
    """The choice of each group in a job's `hydra` node, by `group` or `group@package`."""
    found = OmegaConf.to_container(hydra.runtime.choices)
    assert isinstance(found, dict)
    return _without_hydras(found)


def _without_hydras(choices: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(key): choice for key, choice in choices.items() if not _is_hydras(str(key))}


def _is_hydras(group: str) -> bool:
    return group == "hydra" or group.startswith("hydra/")


def _reaches_hydra(found: ConfigResult) -> bool:
    config = found.config
    listed = found.defaults_list or ()
    groups = [d.group or "" for d in listed if isinstance(d, GroupDefault)]
    is_own = any(_is_hydras(group.lstrip("/")) for group in groups)
    return is_own or (OmegaConf.is_dict(config) and "hydra" in config)


def _package(name: str) -> list[Path]:
    """The folders of a package, as `pkg://` names it."""
    with suppress(ModuleNotFoundError, ValueError):
        spec = importlib.util.find_spec(name.replace("/", "."))
        if spec is not None and spec.submodule_search_locations is not None:
            return [Path(place).resolve() for place in spec.submodule_search_locations]
    return []


@contextmanager
def _in_one_line() -> Iterator[None]:
    """Say what Hydra refuses in one line."""
    try:
        yield
    except (HydraException, OmegaConfBaseException, yaml.YAMLError, ValueError, TypeError) as error:
        raise ConfigError(reason(error)) from error
