"""A trial's config: composed by Hydra on the driver, finished by `apply` in the worker, unresolved.

Hydra needs tens of milliseconds for a composition, more than a whole short trial. So each tuple of
group choices is composed once, into a `Base`, and a trial's other values are applied to a copy of
it, a `Patch`. Both are bytes and plain data, made to be sent to another process. What comes out
equals `config_loader.load_sweep_config(master_config, patch.overrides)`, the `hydra` node included.
"""

from __future__ import annotations

import functools
import hashlib
import io
import pickle
import re
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.object_type import ObjectType
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from sweeps.errors import ConfigError
from sweeps.planning.compose_checks import Checks, Values
from sweeps.planning.overriding import reason, set_value
from sweeps.space.grammar import GroupOptions, split_key
from sweeps.space.literals import literal
from sweeps.space.space import Parameter, Space

COMPOSING = threading.Lock()
"""Hydra's parser and registries are shared by a process's threads: one composes at a time."""

# A sweep over many groups has many bases; one that fell out of the cache is composed again.
_CACHED_BASES = 256


@dataclass(frozen=True, kw_only=True)
class Base:
    """The composed config of one tuple of group choices.

    It is kept pickled: to load it takes 0.6 ms, to copy a config in place four times as long.
    """

    id: str
    """The same for the same overrides, in every process."""
    payload: bytes

    def config(self, *, main: ModuleType | None = None) -> DictConfig:
        """A fresh copy of the config.

        Args:
            main: The app's module as this process imported it: classes of structured configs that
                belonged to `__main__` on the driver are looked up there.
        """
        if main is None:
            config = pickle.loads(self.payload)  # noqa: S301 - our own driver wrote it
        else:
            config = _Unpickler(self.payload, main).load()
        assert isinstance(config, DictConfig)
        return config


@dataclass(frozen=True, kw_only=True)
class Patch:
    """What one trial sets in its base: plain data, small enough to go with every trial."""

    overrides: tuple[str, ...]
    """The task overrides in Hydra's order, as `hydra.overrides.task` shows them."""
    updates: tuple[tuple[str, Any], ...]
    """(override key, value) of what the base does not hold yet."""


def apply(
    base: Base, patch: Patch, *, job_num: int, job_id: str, main: ModuleType | None = None
) -> DictConfig:
    """The trial's config, `hydra` node and all, its interpolations unresolved.

    Args:
        base: What `Composer.base` gave for the trial's values.
        patch: What `Composer.patch` gave for them.
        job_num: `hydra.job.num`.
        job_id: `hydra.job.id`.
        main: The app's module in this process, see `Base.config`.

    Raises:
        ConfigError: The config has no such key, or its schema refuses the value.
    """
    config = base.config(main=main)
    for key, value in patch.updates:
        set_value(config, key, value)
    hydra = config.hydra
    hydra.overrides.task = list(patch.overrides)
    job = hydra.job
    job.override_dirname = _override_dirname(patch.overrides, job.config.override_dirname)
    job.num = job_num
    job.id = job_id
    return config


def target_modules(configs: Iterable[DictConfig]) -> list[str]:
    """The modules of the `_target_`s in configs."""
    targets = {
        value
        for config in configs
        for value in _targets(OmegaConf.to_container(config, resolve=False))
    }
    return sorted({target.rpartition(".")[0] for target in targets} - {""})


def group_options(
    config_loader: ConfigLoader,
    master_config: DictConfig,
    *,
    kind: ObjectType | None = ObjectType.CONFIG,
) -> GroupOptions:
    """Config group -> the names of its configs, as `parse_space` takes it for `glob(*)`.

    With `kind=None` the names of its subgroups are among them.
    """
    hydra_overrides = OmegaConf.to_container(master_config.hydra.overrides.hydra)
    assert isinstance(hydra_overrides, list)
    config_name = master_config.hydra.job.config_name

    @functools.cache
    def options(group: str) -> Sequence[str]:
        return config_loader.get_group_options(
            group, results_filter=kind, config_name=config_name, overrides=hydra_overrides
        )

    return options


def with_also(patch: Patch, more: Mapping[str, Any]) -> Patch:
    """A patch that sets more: override key -> value."""
    if not more:
        return patch
    lines = (f"{key}={literal(value)}" for key, value in more.items())
    return Patch(overrides=(*patch.overrides, *lines), updates=(*patch.updates, *more.items()))


class Composer:
    """The driver's side: bases, patches, and the check of a space before anything starts."""

    def __init__(
        self,
        config_loader: ConfigLoader,
        master_config: DictConfig,
        fixed: Sequence[str],
        space: Space,
    ) -> None:
        self._loader = config_loader
        self._master = master_config
        self._fixed = tuple(fixed)
        self._space = space
        names_in = group_options(config_loader, master_config, kind=None)
        self._groups = tuple(p for p in space.parameters if _is_group(p.name, names_in))
        self._bases: OrderedDict[tuple[str, ...], Base] = OrderedDict()

    def over(self, fixed: Sequence[str], space: Space) -> Composer:
        """Of the same app, with other fixed overrides and another space."""
        return Composer(self._loader, self._master, fixed, space)

    def base(self, values: Values) -> Base:
        """The base for the group choices among `values`, composed at its first use.

        Raises:
            ConfigError: Hydra cannot compose it.
        """
        swept = tuple(p.override(values[p.name]) for p in self._in_base(values))
        try:
            return self._base((*self._fixed, *swept))
        except ConfigError as error:
            raise ConfigError(f"{' '.join(swept or self._fixed)}: {error}") from error

    def patch(self, values: Values, *, also: Mapping[str, Any] | None = None) -> Patch:
        """What `apply` still has to set in `base(values)`.

        Args:
            values: The trial's.
            also: Override key -> value of what is set besides, such as a fidelity.
        """
        in_base = self._in_base(values)
        task = (line for line in self._fixed if not _key(line).startswith(("hydra.", "hydra/")))
        patch = Patch(
            overrides=(*task, *self._space.overrides(values)),
            updates=tuple(
                (p.key, p.domain.plain(values[p.name]))
                for p in self._space.parameters
                if p.name in values and p not in in_base
            ),
        )
        return with_also(patch, also or {})

    def validate(self) -> None:
        """Check the space against the configs; see `Checks`.

        Raises:
            ConfigError: A choice that does not compose, a key that the config lacks, or a value
                that the config's schema refuses.
        """
        Checks(self._space, self._groups, lambda values: self.base(values).config).run()

    def check_takes(self, key: str, value: Any) -> None:
        """See that every config composed so far takes a value for a key.

        Raises:
            ConfigError: One has no such key, or its schema refuses the value.
        """
        for base in self._bases.values():
            set_value(base.config(), key, value)

    def target_modules(self) -> list[str]:
        """The modules of the `_target_`s in the configs composed so far."""
        return target_modules(base.config() for base in self._bases.values())

    def _in_base(self, values: Values) -> tuple[Parameter, ...]:
        # A mapping for a group's key is merged in its turn, which only Hydra itself gets right.
        groups = tuple(p for p in self._groups if p.name in values)
        if any(isinstance(values[p.name], dict) for p in groups):
            return tuple(p for p in self._space.parameters if p.name in values)
        return groups

    def _base(self, overrides: tuple[str, ...]) -> Base:
        if overrides not in self._bases:
            self._bases[overrides] = Base(
                id=hashlib.sha256("\n".join(overrides).encode()).hexdigest()[:16],
                payload=_pickled(self._compose(overrides)),
            )
            if len(self._bases) > _CACHED_BASES:
                self._bases.popitem(last=False)
        self._bases.move_to_end(overrides)
        return self._bases[overrides]

    def _compose(self, overrides: Sequence[str]) -> DictConfig:
        try:
            with COMPOSING:
                return self._loader.load_sweep_config(self._master, list(overrides))
        except (HydraException, OmegaConfBaseException, YAMLError, ValueError) as error:
            raise ConfigError(reason(error)) from error


class _Unpickler(pickle.Unpickler):
    """Finds the driver's `__main__` in the module that the worker imported the app as."""

    def __init__(self, payload: bytes, main: ModuleType) -> None:
        super().__init__(io.BytesIO(payload))
        self._main = main

    def find_class(self, module_name: str, global_name: str) -> Any:
        if module_name == "__main__":
            return functools.reduce(getattr, global_name.split("."), self._main)
        return super().find_class(module_name, global_name)


def _pickled(config: DictConfig) -> bytes:
    try:
        return pickle.dumps(config, protocol=pickle.HIGHEST_PROTOCOL)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ConfigError(
            f"the config cannot be sent to another process: {error}; define the classes of "
            "structured configs at the top of their module"
        ) from error


def _override_dirname(overrides: Sequence[str], options: DictConfig) -> str:
    """`hydra.job.override_dirname`: the overrides sorted and joined, as Hydra does it."""
    excluded = set(options.exclude_keys)
    lines = sorted(line for line in overrides if _key(line).partition("@")[0] not in excluded)
    return re.sub("[=]", options.kv_sep, options.item_sep.join(lines))


def _key(override: str) -> str:
    return split_key(override.partition("=")[0])[1]


def _is_group(name: str, names_in: GroupOptions) -> bool:
    """Whether Hydra may read the key as a choice in the defaults list."""
    return "@" in name or "/" in name or bool(names_in(name))


def _targets(node: Any) -> Iterator[str]:
    """Every plain `_target_` of a config, the hydra node's aside."""
    children = node.items() if isinstance(node, dict) else enumerate(node)
    for key, child in children:
        if key == "_target_" and isinstance(child, str) and "$" not in child:
            yield child
        elif isinstance(child, dict | list) and key != "hydra":
            yield from _targets(child)
