"""What a searcher is, and the seeds of its asks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

DEFAULT_NUM_SAMPLES = 20
"""Trials of a sweep that does not say how many."""


class Searcher(Protocol):
    """Proposes configurations. A pure function of the journal's view, the seed and the number."""

    limit: int | None
    """How many configurations there are to propose; None without end."""

    def ask(self, number: int, attempt: int = 0) -> Mapping[str, Any]:
        """The configuration of trial `number`: Optuna's external values by Optuna's name.

        Args:
            number: The trial's.
            attempt: How many earlier draws for this number a constraint has refused.
        """
        ...


def seed_of(seed: int, *numbers: int) -> int:
    """The seed of one draw: of 32 bits, independent over all arguments (NumPy's SeedSequence)."""
    return int(np.random.SeedSequence([seed, *numbers]).generate_state(1)[0])


def ask_seed(seed: int, number: int, attempt: int) -> int:
    """The seed of one ask of a searcher; the first attempt's is `seed_of(seed, number)`."""
    return seed_of(seed, number, attempt) if attempt else seed_of(seed, number)


def trial_seed(seed: int, trial: int) -> int:
    """The seed of a trial's own generators, apart from that of its ask."""
    return seed_of(seed, trial) ^ 0x5EED
