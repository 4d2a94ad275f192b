"""Values that nobody should read in what is passed on."""

from __future__ import annotations

import re

MASK = "***"
_SECRET = re.compile(r"(?i)(api_?key|token|secret|passw(or)?d|credential)")


def is_secret(key: str) -> bool:
    """Whether the key's name says that its value is a secret."""
    return bool(_SECRET.search(key))


def masked(override: str) -> str:
    """An override such as `api_key=abc`, its value masked where the key says that it is a secret.

    A reference such as `${oc.env:KEY}` tells nothing and stays.
    """
    key, equals, value = override.partition("=")
    return f"{key}={MASK}" if equals and is_secret(key) and not value.startswith("${") else override
