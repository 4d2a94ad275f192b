"""What goes wrong: a user's mistakes, and what happens at run time."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SweepError(Exception):
    """A sweep cannot go on. The message says why; the journal stays, so mend and resume."""


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


def headline(text: str | None) -> str | None:
    """What a traceback says in one line: the error itself, behind its frames.

    Some errors have further lines (`full_key: ...`), so it is not always the last. Of other text it
    is the last line that says something.
    """
    lines = [line for line in (text or "").splitlines() if line.strip()]
    frames = [i for i, line in enumerate(lines) if line.startswith('  File "')]
    behind = lines[frames[-1] + 1 :] if frames else []
    errors = [line for line in behind if not line.startswith(" ")]
    return next(iter([*errors, *(line.strip() for line in lines[-1:])]), None)


def exit_code(error: BaseException) -> int:
    """What a process ends with: 1 failed, 2 wrong usage, 130 interrupted."""
    if isinstance(error, KeyboardInterrupt):
        return 130
    return 2 if isinstance(error, ConfigError) else 1
