"""The search space: Hydra's override strings, as parameters that Optuna can sample.

    space, fixed = parse_space({"lr": "tag(log, interval(1e-4, 1))"}, ["model=mlp,convnet"])

Pure: no ray, no torch, no files. A parameter may exist only where others have certain values (see
`sweeps.space.conditions`); a configuration then holds the parameters that exist, and no others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from hydra.core.override_parser.types import Override, OverrideType
from optuna.distributions import BaseDistribution

from sweeps.errors import ConfigError, did_you_mean
from sweeps.space.conditions import Condition, Needs, needs, parents_first, with_conditions
from sweeps.space.constraints import Constraint, parse_constraint
from sweeps.space.domains import Choice, Domain, Float, Int
from sweeps.space.grammar import GroupOptions, parse_domain, parse_override, split_key
from sweeps.space.grid import Grid, count, grid_axes
from sweeps.space.literals import literal

__all__ = ["Choice", "Domain", "Float", "Grid", "Int", "Parameter", "Space", "parse_space"]


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One swept key of the app's config and what it may be."""

    key: str
    """The override's key as typed: `optimizer.lr`, `+x`, `model`, `db@source`."""
    domain: Domain
    when: tuple[Condition, ...] = ()
    """It exists only where all of these hold; always where there are none."""

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

    def exists(self, values: Mapping[str, Any]) -> bool:
        """Whether it exists where its parents have these values."""
        return all(condition.holds(values) for condition in self.when)

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

    def plain(self, value: Any) -> Any:
        """`value` as the type that the app sees."""
        with _naming(self.name):
            return self.domain.plain(value)

    def override(self, value: Any) -> str:
        """The override that sets the value; Hydra parses it back exactly."""
        return f"{self.key}={literal(self.plain(value))}"

    def describe(self) -> str:
        """What it may be, and when it exists."""
        when = f" when {', '.join(map(str, self.when))}" if self.when else ""
        return self.domain.expression() + when


@dataclass(frozen=True)
class Space:
    """The swept parameters, in order, and what must hold between them."""

    parameters: tuple[Parameter, ...]
    constraints: tuple[Constraint, ...] = ()

    def __post_init__(self) -> None:
        names = [parameter.name for parameter in self.parameters]
        if len(set(names)) < len(names):
            raise ConfigError(f"a parameter is there twice: {', '.join(names)}")
        needs(parents_first(self.parameters))  # refuses conditions that cannot be

    @cached_property
    def parents_first(self) -> tuple[Parameter, ...]:
        """The parameters, each after those that decide whether it exists."""
        return parents_first(self.parameters)

    @cached_property
    def _needs(self) -> dict[str, Needs]:
        return needs(self.parents_first)

    @property
    def is_conditional(self) -> bool:
        """Whether some parameter does not always exist."""
        return any(p.when for p in self.parameters)

    def needs(self, parameter: Parameter) -> Needs:
        """What each ancestor must be for the parameter to exist."""
        return self._needs[parameter.name]

    def distributions(self) -> dict[str, BaseDistribution]:
        """What Optuna samples from, by Optuna's name: of every parameter."""
        return {p.optuna_name: p.distribution() for p in self.parameters}

    def fill(self, choose: Callable[[Parameter], Any]) -> dict[str, Any]:
        """The Python values by name: one from `choose` for each parameter that exists.

        Parents are asked for first; what comes back is in the space's order.
        """
        chosen: dict[str, Any] = {}
        for parameter in self.parents_first:
            if parameter.exists(chosen):
                chosen[parameter.name] = choose(parameter)
        return {p.name: chosen[p.name] for p in self.parameters if p.name in chosen}

    def draw(self, suggest: Callable[[Parameter], Any]) -> dict[str, Any]:
        """Optuna's values by Optuna's name: one from `suggest` for each parameter that exists.

        A parameter's parents come before it.
        """
        drawn: dict[str, Any] = {}

        def choose(parameter: Parameter) -> Any:
            drawn[parameter.optuna_name] = suggest(parameter)
            return parameter.to_value(drawn[parameter.optuna_name])

        self.fill(choose)
        return drawn

    def values(self, optuna_params: Mapping[str, Any]) -> dict[str, Any]:
        """The Python values by name, from what an Optuna trial holds; of those that exist."""
        return self.fill(lambda p: p.to_value(optuna_params[p.optuna_name]))

    def optuna_params(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The inverse of `values`, for configurations that come from elsewhere.

        Raises:
            ConfigError: A parameter is missing, unknown or does not exist there, or a value is not
                in its domain.
        """
        return {p.optuna_name: p.from_value(values[p.name]) for p in self._existing(values)}

    def shared(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Of `values` those of a parameter that this space has, and whose value it may take."""
        shared = {}
        for parameter in self.parameters:
            if parameter.name in values:
                with suppress(ConfigError):
                    parameter.from_value(values[parameter.name])
                    shared[parameter.name] = values[parameter.name]
        return shared

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Whether `values` is a configuration of this space."""
        try:
            self.optuna_params(values)
        except ConfigError:
            return False
        return not self.violated(values)

    def overrides(self, values: Mapping[str, Any]) -> list[str]:
        """The overrides that set `values`, in the space's order."""
        return [p.override(values[p.name]) for p in self._existing(values)]

    def violated(self, values: Mapping[str, Any]) -> list[Constraint]:
        """The constraints that a configuration breaks."""
        return [constraint for constraint in self.constraints if not constraint.holds(values)]

    def size(self) -> int | None:
        """The number of combinations that exist and meet the constraints.

        None where a parameter is continuous, and where they are too many to decide on.
        """
        return count(self)

    def grid(self, levels: Any = None) -> Grid:
        """Every combination, the last parameter changing fastest.

        Args:
            levels: Into how many values an interval is cut; see `grid_axes`.

        Raises:
            ConfigError: A parameter is continuous and has no levels, or nothing meets the
                constraints.
        """
        return Grid(self, grid_axes(self, levels))

    def describe(self) -> list[tuple[str, str]]:
        """(name, distribution and when it exists) of each parameter, for a printed table."""
        return [(p.name, p.describe()) for p in self.parameters]

    def to_json(self) -> dict[str, Any]:
        """Plain data, in Hydra's grammar; `from_json` gives back an equal space."""
        data: dict[str, Any] = {"parameters": [_to_json(p) for p in self.parameters]}
        if self.constraints:
            data["constraints"] = [constraint.text for constraint in self.constraints]
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Space:
        """The space that `to_json` wrote.

        Raises:
            ConfigError: An entry cannot be read.
        """
        parameters = tuple(map(_from_json, data["parameters"]))
        return cls(parameters, _constraints(data.get("constraints", ()), parameters))

    def _existing(self, values: Mapping[str, Any]) -> list[Parameter]:
        """The parameters of a configuration, which must be those that exist in it."""
        names = [p.name for p in self.parameters]
        for name in values:
            if name not in names:
                raise ConfigError(f"{name} is not in the search space{did_you_mean(name, names)}")

        def given(parameter: Parameter) -> Any:
            if parameter.name not in values:
                raise ConfigError(f"no value is given for {parameter.name}")
            return parameter.plain(values[parameter.name])

        there = self.fill(given)
        for parameter in self.parameters:
            if parameter.name in values and parameter.name not in there:
                raise ConfigError(
                    f"{parameter.name} does not exist there: it needs "
                    f"{', '.join(map(str, parameter.when))}"
                )
        return [p for p in self.parameters if p.name in there]


def parse_space(
    params: Mapping[str, Any],
    arguments: Sequence[str],
    *,
    group_options: GroupOptions | None = None,
    when: Mapping[str, Any] | None = None,
    constraints: Sequence[str] = (),
) -> tuple[Space, list[str]]:
    """`hydra.sweeper.params` and the command line's task overrides -> (space, fixed overrides).

    The command line wins over params, and a later override over an earlier one, where the keys are
    the same but for their prefix; a key that had a `+` keeps it. Everything that is not swept is a
    fixed override, as typed, and comes before what is swept.

    Args:
        params: Override key -> value, in Hydra's grammar where it is a string.
        arguments: The command line's overrides.
        group_options: Config group -> the names of its configs; `glob(*)` needs it.
        when: `hydra.sweeper.when`: parameter -> other parameter -> value or values.
        constraints: `hydra.sweeper.constraints`.

    Raises:
        ConfigError: An override, condition or constraint cannot be read or breaks a rule.
    """
    kept: list[_Entry] = []
    for line in _params_as_overrides(params):
        kept = _add(kept, _Entry(parse_override(line), from_params=True))
    for line in arguments:
        kept = _add(kept, _Entry(parse_override(line), from_params=False))
    swept = [entry.override for entry in kept if entry.is_sweep]
    fixed = [entry.line for entry in kept if not entry.is_sweep]
    parameters = tuple(_swept(override, group_options) for override in swept)
    parameters = with_conditions(parameters, {} if when is None else when)
    return Space(parameters, _constraints(constraints, parameters)), fixed


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


def _constraints(texts: Iterable[str], parameters: Sequence[Parameter]) -> tuple[Constraint, ...]:
    return tuple(parse_constraint(text, parameters) for text in texts)


def _to_json(parameter: Parameter) -> dict[str, Any]:
    data: dict[str, Any] = {"key": parameter.key, "values": parameter.domain.expression()}
    if parameter.when:
        data["when"] = {c.parent: c.values.expression() for c in parameter.when}
    return data


def _from_json(data: Mapping[str, Any]) -> Parameter:
    return Parameter(
        key=data["key"],
        domain=_domain(data["key"], data["values"]),
        when=tuple(_condition(parent, text) for parent, text in data.get("when", {}).items()),
    )


def _condition(parent: str, text: str) -> Condition:
    values = _domain(parent, text)
    if not isinstance(values, Choice):
        raise ConfigError(f"{parent}={text}: a condition holds for single values")
    return Condition(parent, values)


def _domain(key: str, text: str) -> Domain:
    """What `Domain.expression` wrote."""
    override = parse_override(f"{key}={text}")
    if override.is_sweep_override():
        return _swept(override, None).domain
    return Choice((override.value(),))


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Puts the parameter's name before a domain's message."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from error
