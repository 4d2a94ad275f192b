"""A genetic algorithm: NSGA-II (Deb et al., 2002), by Optuna; for one objective or several."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import optuna
from optuna.samplers import BaseSampler, NSGAIISampler
from optuna.samplers.nsgaii import (
    BaseCrossover,
    BLXAlphaCrossover,
    SBXCrossover,
    SPXCrossover,
    UNDXCrossover,
    VSBXCrossover,
)

from sweeps.errors import did_you_mean
from sweeps.searchers.rungs import RungByRung
from sweeps.searchers.samplers import SamplerSearcher
from sweeps.searchers.view import View
from sweeps.space.space import Space

_CROSSOVERS: dict[str, Callable[[], BaseCrossover]] = {
    "blxalpha": BLXAlphaCrossover,
    "sbx": SBXCrossover,
    "spx": SPXCrossover,
    "undx": UNDXCrossover,
    "vsbx": VSBXCrossover,
}


def genetic(
    *,
    space: Space,
    view: View,
    seed: int,
    rungs: Sequence[int],
    population_size: int = 20,
    crossover: str = "uniform",
    crossover_prob: float = 0.9,
    swapping_prob: float = 0.5,
    mutation_prob: float | None = None,
) -> SamplerSearcher:
    """NSGA-II; a parameter that mutates, or that not every trial has, is drawn at random.

    Optuna's sampler notes each trial's generation, and of each generation the numbers of its
    parents: both are in the journal, and a resumed sweep reads them there. Trials of earlier sweeps
    are of the first generation; a point to begin with is of the one that it is asked in.

    Args:
        space: What is swept.
        view: The trials so far.
        seed: The sweep's.
        rungs: The scheduler's; a trial counts as soon as it is at the first.
        population_size: Trials of a generation.
        crossover: How parents' numbers are mixed: uniform, blxalpha, sbx, spx, undx or vsbx.
        crossover_prob: The share of children of several parents; the others are copies.
        swapping_prob: How likely uniform crossover takes a parameter from the second parent.
        mutation_prob: How likely a parameter mutates; None: 1 in number of parameters.
    """
    names = ("uniform", *_CROSSOVERS)
    if crossover not in names:
        raise ValueError(
            f"crossover is {crossover!r}; choose from {', '.join(names)}"
            f"{did_you_mean(crossover, names)}"
        )
    if population_size < 2:
        raise ValueError(f"population_size is {population_size}; it must be 2 or more")
    shares = {
        "crossover_prob": crossover_prob,
        "swapping_prob": swapping_prob,
        "mutation_prob": mutation_prob,
    }
    for option, share in shares.items():
        if share is not None and not 0 <= share <= 1:
            raise ValueError(f"{option} is {share}; it must be between 0 and 1")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        mix = _CROSSOVERS[crossover]() if crossover in _CROSSOVERS else None

    def sampler(ask_seed: int) -> BaseSampler:
        return NSGAIISampler(
            seed=ask_seed,
            population_size=population_size,
            crossover=mix,
            crossover_prob=crossover_prob,
            swapping_prob=swapping_prob,
            mutation_prob=mutation_prob,
        )

    sampler(0)  # checks that the population is enough for the crossover
    view.lens = RungByRung(view, rungs)
    view.notes_on_known[NSGAIISampler._get_generation_key()] = 0
    return SamplerSearcher(sampler, space=space, view=view, seed=seed)
