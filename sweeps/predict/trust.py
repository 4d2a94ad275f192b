"""Whose code may run to rebuild a network from an export's config.

A config names classes to build, and who can write it could name anything: so what it names must be
of a package that the user trusts, as it is installed here. Caviar's own networks are; of them only
classes are built, whose constructors do nothing but build.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml
from hydra.errors import HydraException
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sweeps.errors import ConfigError, SweepError

_OWN = "models"


class Parts(Mapping[str, Any]):
    """The parts of a config, each built when it is asked for, and checked before."""

    def __init__(self, config: Mapping[str, Any], trust: Trust):
        self._config = config
        self._trust = trust
        self._built: dict[str, Any] = {}

    def __getitem__(self, key: str) -> Any:
        if key not in self._built:
            self._built[key] = self._build(self._config[key])
        return self._built[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._config)

    def __len__(self) -> int:
        return len(self._config)

    def _build(self, node: Any) -> Any:
        self._trust.check(node)
        if not isinstance(node, dict | list):
            return node
        try:
            return instantiate(OmegaConf.create(node), _convert_="all")
        except (HydraException, OmegaConfBaseException) as error:
            raise SweepError(f"the export's network cannot be built: {error}") from error


class Trust:
    """Which packages' code may run.

    Args:
        folder: The export's; a package in it is never trusted.
        packages: What the user trusts, beside the networks that come with caviar.
    """

    def __init__(self, folder: Path, packages: Sequence[str]):
        self._folder = folder.resolve()
        self._packages = packages

    def check(self, node: Any) -> None:
        """See that all that a node names may be built.

        Raises:
            ConfigError: Something in it is not trusted.
        """
        if isinstance(node, list):
            for child in node:
                self.check(child)
        elif isinstance(node, dict):
            if "_target_" in node:
                self._check_target(node["_target_"])
            for child in node.values():
                self.check(child)

    def _check_target(self, target: Any) -> None:
        package = str(target).partition(".")[0]
        if not isinstance(target, str) or not self._is_trusted(package):
            raise ConfigError(
                f"this export has no model.onnx, and to rebuild its network would run {target!r}: "
                f"if you trust it, say so with --trust {package}"
            )
        try:
            found = get_object(target)
        except (HydraException, ImportError, ValueError) as error:
            raise SweepError(f"{target}, which the export names, is not there: {error}") from error
        home = str(getattr(found, "__module__", "")).partition(".")[0]
        if home != package or (package not in self._packages and not inspect.isclass(found)):
            raise ConfigError(
                f"the export's config names {target!r}, which is no class of {package}: "
                f"nothing was run"
            )

    def _is_trusted(self, package: str) -> bool:
        """Whether a package may run; its files are looked for, and none is imported."""
        if package not in (_OWN, *self._packages):
            return False
        spec = find_spec(package)
        places = [*(spec.submodule_search_locations or []), spec.origin] if spec else []
        files = [Path(place).resolve() for place in places if place is not None]
        if any(file.is_relative_to(self._folder) for file in files):
            return False
        own = Path(sys.modules["sweeps"].__path__[0]).resolve().parent / _OWN
        return package in self._packages or any(file.is_relative_to(own) for file in files)


def build_trainer(folder: Path, trusted: Sequence[str]) -> tuple[Any, Parts]:
    """An export's trainer, and the parts that it builds its network from.

    Raises:
        ConfigError: What they name is not trusted.
        SweepError: The config cannot be read, or its trainer not be built.
    """
    file = folder / "config.yaml"
    try:
        config = OmegaConf.load(file)
        values = OmegaConf.to_container(config, resolve=True, throw_on_missing=False)
    except (OSError, ValueError, yaml.YAMLError, OmegaConfBaseException) as error:
        raise SweepError(f"{file} cannot be read: {error}") from error
    if not isinstance(config, DictConfig) or not isinstance(values, dict):
        raise SweepError(f"{file} is damaged: it is not a mapping")
    parts = Parts({str(key): value for key, value in values.items()}, Trust(folder, trusted))
    if "trainer" not in parts:
        raise SweepError(f"{file} names no trainer: its network cannot be rebuilt")
    trainer = parts["trainer"]
    missing = [name for name in ("load", "predict") if not hasattr(trainer, name)]
    if missing:
        raise SweepError(f"{type(trainer).__name__} does not offer {', '.join(missing)}")
    return trainer, parts
