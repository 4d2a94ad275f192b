"""What goes wrong: a user's mistakes, and what a cluster refuses."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ClusterError(Exception):
    """A cluster refused, or is not there. The message says what, and what to do."""


class ConfigError(ValueError):
    """A user's mistake in a config or on the command line.

    The message says key, value received, rule and nearest choices. Nothing was started or written;
    correct the value and run again.
    """


def nearest(name: str, known: Iterable[str]) -> list[str]:
    """The up to three known names that look most like `name`, best first.

    A dotted name that ends in `name` comes before a look-alike, as does one of which it is a first
    part: `lr` means `optimizer.lr`, and `grace` means `grace_period`.
    """
    names = list(known)
    parts = [n for n in names if n.endswith(f".{name}") or n.startswith(f"{name}_")]
    alike = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    return list(dict.fromkeys(sorted(parts, key=len) + alike))[:3]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`"; did you mean a or b?"` for the nearest names, or nothing."""
    close = nearest(name, known)
    return f"; did you mean {' or '.join(close)}?" if close else ""
