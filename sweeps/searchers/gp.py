"""A Gaussian process, by Optuna: Matern 5/2 kernel, a length scale for each parameter."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, GPSampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from sweeps.errors import did_you_mean
from sweeps.searchers.rungs import Carried
from sweeps.searchers.samplers import SamplerSearcher
from sweeps.searchers.view import View
from sweeps.space.space import Space

if TYPE_CHECKING:
    import numpy as np

_ACQUISITIONS = ("logei", "ucb")


def gp(
    *,
    space: Space,
    view: View,
    seed: int,
    rungs: Sequence[int],
    n_startup_trials: int = 10,
    acquisition: str = "logei",
    ucb_beta: float = 4.0,
    deterministic_objective: bool = False,
) -> SamplerSearcher:
    """Bayesian optimization; a conditional parameter is drawn at random.

    Args:
        space: What is swept.
        view: The trials so far.
        seed: The sweep's.
        rungs: The scheduler's; the process is of values at the highest with enough trials, where
            trials below it have what they would have there.
        n_startup_trials: Random draws before the model is asked.
        acquisition: What is maximized: `logei`, the logarithm of the expected improvement over
            what is known and what the running trials may give (Ament et al., NeurIPS 2023), or
            `ucb`, the upper confidence bound (Srinivas et al., ICML 2010), the running trials at
            their expected values (Ginsbourger et al., 2010).
        ucb_beta: The bound is the mean and sqrt(beta) standard deviations.
        deterministic_objective: Whether the same configuration always gives the same value.
    """
    if acquisition not in _ACQUISITIONS:
        raise ValueError(
            f"acquisition is {acquisition!r}; choose from {', '.join(_ACQUISITIONS)}"
            f"{did_you_mean(acquisition, _ACQUISITIONS)}"
        )
    if n_startup_trials < 0:
        raise ValueError(f"n_startup_trials is {n_startup_trials}; it must be 0 or more")
    if not 0 <= ucb_beta < math.inf:
        raise ValueError(f"ucb_beta is {ucb_beta}; it must be 0 or more, and finite")
    if len(view.directions) > 1 and acquisition != "logei":
        raise ValueError(f"acquisition is {acquisition!r}; with several objectives it is logei")

    def sampler(ask_seed: int) -> BaseSampler:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            made = _Gp(
                seed=ask_seed,
                n_startup_trials=n_startup_trials,
                deterministic_objective=deterministic_objective,
                warn_independent_sampling=False,
            )
        made.ucb_beta = ucb_beta if acquisition == "ucb" else None
        return made

    view.lens = Carried(view, rungs, enough=max(n_startup_trials, len(space.parameters) + 3))
    return SamplerSearcher(sampler, space=space, view=view, seed=seed)


class _Gp(GPSampler):
    """Optuna's sampler, whose acquisition function is the one piece that may be exchanged."""

    ucb_beta: float | None = None

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Optuna's own, on one thread."""
        from sweeps.searchers.threads import one_torch_thread  # torch comes with the first ask

        with one_torch_thread():
            return super().sample_relative(study, trial, search_space)

    def _optimize_acqf(self, acqf: Any, best_params: np.ndarray | None) -> np.ndarray:
        if self.ucb_beta is not None:
            acqf = _ucb(acqf, self.ucb_beta)
        return super()._optimize_acqf(acqf, best_params)


def _ucb(logei: Any, beta: float) -> Any:
    """The upper confidence bound of the process that this expected improvement is of."""
    from optuna._gp.acqf import UCB, qLogEI

    if isinstance(logei, qLogEI):
        gpr, running = logei._cond_gpr._gpr, logei._cond_gpr._X_running
        gpr.append_running_data(running, gpr.posterior(running)[0])
    else:
        gpr = logei._gpr
    return UCB(gpr, logei.search_space, beta)
