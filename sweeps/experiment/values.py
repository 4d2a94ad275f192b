"""Which keys an experiment file must hold, so that a config becomes another: `difference`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf._utils import get_omega_conf_dumper

from sweeps.errors import ConfigError
from sweeps.rerun.config import plain
from sweeps.secrets import MASK, masked_values
from sweeps.space.literals import literal

Keys = tuple[Any, ...]
"""A key of a config, from the outermost mapping inwards."""


@dataclass(frozen=True)
class Difference:
    """What makes a config of another one."""

    values: dict[str, Any] = field(default_factory=dict)
    """What a file sets."""
    added: list[tuple[Keys, Any]] = field(default_factory=list)
    """What a structured config has no field for: only a command line can add it."""
    removed: list[Keys] = field(default_factory=list)
    """What only a command line can remove."""
    secrets: list[Keys] = field(default_factory=list)
    """What differs and nobody should read."""

    @property
    def overrides(self) -> list[str]:
        """What of it stands on the command line.

        Raises:
            ConfigError: A key or value that no override can hold.
        """
        added = [f"++{dotted(path)}={literal(value)}" for path, value in self.added]
        return [*(f"~{dotted(path)}" for path in self.removed), *added]


def difference(
    wanted: Mapping[str, Any], now: DictConfig, *, always: Collection[Keys] = ()
) -> Difference:
    """What makes `wanted` of the config that there is now.

    Args:
        wanted: Plain and unresolved, its secrets masked.
        now: What Hydra composed; its types say what can be added.
        always: Keys that are set even where they agree.
    """
    found = Difference()
    there = masked_values(plain(now, but="hydra"))
    found.values.update(_walk(wanted, there, now, (), found, always))
    return found


def _walk(
    wanted: Mapping[Any, Any],
    now: Mapping[Any, Any],
    node: Any,
    path: Keys,
    found: Difference,
    always: Collection[Keys],
) -> dict[Any, Any]:
    values: dict[Any, Any] = {}
    for key, value in wanted.items():
        here, was = (*path, key), now.get(key, _Missing)
        if isinstance(value, dict) and isinstance(was, dict):
            if inner := _walk(value, was, _child(node, key), here, found, always):
                values[key] = inner
        elif _equal(value, was) and here not in always:
            continue
        elif _holds_mask(value) and not isinstance(value, dict):
            if not _equal(value, was):
                found.secrets.append(here)
        elif was is _Missing and _is_typed(node):
            if _holds_mask(value):
                found.secrets.append(here)
            else:
                found.added.append((here, value))
        elif isinstance(value, dict):
            values[key] = _walk(value, {}, None, here, found, always)
        else:
            values[key] = value
    found.removed.extend((*path, key) for key in now if key not in wanted)
    return values


def _equal(one: Any, other: Any) -> bool:
    """Whether both are the same value of the same type; NaN is no other NaN."""
    return type(one) is type(other) and repr(one) == repr(other)


class _Missing:
    """What a config does not hold."""


def _child(node: Any, key: Any) -> Any:
    return node._get_node(key) if OmegaConf.is_config(node) else None


def _is_typed(node: Any) -> bool:
    """Whether a class says which keys a mapping has."""
    return OmegaConf.is_dict(node) and OmegaConf.get_type(node) not in (dict, None)


def _holds_mask(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_holds_mask, value.values()))
    if isinstance(value, list):
        return any(map(_holds_mask, value))
    return isinstance(value, str) and MASK in value


def at(config: Mapping[str, Any], path: Keys) -> Any:
    """What a plain config holds at a key; None where it has none."""
    node: Any = config
    for key in path:
        node = node.get(key) if isinstance(node, Mapping) else None
    return node


def dotted(path: Keys) -> str:
    """`optimizer.lr`, as an override names it.

    Raises:
        ConfigError: A dot or another sign in a key would make another key of it.
    """
    keys = [str(key) for key in path]
    if any(not key.replace("_", "").replace("-", "").isalnum() for key in keys):
        raise ConfigError(f"the key {'.'.join(keys)} cannot be written in a Hydra override")
    return ".".join(keys)


# As YAML


class _Dumper(get_omega_conf_dumper()):  # type: ignore[misc]
    """OmegaConf's own, which quotes what would be read as no string; short lists on a line."""


def _represent_list(dumper: Any, items: list[Any]) -> Any:
    in_a_line = not any(isinstance(item, dict | list) for item in items)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=in_a_line)


_Dumper.add_representer(list, _represent_list)


def to_yaml(values: Any) -> str:
    """Text that Hydra reads the same values from."""
    text: str = yaml.dump(
        values,
        Dumper=_Dumper,
        default_flow_style=False,
        allow_unicode=True,
        sort_keys=False,
        width=10_000,
    )
    return text
