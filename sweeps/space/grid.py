"""Every combination of a space, made when it is read.

Conditions and constraints are settled first: the parameters that they name are tried in every
combination, the others multiply. So a space of a million combinations costs nothing as long as what
decides over them has few.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import accumulate, islice
from typing import TYPE_CHECKING, Any, overload

from sweeps.errors import ConfigError, did_you_mean
from sweeps.space.domains import Choice, Domain, Float, Int

if TYPE_CHECKING:
    from sweeps.space.space import Parameter, Space

MOST_DECIDING = 200_000
"""Combinations of the parameters that conditions and constraints name, at the most."""

_LEVELS = "hydra.sweeper.searcher.levels"

Axes = Mapping[str, Domain]
"""By parameter name the finite domain of what a grid tries."""


class Grid(Sequence[dict[str, Any]]):
    """Every combination that exists and meets the constraints, as Optuna's values by its name.

    The last parameter changes fastest; those that conditions and constraints name change slowest.
    `total` is its length, which Python's `len` refuses beyond 2**63.

    Raises:
        ConfigError: Too many combinations to decide on, or none that meets the constraints.
    """

    def __init__(self, space: Space, axes: Axes) -> None:
        self._space = space
        self._axes = axes
        self._deciding = _deciding(space)
        refused: Counter[str] = Counter()
        heads = _heads(space, axes, refused)
        if heads is None:
            raise ConfigError(
                f"a grid decides on at most {MOST_DECIDING} combinations of what conditions and "
                f"constraints name, and {', '.join(sorted(self._deciding))} have more; give them "
                f"fewer values, or use another searcher"
            )
        if not heads:
            ((text, count),) = refused.most_common(1)
            raise ConfigError(
                f"hydra.sweeper.constraints: no combination of the grid meets them; {text!r} "
                f"refuses {count}"
            )
        self._heads = heads
        self._ends = list(accumulate(_count(self._free(head), axes) for head in heads))
        self.total = self._ends[-1]

    def __len__(self) -> int:
        return self.total

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, index: slice) -> list[dict[str, Any]]: ...
    def __getitem__(self, index: int | slice) -> dict[str, Any] | list[dict[str, Any]]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self.total))]
        place = index + self.total if index < 0 else index
        if not 0 <= place < self.total:
            raise IndexError(f"combination {index} of {self.total}")
        block = bisect_right(self._ends, place)
        head = self._heads[block]
        rest = place - (self._ends[block - 1] if block else 0)
        values = dict(head)
        for parameter in reversed(self._free(head)):
            axis = self._axes[parameter.name]
            rest, digit = divmod(rest, axis.size or 1)
            values[parameter.name] = axis.at(digit)
        return self._space.optuna_params(values)

    def _free(self, head: Mapping[str, Any]) -> list[Parameter]:
        return [p for p in _free(self._space, self._deciding) if p.exists(head)]


def count(space: Space) -> int | None:
    """How many combinations there are; None where they are endless or too many to decide on."""
    if any(p.domain.size is None for p in space.parameters):
        return None
    axes = {p.name: p.domain for p in space.parameters}
    heads = _heads(space, axes, Counter())
    if heads is None:
        return None
    free = _free(space, _deciding(space))
    return sum(_count([p for p in free if p.exists(head)], axes) for head in heads)


def grid_axes(space: Space, levels: Any = None) -> dict[str, Domain]:
    """What a grid tries of each parameter.

    Args:
        space: The space.
        levels: Into how many values an interval is cut, both ends among them, equally far apart on
            its own scale; integers are rounded. A number for every interval, or a mapping by name;
            an integer interval without it keeps each value. A range or a choice has its own.

    Raises:
        ConfigError: An interval has no levels, or they break a rule.
    """
    wanted = _levels(space, levels)
    axes = {
        p.name: _cut(p, wanted[p.name]) if p.name in wanted else p.domain for p in space.parameters
    }
    endless = [p for p in space.parameters if axes[p.name].size is None]
    if endless:
        names = "; ".join(f"{p.name} is {p.domain.expression()}" for p in endless)
        raise ConfigError(
            f"grid needs a range or a choice: {names}; or say into how many values an interval is "
            f"cut with {_LEVELS}=5, or ={{{endless[0].name}: 5}}"
        )
    return axes


def _levels(space: Space, levels: Any) -> dict[str, int]:
    """By name, for the intervals that are cut."""
    by_name = {p.name: p for p in space.parameters}
    intervals = [name for name, p in by_name.items() if _is_interval(p.domain)]
    if levels is None:
        return {}
    if not isinstance(levels, Mapping):
        _check_levels(_LEVELS, levels)
        return dict.fromkeys(intervals, levels)
    for name, number in levels.items():
        if name not in by_name:
            raise ConfigError(f"{_LEVELS}: {name} is not swept{did_you_mean(name, by_name)}")
        if name not in intervals:
            domain = by_name[name].domain.expression()
            raise ConfigError(f"{_LEVELS}: {name} is {domain}, which a grid takes whole")
        _check_levels(f"{_LEVELS}.{name}", number)
    return dict(levels)


def _check_levels(key: str, number: Any) -> None:
    if isinstance(number, bool) or not isinstance(number, int) or number < 2:
        raise ConfigError(
            f"{key} is {number!r}; it must be a number of values, 2 or more, or a mapping of "
            f"parameters to such numbers"
        )


def _is_interval(domain: Domain) -> bool:
    match domain:
        case Float():
            return domain.step is None
        case Int():
            return domain.step == 1 and not domain.is_range
        case Choice():
            return False


def _cut(parameter: Parameter, number: int) -> Domain:
    """The interval's levels as a choice, each as the app would see it."""
    domain = parameter.domain
    assert isinstance(domain, Float | Int)
    if domain.size is not None and domain.size <= number:
        return domain
    levels = (_level(domain, Decimal(i) / (number - 1)) for i in range(1, number - 1))
    exact = (parameter.to_value(parameter.from_value(v)) for v in levels)
    return Choice(tuple(dict.fromkeys([domain.low, *exact, domain.high])))


def _level(domain: Float | Int, share: Decimal) -> float | int:
    """The value at a share of the way; in decimals, so that 0.1, 0.01, 0.001 come out as such."""
    low, high = Decimal(repr(domain.low)), Decimal(repr(domain.high))
    match domain.scale:
        case "uniform":
            x = low + share * (high - low)
        case "log":
            x = low * (share * (high / low).ln()).exp()
        case "one_minus_log":
            x = 1 - (1 - low) * (share * ((1 - high) / (1 - low)).ln()).exp()
    level = round(x) if isinstance(domain, Int) else float(x)
    return min(max(level, domain.low), domain.high)


def _deciding(space: Space) -> set[str]:
    """The parameters that conditions and constraints name, and those that these wait for."""
    named = {name for constraint in space.constraints for name in constraint.names}
    for parameter in space.parameters:
        if parameter.when or parameter.name in named:
            named.update(space.needs(parameter))
    return named


def _free(space: Space, deciding: set[str]) -> list[Parameter]:
    return [p for p in space.parameters if p.name not in deciding]


def _count(parameters: Sequence[Parameter], axes: Axes) -> int:
    return math.prod(axes[p.name].size or 1 for p in parameters)


def _heads(space: Space, axes: Axes, refused: Counter[str]) -> list[Mapping[str, Any]] | None:
    """The combinations of the deciding parameters that meet the constraints; None if too many."""
    deciding = _deciding(space)
    ordered = [p for p in space.parents_first if p.name in deciding]

    def combinations(place: int, values: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if place == len(ordered):
            yield values
        elif not ordered[place].exists(values):
            yield from combinations(place + 1, values)
        else:
            axis = axes[ordered[place].name]
            for i in range(axis.size or 1):
                yield from combinations(place + 1, {**values, ordered[place].name: axis.at(i)})

    kept: list[Mapping[str, Any]] = []
    for number, head in enumerate(islice(combinations(0, {}), MOST_DECIDING + 1)):
        if number == MOST_DECIDING:
            return None
        violated = space.violated(head)
        refused.update(constraint.text for constraint in violated)
        if not violated:
            kept.append(head)
    return kept
