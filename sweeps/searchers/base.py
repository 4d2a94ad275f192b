"""What a searcher is, and the seeds of its asks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np


class Searcher(Protocol):
    """Proposes configurations. A pure function of the journal's view, the seed and the number."""

    limit: int | None
    """How many configurations there are to propose; None without end."""

    def ask(self, number: int) -> Mapping[str, Any]:
        """The configuration of trial `number`: Optuna's external values by Optuna's name."""
        ...


def seed_of(seed: int, number: int) -> int:
    """The seed of one ask: of 32 bits, independent over both arguments (NumPy's SeedSequence)."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
