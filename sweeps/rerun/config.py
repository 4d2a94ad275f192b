"""A leg's config: composed by Hydra as it was then, or else as it was recorded.

Composed, it has the types of structured configs and the values that a record masks; recorded, it is
what was trained. Where both say the same the composed one is taken, and where the app's configs
have changed since, the recorded one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
from hydra.conf import HydraConf
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from sweeps.errors import ConfigError, SweepError
from sweeps.planning.overriding import as_given, reason, set_value
from sweeps.planning.relocate import Move
from sweeps.secrets import MASK, is_masked

_SWEEPER = "hydra.sweeper."
_STRUCTURED = "structured"


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What lies beside a trial's job, its secrets masked."""

    config: DictConfig
    hydra: DictConfig

    @classmethod
    def read(cls, folder: Path) -> Recorded:
        """Read a job's `.hydra`.

        Raises:
            SweepError: It is not there, or damaged.
        """
        try:
            config, hydra = (OmegaConf.load(folder / f"{n}.yaml") for n in ("config", "hydra"))
        except (OSError, yaml.YAMLError) as error:
            raise SweepError(f"the trial's recorded config cannot be read: {error}") from error
        assert isinstance(config, DictConfig)
        assert isinstance(hydra, DictConfig)
        return cls(config=config, hydra=hydra.hydra)

    @property
    def overrides(self) -> list[str]:
        """All overrides that it was composed with, as they were written."""
        return [*as_given(self.hydra.overrides.hydra), *self.task_overrides]

    @property
    def task_overrides(self) -> list[str]:
        """Those of the app's config."""
        return as_given(self.hydra.overrides.task)

    @property
    def checkpoint_key(self) -> str | None:
        """`hydra.sweeper.checkpoint_key`, if the sweep had one."""
        key: str | None = self.hydra.sweeper.get("checkpoint_key")
        return key

    def search_path(self, move: Move) -> ConfigSearchPath:
        """Where Hydra found its configs, moved to where the project is now."""
        path = ConfigSearchPathImpl()
        for source in self.hydra.runtime.config_sources:
            if source.schema != _STRUCTURED:
                path.append(source.provider, f"{source.schema}://{source.path}")
        path.append("schema", f"{_STRUCTURED}://")
        return move.search_path(path)


def hidden(overrides: Sequence[str], changed: Sequence[str]) -> list[str]:
    """The keys of recorded overrides that were masked, and are not given anew.

    What is the sweep's own, such as a storage's URL with a password, no training needs.
    """
    new = {_key(override) for override in changed}
    keys = [_key(override) for override in overrides if is_masked(override)]
    return [key for key in keys if key not in new and not key.startswith(_SWEEPER)]


def make_config(
    recorded: Recorded, search_path: ConfigSearchPath, changes: Sequence[str]
) -> tuple[DictConfig, list[str]]:
    """The config to train with, `hydra` node and all, and where today's configs say otherwise.

    Raises:
        ConfigError: A change cannot be made.
    """
    config, differs = _make(recorded, ConfigLoaderImpl(config_search_path=search_path), changes)
    with read_write(config), open_dict(config):
        config.hydra.job.num, config.hydra.job.id = recorded.hydra.job.num, recorded.hydra.job.id
    return config, differs


def _make(
    recorded: Recorded, loader: ConfigLoaderImpl, changes: Sequence[str]
) -> tuple[DictConfig, list[str]]:
    try:
        today = _compose(loader, recorded, recorded.overrides)
    except ConfigError as error:
        return _as_recorded(recorded, None, changes), [str(error)]
    differs = list(different(plain(recorded.config), plain(today, but="hydra"), ""))
    if differs:
        return _as_recorded(recorded, today, changes), differs
    if not changes:
        return today, []
    return _compose(loader, recorded, replaced(recorded.overrides, changes)), []


def replaced(overrides: Sequence[str], changes: Sequence[str]) -> list[str]:
    """Overrides without those that a change replaces, and the changes.

    What was added to the config, with a `+`, is added again, also where the change has none.
    """
    new = {_key(override) for override in changes}
    was = {_key(o): o[: len(o) - len(o.lstrip("+"))] for o in overrides}
    again = [was.get(_key(c), "") + c if not c.startswith("+") else c for c in changes]
    return [*(o for o in overrides if _key(o) not in new), *again]


def _key(override: str) -> str:
    return override.partition("=")[0].lstrip("+")


def _compose(loader: ConfigLoaderImpl, recorded: Recorded, overrides: Sequence[str]) -> DictConfig:
    """As `load_sweep_config` composes a job's config from that of its sweep."""
    try:
        return loader.load_configuration(
            config_name=recorded.hydra.job.config_name,
            overrides=list(overrides),
            run_mode=RunMode.RUN,
        )
    except (HydraException, OmegaConfBaseException, yaml.YAMLError, ValueError) as error:
        raise ConfigError(reason(error)) from error


def _as_recorded(
    recorded: Recorded, today: DictConfig | None, changes: Sequence[str]
) -> DictConfig:
    """The recorded config; what is masked in it as today's configs have it."""
    known = {} if today is None else OmegaConf.to_container(today)
    config: DictConfig = OmegaConf.create(_unmasked(plain(recorded.config), known))
    OmegaConf.set_struct(config, True)
    added = replaced(recorded.overrides, changes)[-len(changes) :] if changes else []
    for change in OverridesParser.create().parse_overrides(added):
        prefix = "++" if change.is_add() or change.is_force_add() else ""
        set_value(config, f"{prefix}{change.key_or_group}", change.value())
    hydra = OmegaConf.structured(HydraConf)
    OmegaConf.set_struct(hydra, False)
    hydra.merge_with(recorded.hydra if today is None else today.hydra)
    with read_write(config), open_dict(config):
        config.hydra = hydra
        config.hydra.overrides.task = replaced(recorded.task_overrides, changes)
    return config


def _unmasked(node: Any, today: Any) -> Any:
    if isinstance(node, dict):
        known = today if isinstance(today, dict) else {}
        return {key: _unmasked(value, known.get(key)) for key, value in node.items()}
    if isinstance(node, list):
        same = isinstance(today, list) and len(today) == len(node)
        return [_unmasked(value, today[i] if same else None) for i, value in enumerate(node)]
    masked = isinstance(node, str) and MASK in node
    return today if masked and isinstance(today, str) else node


def plain(config: DictConfig, *, but: str | None = None) -> dict[str, Any]:
    """A config as mappings and lists, its interpolations as they were written."""
    whole = OmegaConf.to_container(config, enum_to_str=True)
    assert isinstance(whole, dict)
    return {key: value for key, value in whole.items() if key != but}  # type: ignore[misc]


def different(was: Any, now: Any, path: str) -> Iterator[str]:
    """The dotted keys at which two plain configs differ; what is masked agrees with anything."""
    if isinstance(was, dict) and isinstance(now, dict):
        for key in {**was, **now}:
            inner = f"{path}.{key}" if path else str(key)
            if key not in was or key not in now:
                yield inner
            else:
                yield from different(was[key], now[key], inner)
    elif isinstance(was, str) and MASK in was:
        return
    elif type(was) is not type(now) or repr(was) != repr(now):  # repr: NaN is no other NaN
        yield path
