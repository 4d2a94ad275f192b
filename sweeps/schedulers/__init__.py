"""Whether to go on: schedulers by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sweeps.choices import make
from sweeps.schedulers.asha import Asha
from sweeps.schedulers.base import (
    Done,
    Next,
    Observation,
    Promote,
    Scheduler,
    Start,
    Wait,
)
from sweeps.schedulers.none import Fifo

__all__ = [
    "SCHEDULERS",
    "Asha",
    "Done",
    "Fifo",
    "Next",
    "Observation",
    "Promote",
    "Scheduler",
    "Start",
    "Wait",
    "make_scheduler",
]

SCHEDULERS: dict[str, Callable[..., Scheduler]] = {"asha": Asha, "none": Fifo}


def make_scheduler(name: str, **options: Any) -> Scheduler:
    """The scheduler called `name` with its own options.

    Raises:
        ConfigError: An unknown name or option, or a value out of bounds; the choices are listed.
    """
    return make(SCHEDULERS, name, key="hydra.sweeper.scheduler", given={}, options=options)
