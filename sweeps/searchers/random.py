"""Random search (Bergstra & Bengio, JMLR 2012)."""

from __future__ import annotations

from optuna.samplers import RandomSampler

from sweeps.searchers.samplers import SamplerSearcher
from sweeps.searchers.view import View
from sweeps.space.space import Space


def random(*, space: Space, view: View, seed: int) -> SamplerSearcher:
    """Uniform in the scaled space."""
    return SamplerSearcher(RandomSampler, space=space, view=view, seed=seed)
