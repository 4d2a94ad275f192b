"""The search space: Hydra's override strings, as parameters that Optuna can sample.

    space, fixed = parse_space({"lr": "tag(log, interval(1e-4, 1))"}, ["model=mlp,convnet"])

Pure: no ray, no torch, no files. A parameter that exists only where another has a value will be a
matter of `Space` alone: `Space.values` reads the parameters that a trial has.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, overload

from hydra.core.override_parser.types import Override, OverrideType
from optuna.distributions import BaseDistribution

from sweeps.domains import Choice, Domain, Float, Int
from sweeps.errors import ConfigError, did_you_mean
from sweeps.grammar import GroupOptions, parse_domain, parse_override, split_key
from sweeps.literals import literal

__all__ = ["Choice", "Domain", "Float", "Grid", "Int", "Parameter", "Space", "parse_space"]


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One swept key of the app's config and what it may be."""

    key: str
    """The override's key as typed: `optimizer.lr`, `+x`, `model`, `db@source`."""
    domain: Domain

    @property
    def name(self) -> str:
        """The key without its prefix: what tables and results show."""
        return split_key(self.key)[1]

    @property
    def optuna_name(self) -> str:
        """The name in Optuna and in the journal, which hold 1 - x under one_minus_log."""
        if isinstance(self.domain, Float) and self.domain.scale == "one_minus_log":
            return f"1 - {self.name}"
        return self.name

    def distribution(self) -> BaseDistribution:
        """What Optuna samples from."""
        return self.domain.distribution()

    def to_value(self, optuna_value: Any) -> Any:
        """The Python value that the app sees: of its exact type, inside its bounds."""
        return self.domain.to_value(optuna_value)

    def from_value(self, value: Any) -> Any:
        """Optuna's value for a Python value: the inverse of `to_value`.

        Raises:
            ConfigError: The value is not in the parameter's domain.
        """
        with _naming(self.name):
            return self.domain.from_value(value)

    def override(self, value: Any) -> str:
        """The override that sets the value; Hydra parses it back exactly."""
        with _naming(self.name):
            return f"{self.key}={literal(self.domain.plain(value))}"


@dataclass(frozen=True)
class Space:
    """The swept parameters, in order."""

    parameters: tuple[Parameter, ...]

    def __post_init__(self) -> None:
        names = [parameter.name for parameter in self.parameters]
        if len(set(names)) < len(names):
            raise ConfigError(f"a parameter is there twice: {', '.join(names)}")

    def distributions(self) -> dict[str, BaseDistribution]:
        """What Optuna samples from, by Optuna's name."""
        return {p.optuna_name: p.distribution() for p in self.parameters}

    @property
    def is_conditional(self) -> bool:
        """Whether a parameter exists only where another has some value."""
        return False

    def draw(self, suggest: Callable[[Parameter], Any]) -> dict[str, Any]:
        """Optuna's values by Optuna's name: one from `suggest` for each parameter that exists.

        A parameter's parents come before it.
        """
        return {p.optuna_name: suggest(p) for p in self.parameters}

    def values(self, optuna_params: Mapping[str, Any]) -> dict[str, Any]:
        """The Python values by name, from what an Optuna trial holds."""
        return {p.name: p.to_value(optuna_params[p.optuna_name]) for p in self.parameters}

    def optuna_params(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The inverse of `values`, for configurations that come from elsewhere.

        Raises:
            ConfigError: A parameter is missing or unknown, or a value is not in its domain.
        """
        self._check_names(values)
        return {p.optuna_name: p.from_value(values[p.name]) for p in self.parameters}

    def overrides(self, values: Mapping[str, Any]) -> list[str]:
        """The overrides that set `values`, in the space's order."""
        self._check_names(values)
        return [p.override(values[p.name]) for p in self.parameters]

    def size(self) -> int | None:
        """The number of combinations, or None where a parameter is continuous."""
        sizes = [p.domain.size for p in self.parameters]
        return None if None in sizes else math.prod(s for s in sizes if s is not None)

    def grid(self) -> Grid:
        """Every combination, the last parameter changing fastest.

        Raises:
            ConfigError: A parameter is continuous.
        """
        endless = [p for p in self.parameters if p.domain.size is None]
        if endless:
            names = "; ".join(f"{p.name} is {p.domain.expression()}" for p in endless)
            raise ConfigError(f"grid needs a range or a choice: {names}")
        return Grid(self.parameters)

    def describe(self) -> list[tuple[str, str]]:
        """(name, distribution) of each parameter, for a printed table."""
        return [(p.name, p.domain.expression()) for p in self.parameters]

    def to_json(self) -> dict[str, Any]:
        """Plain data, in Hydra's grammar; `from_json` gives back an equal space."""
        return {
            "parameters": [{"key": p.key, "values": p.domain.expression()} for p in self.parameters]
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Space:
        """The space that `to_json` wrote.

        Raises:
            ConfigError: An entry cannot be read.
        """
        return cls(tuple(_parameter(f"{p['key']}={p['values']}") for p in data["parameters"]))

    def _check_names(self, values: Mapping[str, Any]) -> None:
        names = [p.name for p in self.parameters]
        for name in values:
            if name not in names:
                raise ConfigError(f"{name} is not in the search space{did_you_mean(name, names)}")
        missing = [name for name in names if name not in values]
        if missing:
            raise ConfigError(f"no value is given for {', '.join(missing)}")


class Grid(Sequence[dict[str, Any]]):
    """Every combination, as Optuna's values by Optuna's name; each is made when it is read."""

    def __init__(self, parameters: Sequence[Parameter]) -> None:
        self._parameters = tuple(parameters)
        self._sizes = [p.domain.size or 0 for p in self._parameters]

    def __len__(self) -> int:
        return math.prod(self._sizes)

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, index: slice) -> list[dict[str, Any]]: ...
    def __getitem__(self, index: int | slice) -> dict[str, Any] | list[dict[str, Any]]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        rest = range(len(self))[index]  # answers a negative index, refuses one beyond the end
        digits = []
        for size in reversed(self._sizes):
            rest, digit = divmod(rest, size)
            digits.append(digit)
        return {
            p.optuna_name: p.domain.from_value(p.domain.at(digit))
            for p, digit in zip(self._parameters, reversed(digits), strict=True)
        }


def parse_space(
    params: Mapping[str, Any],
    arguments: Sequence[str],
    *,
    group_options: GroupOptions | None = None,
) -> tuple[Space, list[str]]:
    """`hydra.sweeper.params` and the command line's task overrides -> (space, fixed overrides).

    The command line wins over params, and a later override over an earlier one, where the keys are
    the same but for their prefix; a key that had a `+` keeps it. Everything that is not swept is a
    fixed override, as typed, and comes before what is swept.

    Args:
        params: Override key -> value, in Hydra's grammar where it is a string.
        arguments: The command line's overrides.
        group_options: Config group -> the names of its configs; `glob(*)` needs it.

    Raises:
        ConfigError: An override cannot be read, or what it sweeps over breaks a rule.
    """
    kept: list[_Entry] = []
    for line in _params_as_overrides(params):
        kept = _add(kept, _Entry(parse_override(line), from_params=True))
    for line in arguments:
        kept = _add(kept, _Entry(parse_override(line), from_params=False))
    swept = [entry.override for entry in kept if entry.is_sweep]
    fixed = [entry.line for entry in kept if not entry.is_sweep]
    return Space(tuple(_swept(override, group_options) for override in swept)), fixed


@dataclass(frozen=True)
class _Entry:
    override: Override
    from_params: bool

    @property
    def line(self) -> str:
        assert self.override.input_line is not None
        return self.override.input_line

    @property
    def prefix(self) -> str:
        return split_key(self.override.get_key_element())[0]

    @property
    def name(self) -> str:
        return split_key(self.override.get_key_element())[1]

    @property
    def is_sweep(self) -> bool:
        return self.override.is_sweep_override()

    def replaces(self, earlier: _Entry) -> bool:
        """Whether the earlier one is dropped; `~x +x=1` and two fixed ones are left to Hydra."""
        if self.name != earlier.name:
            return False
        if self.from_params != earlier.from_params:
            return True
        return earlier.prefix != "~" and (self.is_sweep or earlier.is_sweep)


def _add(kept: Sequence[_Entry], entry: _Entry) -> list[_Entry]:
    replaced = [earlier for earlier in kept if entry.replaces(earlier)]
    prefix = max((earlier.prefix for earlier in replaced if earlier.prefix != "~"), default="")
    if prefix and not entry.prefix:
        entry = _Entry(parse_override(prefix + entry.line), from_params=entry.from_params)
    return [*(earlier for earlier in kept if earlier not in replaced), entry]


def _params_as_overrides(params: Mapping[str, Any]) -> Iterator[str]:
    for key, value in params.items():
        if isinstance(value, Mapping):
            raise ConfigError(
                f"hydra.sweeper.params.{key} is a mapping; write each key in full, such as "
                f"{key}.{next(iter(value), 'x')}: ..., or the mapping as a string"
            )
        if key.startswith("~") and value is None:
            yield key
        else:
            yield f"{key}={value if isinstance(value, str) else literal(value)}"


def _swept(override: Override, group_options: GroupOptions | None) -> Parameter:
    if override.is_hydra_override():
        raise ConfigError(f"{override.input_line}: a sweep varies the app's config, not Hydra's")
    if override.type is OverrideType.DEL:
        raise ConfigError(f"{override.input_line}: a deletion cannot be swept")
    return Parameter(key=override.get_key_element(), domain=parse_domain(override, group_options))


def _parameter(line: str) -> Parameter:
    override = parse_override(line)
    if override.is_sweep_override():
        return _swept(override, None)
    return Parameter(key=override.get_key_element(), domain=Choice((override.value(),)))


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Puts the parameter's name before a domain's message."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from error
