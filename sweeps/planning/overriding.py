"""Sets one value of a config as Hydra's own overrides do, and says what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from sweeps.errors import ConfigError, did_you_mean
from sweeps.space.grammar import one_line, split_key
from sweeps.space.literals import literal


def as_given(overrides: Any) -> list[str]:
    """Overrides that a config holds, as a user typed them.

    Reading them one by one would look up what `key=${oc.env:KEY}` refers to.
    """
    return cast(list[str], OmegaConf.to_container(overrides))


class UnknownKeyError(ConfigError):
    """The config has no such key."""


def set_value(config: DictConfig, key: str, value: Any) -> None:
    """Set one value.

    Raises:
        UnknownKeyError: The config has no such key.
        ConfigError: Its schema refuses the value.
    """
    prefix, path = split_key(key)
    try:
        if prefix == "+" and not isinstance(value, dict | list):
            _refuse_existing(config, path)
        OmegaConf.update(config, path, value, merge=True, force_add=bool(prefix))
    except (ConfigAttributeError, ConfigKeyError) as error:
        if isinstance(value, dict) and path in _paths(config):
            raise ConfigError(
                f"{key}={literal(value)}: {reason(error)}; write ++{path} to add keys to it"
            ) from error
        raise UnknownKeyError(_unknown(path, config)) from error
    except ConfigError:
        raise
    except (OmegaConfBaseException, ValueError, TypeError, AssertionError) as error:
        raise ConfigError(f"{key}={literal(value)}: {reason(error)}") from error


def _refuse_existing(config: DictConfig, path: str) -> None:
    if OmegaConf.select(config, path, throw_on_missing=False) is not None:
        raise ConfigError(f"+{path} is in the app's config already; write {path} or ++{path}")


def reason(error: BaseException) -> str:
    """Hydra's or OmegaConf's message on one line, without frames and search paths."""
    if isinstance(error, MissingConfigException) and error.options is not None:
        name = (error.missing_cfg_file or "").rpartition("/")[2]
        known = ", ".join(error.options)
        return f"there is no {error.missing_cfg_file}; choose from {known}" + did_you_mean(
            name, error.options
        )
    message, _, _ = str(error).partition("\nConfig search path:")
    parts = [one_line(message.splitlines())]
    if error.__cause__ is not None and isinstance(error, HydraException):
        parts.append(one_line(str(error.__cause__).splitlines()[:1]))
    return "; ".join(part for part in parts if part)


def _unknown(path: str, config: DictConfig) -> str:
    known = [*_paths(config), *map(str, config.hydra.runtime.choices)]
    hint = did_you_mean(path, (name for name in known if not name.startswith("hydra")))
    return f"{path} is not in the app's config{hint or ';'} Use +{path} to add it"


def _paths(config: DictConfig) -> Iterator[str]:
    """Every key of the config in dotted form, inner nodes too, without resolving anything."""
    plain = OmegaConf.to_container(config, resolve=False)

    def walk(node: Any, prefix: str) -> Iterator[str]:
        if isinstance(node, dict):
            for key, child in node.items():
                yield f"{prefix}{key}"
                yield from walk(child, f"{prefix}{key}.")

    return walk(plain, "")
