"""What goes wrong: a user's mistakes, and what happens at run time."""

from __future__ import annotations

from cluster.errors import ConfigError, did_you_mean, nearest

__all__ = ["ConfigError", "SweepError", "did_you_mean", "exit_code", "headline", "nearest"]


class SweepError(Exception):
    """A sweep cannot go on. The message says why; the journal stays, so mend and resume."""


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
