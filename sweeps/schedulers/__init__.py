"""Whether to go on: schedulers by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sweeps.schedulers.asha import Asha
from sweeps.schedulers.asha_stop import AshaStop
from sweeps.schedulers.base import (
    Done,
    Exploit,
    Next,
    Observation,
    Promote,
    Scheduler,
    Start,
    Wait,
)
from sweeps.schedulers.hyperband import Hyperband
from sweeps.schedulers.learning_curve import LearningCurve
from sweeps.schedulers.median import Median
from sweeps.schedulers.none import Fifo
from sweeps.schedulers.pb2 import Pb2
from sweeps.schedulers.pbt import Pbt
from sweeps.schedulers.successive_halving import SuccessiveHalving
from sweeps.space.choices import make
from sweeps.space.space import Space

__all__ = [
    "SCHEDULERS",
    "Asha",
    "AshaStop",
    "Done",
    "Exploit",
    "Fifo",
    "Hyperband",
    "LearningCurve",
    "Median",
    "Next",
    "Observation",
    "Pb2",
    "Pbt",
    "Promote",
    "Scheduler",
    "Start",
    "SuccessiveHalving",
    "Wait",
    "make_scheduler",
]

SCHEDULERS: dict[str, Callable[..., Scheduler]] = {
    "asha": Asha,
    "asha_stop": AshaStop,
    "hyperband": Hyperband,
    "learning_curve": LearningCurve,
    "median": Median,
    "none": Fifo,
    "pb2": Pb2,
    "pbt": Pbt,
    "successive_halving": SuccessiveHalving,
}


def make_scheduler(name: str, *, space: Space, seed: int, **options: Any) -> Scheduler:
    """The scheduler called `name` with its own options.

    Args:
        name: One of `SCHEDULERS`.
        space: What is swept; for schedulers that change parameters as they go.
        seed: The sweep's; for schedulers that draw at random.
        options: The user's.

    Raises:
        ConfigError: An unknown name or option, or a value out of bounds; the choices are listed.
    """
    return make(
        SCHEDULERS,
        name,
        key="hydra.sweeper.scheduler",
        given={"space": space, "seed": seed},
        options=options,
    )
