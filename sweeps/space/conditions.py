"""When a swept parameter exists: `hydra.sweeper.when`.

    when: {model.channels: {model: convnet}, model.kernel: {model: [convnet, resnet]}}

A parameter exists only where each parameter it names, its parents, exists and has the value, or one
of the values. So what a parameter needs of all its ancestors is, for each of them, one set of
values; `needs` says which.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sweeps.errors import ConfigError, did_you_mean
from sweeps.space.domains import Choice
from sweeps.space.literals import literal

if TYPE_CHECKING:
    from sweeps.space.space import Parameter

Needs = Mapping[str, Sequence[Any]]
"""Parameter name -> the values that it may have, not empty."""


@dataclass(frozen=True)
class Condition:
    """What a parent must be."""

    parent: str
    """Its name, without prefix."""
    values: Choice

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Whether the parent exists and has one of the values."""
        return self.parent in values and literal(values[self.parent]) in self.values.literals

    def __str__(self) -> str:
        return f"{self.parent}={' or '.join(self.values.literals)}"


def with_conditions(parameters: Sequence[Parameter], when: Any) -> tuple[Parameter, ...]:
    """The parameters with the conditions that `hydra.sweeper.when` gives them.

    Raises:
        ConfigError: A name is not swept, or a value is none that the parent can have.
    """
    if not isinstance(when, Mapping):
        raise ConfigError(
            f"hydra.sweeper.when is {when!r}; it must map a swept parameter to what others must be "
            f"for it, such as {{model.channels: {{model: convnet}}}}"
        )
    by_name = {p.name: p for p in parameters}
    for name in when:
        if name not in by_name:
            raise ConfigError(f"hydra.sweeper.when: {_not_swept(name, by_name)}")
    return tuple(
        replace(p, when=_conditions(p.name, when[p.name], by_name)) if p.name in when else p
        for p in parameters
    )


def parents_first(parameters: Iterable[Parameter]) -> tuple[Parameter, ...]:
    """The parameters in their order, but for parents that must come earlier.

    Raises:
        ConfigError: A parent is not swept, or a parameter waits for itself.
    """
    by_name = {p.name: p for p in parameters}
    placed: dict[str, Parameter] = {}

    def place(parameter: Parameter, path: tuple[str, ...]) -> None:
        if parameter.name in path:
            circle = " needs ".join([*path[path.index(parameter.name) :], parameter.name])
            raise ConfigError(f"hydra.sweeper.when goes in a circle: {circle}")
        if parameter.name not in placed:
            for parent in _parents(parameter, by_name):
                place(parent, (*path, parameter.name))
            placed[parameter.name] = parameter

    for parameter in by_name.values():
        place(parameter, ())
    return tuple(placed.values())


def needs(ordered: Iterable[Parameter]) -> dict[str, Needs]:
    """By name, what each parameter needs of its ancestors; the parents come first.

    Raises:
        ConfigError: What one needs contradicts itself, so that it would never exist.
    """
    of: dict[str, Needs] = {}
    for parameter in ordered:
        gathered: dict[str, Sequence[Any]] = {}
        for condition in parameter.when:
            own = {condition.parent: condition.values.values}
            for name, values in [*of[condition.parent].items(), *own.items()]:
                before = gathered.get(name, values)
                gathered[name] = _common(parameter.name, name, before, values)
        of[parameter.name] = gathered
    return of


def _common(child: str, ancestor: str, some: Sequence[Any], others: Sequence[Any]) -> Sequence[Any]:
    texts = set(map(literal, others))
    common = [value for value in some if literal(value) in texts]
    if not common:
        raise ConfigError(
            f"hydra.sweeper.when.{child}: it would never exist, for {ancestor} would have to be "
            f"{' or '.join(map(literal, some))}, and {' or '.join(sorted(texts))} at once"
        )
    return common


def _conditions(child: str, given: Any, by_name: Mapping[str, Parameter]) -> tuple[Condition, ...]:
    if not isinstance(given, Mapping) or not given:
        raise ConfigError(
            f"hydra.sweeper.when.{child} is {given!r}; it must map another swept parameter to its "
            f"value or values, such as {{model: convnet}}"
        )
    try:
        return tuple(_condition(child, name, values, by_name) for name, values in given.items())
    except ConfigError as error:
        raise ConfigError(f"hydra.sweeper.when.{child}: {error}") from error


def _condition(child: str, name: str, given: Any, by_name: Mapping[str, Parameter]) -> Condition:
    if name == child:
        raise ConfigError("a parameter cannot wait for itself")
    if name not in by_name:
        raise ConfigError(_not_swept(name, by_name))
    parent = by_name[name]
    if parent.domain.size is None:
        raise ConfigError(
            f"{name} is {parent.domain.expression()}, which seldom has the same value twice; a "
            f"condition needs a choice, a range or integers"
        )
    values = given if isinstance(given, list | tuple) else [given]
    return Condition(name, Choice(tuple(_exact(parent, value, given) for value in values)))


def _exact(parent: Parameter, value: Any, given: Any) -> Any:
    try:
        return parent.to_value(parent.from_value(value))
    except ConfigError as error:
        lists = isinstance(parent.domain, Choice) and any(
            isinstance(v, list) for v in parent.domain.values
        )
        if lists and isinstance(given, list):
            raise ConfigError(f"{error}; write one value that is a list as [[1, 2]]") from error
        raise


def _parents(parameter: Parameter, by_name: Mapping[str, Parameter]) -> Iterable[Parameter]:
    for condition in parameter.when:
        if condition.parent not in by_name:
            raise ConfigError(
                f"hydra.sweeper.when.{parameter.name}: {_not_swept(condition.parent, by_name)}"
            )
        yield by_name[condition.parent]


def _not_swept(name: str, known: Iterable[str]) -> str:
    return f"{name} is not swept{did_you_mean(name, known)}"
