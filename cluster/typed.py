"""Options in the types that their schema gives them, with a message of our own where they are not.

Hydra's names neither the rule nor a value that would do, and its exit code is that of a failure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from types import NoneType
from typing import Any, NoReturn, get_args, get_origin, get_type_hints

from omegaconf import BooleanNode, FloatNode, IntegerNode, StringNode
from omegaconf.errors import ValidationError

from cluster.errors import ConfigError, did_you_mean, nearest

_PLAIN = {
    bool: (BooleanNode(), "true or false"),
    float: (FloatNode(), "a number"),
    int: (IntegerNode(), "a whole number"),
    str: (StringNode(), "a text"),
}
_MISSING = "???"


def typed(options: Mapping[str, Any], schema: type, *, key: str) -> dict[str, Any]:
    """The options as the schema wants them: a text that reads as a number becomes one.

    Args:
        options: By name; all that the schema has are there.
        schema: A dataclass; what it calls `Any` is not looked at.
        key: Of the options as a whole, for the message.

    Raises:
        ConfigError: An option that the schema does not have, or a value of another type.
    """
    types = get_type_hints(schema)
    for name in options:
        if name not in types:
            known = [other for other in options if other in types and other[0] != "_"]
            near = " or ".join(f"{key}.{other}" for other in nearest(name, known))
            instead = (
                f"did you mean {near}?"
                if near
                else f"there {'are ' + ', '.join(known) if known else 'is none'}"
            )
            raise ConfigError(f"{key}.{name} is not an option; {instead}")
    return {name: _typed(value, types[name], f"{key}.{name}") for name, value in options.items()}


def _typed(value: Any, kind: Any, key: str, or_null: str = "") -> Any:
    if kind is Any or value == _MISSING:
        return value
    if NoneType in (kinds := get_args(kind)):  # Optional[...]
        return None if value is None else _typed(value, kinds[0], key, " or null")
    if get_origin(kind) is dict:
        given = {} if value is None else value
        return given if isinstance(given, dict) else _refuse(key, value, "a mapping")
    if get_origin(kind) is list:
        given = [] if value is None else value
        if not isinstance(given, list):
            mapped = isinstance(value, dict) and kinds[0] is str
            _refuse(key, value, f"a list, such as [{', '.join(value) if mapped else value}]")
        return [_typed(item, kinds[0], f"{key}[{place}]") for place, item in enumerate(given)]
    node, rule = _PLAIN[kind]
    if value is not None:
        with suppress(ValidationError):
            return node.validate_and_convert(value)
    _refuse(key, value, f"{rule}{or_null}{_near(value, kind)}")


def _refuse(key: str, value: Any, rule: str) -> NoReturn:
    raise ConfigError(f"{key} is {value!r}; it must be {rule}")


def _near(value: Any, kind: type) -> str:
    if kind is int and isinstance(value, float) and math.isfinite(value):
        return did_you_mean(str(round(value)), [str(round(value))])
    return did_you_mean(str(value).lower(), ["true", "false"]) if kind is bool else ""
