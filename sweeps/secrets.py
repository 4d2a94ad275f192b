"""Values that nobody should read in what is passed on."""

from __future__ import annotations

import re

MASK = "***"
_SECRET = re.compile(
    r"(?i)(api|access|private)_?key|secret|passw(or)?d|credential"
    r"|(?<!pad_)(?<!bos_)(?<!eos_)(?<!unk_)(?<!sep_)(?<!cls_)(?<!mask_)token$"
)
"""A `token` ends the name, and is none of a tokenizer's: `max_tokens` and `pad_token` are none."""

_REFERENCE = re.compile(r"""['"]?\$\{[^{}]*\}['"]?""")
_IN_A_MAPPING = re.compile(
    r"""([\w.-]+)(["']?\s*:\s*)((?:\$\{[^{}]*\}|"[^"]*"|'[^']*'|[^,{}\[\]"'])+)"""
)
_IN_A_URL = re.compile(r"(://[^/@:\s]*:)(?!\$\{)[^/@\s]+@")


def is_secret(key: str) -> bool:
    """Whether the key's name says that its value is a secret."""
    return bool(_SECRET.search(key))


def masked(override: str) -> str:
    """An override such as `api_key=abc`, its value masked where the key says that it is a secret.

    So are values within mappings, and a URL's password. A reference such as `${oc.env:KEY}` tells
    nothing and stays.
    """
    key, equals, value = override.partition("=")
    if not equals or _REFERENCE.fullmatch(value):
        return override
    if is_secret(key):
        return f"{key}={MASK}"
    value = _IN_A_URL.sub(rf"\1{MASK}@", value)
    return f"{key}={_IN_A_MAPPING.sub(_mask_item, value)}"


def is_masked(override: str) -> bool:
    """Whether something in it was masked."""
    return MASK in override.partition("=")[2]


def _mask_item(found: re.Match[str]) -> str:
    key, colon, value = found.groups()
    hidden = is_secret(key) and not _REFERENCE.fullmatch(value.strip())
    return f"{key}{colon}{MASK}" if hidden else found[0]
