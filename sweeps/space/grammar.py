"""Hydra's override grammar, read by Hydra's own parser: one override string -> one domain."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import (
    Glob,
    IntervalSweep,
    Override,
    QuotedString,
    RangeSweep,
    Sweep,
)
from hydra.errors import HydraException

from sweeps.errors import ConfigError, did_you_mean
from sweeps.space.domains import Choice, Domain, Float, Int, Scale, float_range, int_range

GroupOptions = Callable[[str], Sequence[str]]
"""Config group -> the names of its configs."""

_FUNCTIONS = ["bool", "choice", "float", "glob", "int", "interval", "range", "sort", "str", "tag"]
_SCALES: dict[str, Scale] = {"log": "log", "one_minus_log": "one_minus_log"}


def split_key(key: str) -> tuple[str, str]:
    """`"+model@pkg"` -> `("+", "model@pkg")`: an override's prefix and the rest of its key."""
    name = key.lstrip("+~")
    return key[: len(key) - len(name)], name


def parse_override(line: str) -> Override:
    """One override as Hydra parses it.

    Raises:
        ConfigError: Hydra cannot read it, or a sweep hides inside a list or mapping.
    """
    try:
        (override,) = OverridesParser.create().parse_overrides([line])
    except HydraException as error:
        raise ConfigError(f"{line}: {_reason(error)}") from error
    if not override.is_sweep_override() and _holds_sweep(override.value()):
        raise ConfigError(f"{line}: a sweep cannot stand inside a list or a mapping")
    return override


def parse_domain(override: Override, group_options: GroupOptions | None = None) -> Domain:
    """The domain of a sweep override.

    Raises:
        ConfigError: The bounds, tags or values break a rule; the message begins with the override.
    """
    try:
        value: Any = override.value()
        if isinstance(value, Glob):
            return _glob(override.key_or_group, value, group_options)
        assert isinstance(value, Sweep)
        if getattr(value, "shuffle", False):
            raise ConfigError("the searcher decides the order; drop shuffle(...)")
        scale = _scale(value)
        if isinstance(value, IntervalSweep):
            return _interval(value, scale, override.get_value_string())
        if value.tags:
            raise ConfigError(f"{scale} is for an interval, such as tag({scale}, interval(1, 10))")
        if isinstance(value, RangeSweep):
            return _range(value)
        return Choice(tuple(map(plain, override.sweep_iterator())))
    except ConfigError as error:
        raise ConfigError(f"{override.input_line}: {error}") from error


def _interval(sweep: IntervalSweep, scale: Scale, text: str) -> Domain:
    low, high = sweep.start, sweep.end
    assert low is not None
    assert high is not None
    domain: Domain
    if isinstance(low, int) and isinstance(high, int):
        low, high = _integers_inside(text, low, high)
        domain = Int(low=low, high=high, scale=scale)
    else:
        domain = Float(low=low, high=high, scale=scale)
    return Choice((low,)) if low == high else domain


def _integers_inside(text: str, low: int, high: int) -> tuple[int, int]:
    # Hydra's int() cuts the bounds off towards 0, and then int(interval(0.2, 0.8)) would be 0.
    inner = re.search(r"interval\s*\([^()]*\)", text)
    if inner is None:
        return low, high
    sweep = parse_override(f"_={inner.group()}").value()
    assert isinstance(sweep, IntervalSweep)
    assert sweep.start is not None
    assert sweep.end is not None
    low, high = math.ceil(sweep.start), math.floor(sweep.end)
    if sweep.start <= sweep.end and low > high:
        raise ConfigError(f"no integer lies between {sweep.start!r} and {sweep.end!r}")
    return low, high


def _range(sweep: RangeSweep) -> Domain:
    start, stop, step = sweep.start, sweep.stop, sweep.step
    assert start is not None
    assert stop is not None
    domain: Domain
    if isinstance(start, int) and isinstance(stop, int) and isinstance(step, int):
        domain = int_range(start, stop, step)
    else:
        domain = float_range(start, stop, step)
    return Choice((domain.low,)) if domain.size == 1 else domain


def _glob(group: str, glob: Glob, group_options: GroupOptions | None) -> Choice:
    if group_options is None:
        raise ConfigError("glob() needs the app's config groups; list the names instead")
    options = group_options(group)
    names = glob.filter(list(options))
    if not names:
        known = f"its options are {', '.join(options)}" if options else "it is no config group"
        raise ConfigError(f"the pattern matches nothing in {group}; {known}")
    return Choice(tuple(names))


def _scale(sweep: Sweep) -> Scale:
    tags = sorted(sweep.tags)
    for tag in tags:
        if tag == "int":
            raise ConfigError("int is a function, not a tag; write int(interval(1, 8))")
        if tag not in _SCALES:
            raise ConfigError(
                f"the tag {tag!r} is unknown; the tags are {', '.join(_SCALES)}"
                f"{did_you_mean(tag, _SCALES)}"
            )
    if len(tags) > 1:
        raise ConfigError(f"{' and '.join(tags)} exclude each other")
    return _SCALES[tags[0]] if tags else "uniform"


def plain(element: Any) -> Any:
    """A value of Hydra's parser as the app sees it: quoted strings as strings."""
    if isinstance(element, Sweep | Glob):
        raise ConfigError("one sweep cannot stand inside another; write one choice of values")
    if isinstance(element, QuotedString):
        return element.text
    if isinstance(element, list):
        return [plain(item) for item in element]
    if isinstance(element, dict):
        return {plain(key): plain(item) for key, item in element.items()}
    return element


def _holds_sweep(value: Any) -> bool:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return any(map(_holds_sweep, value))
    return isinstance(value, Sweep | Glob)


def _reason(error: HydraException) -> str:
    text = str(error)
    unknown = re.search(r"Unknown function '(\w+)'", text)
    if unknown:
        name = unknown.group(1)
        return f"there is no function {name}(){did_you_mean(name, _FUNCTIONS)}"
    if re.search(r"while evaluating '(interval|range)\(", text):
        return "interval and range need numbers, such as interval(1e-4, 1) or range(1, 10, 2)"
    if re.search(r"while evaluating 'choice\(.*NoneType", text):
        return "Hydra's choice() takes no null; write the values alone: null,1"
    return f"Hydra cannot read it: {one_line(text.splitlines())}"


def one_line(lines: Iterable[str]) -> str:
    """Hydra's or OmegaConf's message on one line, without their frames and links."""
    frame = ("Error parsing override", "See http", "full_key:", "object_type=", "reference_type=")
    kept = (line.strip() for line in lines)
    return " ".join(line for line in kept if line and not line.startswith(frame))
