"""Python values as text of Hydra's override grammar, from which Hydra reads the same value."""

from __future__ import annotations

import re
from typing import Any

from hydra.core.override_parser.types import Quote, QuotedString

from sweeps.errors import ConfigError

# What Hydra reads as a string without quotes; reserved words aside.
_BARE_STRING = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*", re.ASCII)
_BARE_KEY = re.compile(r"[A-Za-z0-9_./$%*@?|+-]+( +[A-Za-z0-9_./$%*@?|+-]+)*", re.ASCII)
_RESERVED = {"null", "true", "false", "inf", "nan"}


def literal(value: Any) -> str:
    """The text that Hydra's override grammar reads back as exactly this value and type.

    Raises:
        ConfigError: The grammar has no form for the value.
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, float):
        return float.__repr__(value)  # NumPy's own repr is np.float64(...)
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, list | tuple):
        return f"[{','.join(map(literal, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{_mapping_key(k)}:{literal(v)}' for k, v in value.items())}}}"
    raise ConfigError(f"{value!r} is a {type(value).__name__}, which no Hydra override can hold")


def _string(text: str) -> str:
    if _BARE_STRING.fullmatch(text) and text.lower() not in _RESERVED:
        return text
    return QuotedString(text=text, quote=Quote.single).with_quotes()


def _mapping_key(key: Any) -> str:
    # Hydra's grammar takes no quotes around the keys of a mapping.
    if not isinstance(key, str):
        return literal(key)
    escaped = re.sub(r"[\\()\[\]{}:=, \t]", r"\\\g<0>", key)
    plain = re.sub(r"\\.", "x", escaped)
    if not _BARE_KEY.fullmatch(plain) or _reads_as_other_than_string(key):
        raise ConfigError(f"the mapping key {key!r} cannot be written in a Hydra override")
    return escaped


def _reads_as_other_than_string(text: str) -> bool:
    if text.lower().lstrip("+-") in _RESERVED:
        return True
    try:
        float(text)
    except ValueError:
        return False
    return True
