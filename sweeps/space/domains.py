"""What a parameter may be: a float, an integer, or one of several values.

A domain knows three forms of a value: the Python value the app sees, the value Optuna samples and
journals, and the text that Hydra's override grammar reads back as exactly the same Python value.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from typing import Any, Literal

from optuna.distributions import (
    BaseDistribution,
    CategoricalChoiceType,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from sweeps.errors import ConfigError, did_you_mean
from sweeps.space.literals import literal

__all__ = ["Choice", "Domain", "Float", "Int", "Scale", "float_range", "int_range", "literal"]

Scale = Literal["uniform", "log", "one_minus_log"]

# Beyond this a float, which is how Optuna keeps every number, no longer holds each integer.
_MAX_INT = 2**53


@dataclass(frozen=True, kw_only=True)
class Float:
    """Real numbers from `low` to `high`, both ends included, on a scale or a grid of `step`."""

    low: float
    high: float
    scale: Scale = "uniform"
    step: float | None = None

    def __post_init__(self) -> None:
        _check_bounds(self.low, self.high)
        if self.scale == "log" and self.low <= 0:
            raise ConfigError(f"log needs a low end above 0, got {self.low!r}")
        if self.scale == "one_minus_log" and self.high >= 1:
            raise ConfigError(
                f"one_minus_log needs a high end below 1, got {self.high!r}; write 0.9999, say"
            )
        if self.scale == "one_minus_log" and 1 - self.low == 1 - self.high and self.low < self.high:
            raise ConfigError(f"1 - x is the same for {self.low!r} and {self.high!r}; use log")
        if self.step is not None and (self.scale != "uniform" or not self.step > 0):
            raise ConfigError(f"a step must be above 0 and on the uniform scale, got {self.step!r}")
        if self.step is not None and self._grid[1] * 10 < self._last * self._quantum:
            raise ConfigError(f"the step {self.step!r} is too fine for a grid; use an interval")

    @property
    def size(self) -> int | None:
        """How many values there are; None for a continuum."""
        if self.step is None:
            return None
        return round((_decimal(self.high) - _decimal(self.low)) / _decimal(self.step)) + 1

    @property
    def samples(self) -> Sequence[float]:
        """A few values that stand for the rest when a config is checked."""
        return (self.low, self.high)

    def distribution(self) -> BaseDistribution:
        """What Optuna samples from; of 1 - x where `scale` is one_minus_log."""
        if self.scale == "one_minus_log":
            return FloatDistribution(1 - self.high, 1 - self.low, log=True)
        if self.step is None:
            return FloatDistribution(self.low, self.high, log=self.scale == "log")
        low, step = self._grid
        return FloatDistribution(float(low), self._optuna_at(self._last), step=float(step))

    def to_value(self, optuna_value: Any) -> float:
        """The app's number, inside the bounds to the last bit."""
        x = float(optuna_value)
        if self.step is not None:
            low, step = self._grid
            index = round((Decimal(x) - low) / step)
            return self.at(min(max(index, 0), self._last))
        if self.scale == "one_minus_log":
            if x >= 1 - self.low:
                return self.low
            return self.high if x <= 1 - self.high else 1 - x
        return min(max(x, self.low), self.high)

    def from_value(self, value: Any) -> float:
        """The inverse of `to_value`.

        Exact for every value that `to_value` gives. Under one_minus_log a value of the user's own
        below 1/2 is rounded to a multiple of 2**-53, since the journal holds 1 - x.
        """
        x = _number(value)
        if not self.low <= x <= self.high:
            raise ConfigError(f"{value!r} is not between {self.low!r} and {self.high!r}")
        if self.step is not None:
            index = round((_decimal(x) - _decimal(self.low)) / _decimal(self.step))
            if not math.isclose(self.at(index), x, rel_tol=1e-9, abs_tol=self.step * 1e-9):
                raise ConfigError(
                    f"{value!r} is not on the grid; the nearest value is {self.at(index)!r}"
                )
            return self._optuna_at(index)
        return 1 - x if self.scale == "one_minus_log" else x

    def plain(self, value: Any) -> float:
        """`value` as the type that this domain gives."""
        return _number(value)

    def expression(self) -> str:
        """The distribution in Hydra's grammar; it parses back to an equal domain."""
        if self.step is not None:
            return f"range({self.low!r}, {self._stop()!r}, {self.step!r})"
        return _tagged(self.scale, f"interval({self.low!r}, {self.high!r})")

    def at(self, index: int) -> float:
        """The grid's value number `index`."""
        assert self.step is not None
        return float(_decimal(self.low) + index * _decimal(self.step))

    def _stop(self) -> float:
        assert self.step is not None
        stop = float(_decimal(self.high) + _decimal(self.step))
        if float_range(self.low, stop, self.step) == self:
            return stop
        return float(_decimal(self.high) + _decimal(self.step) / 2)

    @property
    def _last(self) -> int:
        assert self.size is not None
        return self.size - 1

    @property
    def _grid(self) -> tuple[Decimal, Decimal]:
        # Optuna wants (high - low) to be a multiple of step in the decimals of their repr, and cuts
        # the last value off otherwise. Fifteen digits survive the way through a float, so it is
        # shown a grid rounded to those; the app's values are found again by their index.
        assert self.step is not None
        quantum = self._quantum
        return _decimal(self.low).quantize(quantum), _decimal(self.step).quantize(quantum)

    @property
    def _quantum(self) -> Decimal:
        largest = _decimal(max(abs(self.low), abs(self.high), self.step or 0.0))
        return Decimal(1).scaleb(largest.adjusted() - 14)

    def _optuna_at(self, index: int) -> float:
        low, step = self._grid
        return float(low + index * step)


@dataclass(frozen=True, kw_only=True)
class Int:
    """Integers from `low` to `high`, both ends included, `step` apart."""

    low: int
    high: int
    scale: Scale = "uniform"
    step: int = 1
    is_range: bool = field(default=False, compare=False)
    """Written as a range: a grid then takes each value."""

    def __post_init__(self) -> None:
        _check_bounds(self.low, self.high)
        if self.scale == "one_minus_log":
            raise ConfigError("one_minus_log needs real numbers; drop int()")
        if self.scale == "log" and self.low < 1:
            raise ConfigError(f"log needs a low end of at least 1, got {self.low}")
        if self.step < 1 or (self.scale != "uniform" and self.step != 1):
            raise ConfigError(
                f"a step must be at least 1 and on the uniform scale, got {self.step}"
            )
        if (self.high - self.low) % self.step:
            raise ConfigError(
                f"{self.low} to {self.high} is not a multiple of the step {self.step}"
            )
        if max(abs(self.low), abs(self.high)) > _MAX_INT:
            raise ConfigError("integers beyond 2**53 are not exact in a range; use a choice")

    @property
    def size(self) -> int | None:
        """How many values there are."""
        return (self.high - self.low) // self.step + 1

    @property
    def samples(self) -> Sequence[int]:
        """A few values that stand for the rest when a config is checked."""
        return (self.low, self.high)

    def distribution(self) -> BaseDistribution:
        """What Optuna samples from."""
        return IntDistribution(self.low, self.high, log=self.scale == "log", step=self.step)

    def to_value(self, optuna_value: Any) -> int:
        """The app's number, inside the bounds and on the grid."""
        index = round((int(optuna_value) - self.low) / self.step)
        return self.at(min(max(index, 0), (self.high - self.low) // self.step))

    def from_value(self, value: Any) -> int:
        """The inverse of `to_value`."""
        x = self.plain(value)
        if not self.low <= x <= self.high:
            raise ConfigError(f"{value!r} is not between {self.low} and {self.high}")
        if (x - self.low) % self.step:
            raise ConfigError(f"{value!r} is not on the grid {self.expression()}")
        return x

    def plain(self, value: Any) -> int:
        """`value` as the type that this domain gives."""
        x = _number(value)
        if not x.is_integer():
            raise ConfigError(f"{value!r} is not an integer")
        return int(value)

    def expression(self) -> str:
        """The distribution in Hydra's grammar; it parses back to an equal domain."""
        if self.step != 1:
            return f"range({self.low}, {self.high + self.step}, {self.step})"
        if self.is_range:
            return f"range({self.low}, {self.high + 1})"
        return f"int({_tagged(self.scale, f'interval({self.low}, {self.high})')})"

    def at(self, index: int) -> int:
        """The value number `index`, in ascending order."""
        return self.low + index * self.step


@dataclass(frozen=True, eq=False)
class Choice:
    """One of several values, of any kind that Hydra's grammar can write.

    Two choices are equal when their texts are: `1`, `1.0` and `true` are three values here, though
    they are equal in Python.
    """

    values: tuple[Any, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise ConfigError("there is nothing to choose from")
        seen: set[str] = set()
        for text in self.literals:
            if text in seen:
                raise ConfigError(f"{text} is listed twice; list each value once")
            seen.add(text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Choice) and self.literals == other.literals

    def __hash__(self) -> int:
        return hash(self.literals)

    @cached_property
    def literals(self) -> tuple[str, ...]:
        """The values as Hydra reads them."""
        return tuple(map(literal, self.values))

    @property
    def size(self) -> int | None:
        """How many values there are."""
        return len(self.values)

    @property
    def samples(self) -> Sequence[Any]:
        """The values that a config is checked with: all of them."""
        return self.values

    def distribution(self) -> BaseDistribution:
        """What Optuna samples from."""
        return CategoricalDistribution(self._optuna_values)

    def to_value(self, optuna_value: Any) -> Any:
        """The app's value, of its own type."""
        return self.values[self._optuna_values.index(optuna_value)]

    def from_value(self, value: Any) -> CategoricalChoiceType:
        """The inverse of `to_value`; a value equal in Python stands for an exact one."""
        return self._optuna_values[self._index(value)]

    def plain(self, value: Any) -> Any:
        """`value` as the type that this domain gives."""
        return self.values[self._index(value)]

    def expression(self) -> str:
        """The choice in Hydra's grammar; it parses back to an equal domain."""
        # Hydra's choice() refuses null, the simple form takes it.
        texts = ", ".join(self.literals)
        return texts if None in self.values else f"choice({texts})"

    def at(self, index: int) -> Any:
        """The value number `index`."""
        return self.values[index]

    @cached_property
    def _optuna_values(self) -> tuple[CategoricalChoiceType, ...]:
        # Optuna finds a choice by Python's equality and writes it as JSON: where values are equal
        # though different (1, 1.0, true), and for what JSON lacks, it is given their texts.
        shown = tuple(
            value if _is_native(value) else text
            for value, text in zip(self.values, self.literals, strict=True)
        )
        return shown if len(set(shown)) == len(shown) else self.literals

    def _index(self, value: Any) -> int:
        text = literal(value)
        if text in self.literals:
            return self.literals.index(text)
        equal = [i for i, known in enumerate(self.values) if known == value]
        if len(equal) == 1:
            return equal[0]
        raise ConfigError(
            f"{text} is none of {', '.join(self.literals)}{did_you_mean(text, self.literals)}"
        )


Domain = Float | Int | Choice


def float_range(start: float, stop: float, step: float) -> Float:
    """The floats `start + k * step` before `stop`, in decimal arithmetic: 0.1 * 3 is 0.3.

    A descending range is turned round. Binary arithmetic, such as that of Hydra's own iterator,
    may let the stop in: `range(0, 2.1, 0.7)` would hold 2.0999999999999996.

    Raises:
        ConfigError: A number is not finite, the step is 0, or no value lies in the range.
    """
    if not all(map(math.isfinite, (start, stop, step))):
        raise ConfigError("a range needs finite numbers")
    first, end, by = _decimal(start), _decimal(stop), _decimal(step)
    if by == 0:
        raise ConfigError("the step of a range may not be 0")
    count = math.ceil((end - first) / by)
    if count < 1:
        raise ConfigError("the range is empty: the stop is excluded")
    ends = sorted((float(first) + 0.0, float(first + (count - 1) * by) + 0.0))  # no -0.0
    return Float(low=ends[0], high=ends[1], step=float(abs(by)))


def int_range(start: int, stop: int, step: int) -> Int:
    """The integers of Python's `range`, in ascending order.

    Raises:
        ConfigError: The step is 0, or no value lies in the range.
    """
    if step == 0:
        raise ConfigError("the step of a range may not be 0")
    values = range(start, stop, step)
    if not values:
        raise ConfigError("the range is empty: the stop is excluded")
    low, high = sorted((values[0], values[-1]))
    return Int(low=low, high=high, step=abs(step), is_range=True)


def _check_bounds(low: float, high: float) -> None:
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ConfigError(f"both ends must be finite, got {low!r} and {high!r}")
    if low > high:
        raise ConfigError(
            f"the low end {low!r} is above the high end {high!r}; write ({high!r}, {low!r})"
        )


def _number(value: Any) -> float:
    if isinstance(value, bool | str) or not hasattr(value, "__float__"):
        raise ConfigError(f"{value!r} is not a number")
    return float(value)


def _decimal(number: float) -> Decimal:
    return Decimal(repr(number))


def _tagged(scale: Scale, expression: str) -> str:
    return expression if scale == "uniform" else f"tag({scale}, {expression})"


def _is_native(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, bool | int | str)
