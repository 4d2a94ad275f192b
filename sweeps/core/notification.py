"""`hydra.sweeper.notify` as checked options: who is told what of a sweep.

notify: {webhook: '${oc.env:SWEEPS_WEBHOOK}'}
notify: {command: 'notify-send "$CAVIAR_TEXT"', events: [end, failure]}
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import urlsplit

from cluster.typed import typed
from sweeps.errors import ConfigError, did_you_mean

KEY = "hydra.sweeper.notify"
EVENTS = ("best", "end", "failure")


@dataclass(frozen=True, kw_only=True)
class Notification:
    """Who is told, and of what."""

    command: str | None = None
    """Run by the shell, with `CAVIAR_TEXT` and the like in its environment and all of it as JSON on
    its standard input."""
    webhook: str | None = field(default=None, repr=False)
    """Where the same JSON is posted to; such an address is a secret."""
    events: list[str] = field(default_factory=lambda: list(EVENTS))
    best_every_s: float = 60.0
    """A new best is told so often at most, the newest only."""


def parse_notification(given: Any) -> Notification | None:
    """Check who is to be told.

    Raises:
        ConfigError: An option that there is not, or a value that it does not take.
    """
    if given is None:
        return None
    if not isinstance(given, Mapping):
        raise ConfigError(
            f"{KEY} is a {type(given).__name__}; it must be a mapping such as "
            f"{{command: 'notify-send \"$CAVIAR_TEXT\"'}} or {{webhook: ${{oc.env:WEBHOOK}}}}"
        )
    defaults = {**asdict(Notification())}
    options = typed({**defaults, **given}, Notification, key=KEY)
    _check_events(options["events"])
    if not options["best_every_s"] >= 0:
        raise ConfigError(
            f"{KEY}.best_every_s is {options['best_every_s']}; it must be a number of seconds, "
            f"0 or more"
        )
    if options["webhook"] is not None:
        _check_address(options["webhook"])
    if not (options["command"] or "").strip() and options["webhook"] is None:
        raise ConfigError(f"{KEY} names nobody to tell: set {KEY}.command or {KEY}.webhook")
    return Notification(**options)


def _check_events(events: list[str]) -> None:
    for event in events:
        if event not in EVENTS:
            raise ConfigError(
                f"{KEY}.events holds {event!r}; choose of {', '.join(EVENTS)}"
                f"{did_you_mean(str(event), EVENTS)}"
            )


def _check_address(address: str) -> None:
    """Such an address is a secret, so that a message does not show it."""
    try:
        parts = urlsplit(address)
        is_right = parts.scheme in ("http", "https") and bool(parts.hostname)
        is_right = is_right and parts.port != 0 and not re.search(r"[\s\x00-\x1f]", address)
    except ValueError:
        is_right = False
    if not is_right:
        raise ConfigError(f"{KEY}.webhook must be an address that begins with https:// or http://")
