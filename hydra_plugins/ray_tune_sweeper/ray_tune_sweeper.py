"""The sweeper plugin: its config schema and a thin class. The work is in `sweeps.runner`.

Hydra imports this module at the start of every Hydra app, so it stays light: no ray, no torch.
"""

# No `from __future__ import annotations`: Hydra executes plugin modules outside `sys.modules`,
# where dataclasses cannot resolve annotations kept as strings.
import importlib.util
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from hydra.core.config_store import ConfigStore
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import MISSING, DictConfig, OmegaConf

# ruff: noqa: UP045 - OmegaConf reads Optional[...], not X | None, on every version we support


class RayTuneSweeper(Sweeper):
    """Hands a multirun to caviar."""

    def __init__(self, **options: Any) -> None:
        self._options = options

    def setup(
        self,
        *,
        hydra_context: HydraContext,
        task_function: TaskFunction,
        config: DictConfig,
    ) -> None:
        """Keep what Hydra hands over."""
        self._context = hydra_context
        self._task = task_function
        self._config = config

    def sweep(self, arguments: list[str]) -> Any:
        """Run the sweep that the config and the command line's overrides describe."""
        _check_neighbours()
        from sweeps.errors import ConfigError, SweepError, exit_code
        from sweeps.runner import run_from_hydra

        options: Any = OmegaConf.to_container(self._config.hydra.sweeper, resolve=True)
        try:
            return run_from_hydra(
                task_function=self._task,
                hydra_context=self._context,
                config=self._config,
                options=options,
                arguments=arguments,
            )
        except (ConfigError, SweepError, KeyboardInterrupt) as error:
            if "HYDRA_FULL_ERROR" in os.environ:
                raise
            print(str(error) or "interrupted", file=sys.stderr)
            raise SystemExit(exit_code(error)) from None


def _check_neighbours() -> None:
    """See that `sweeps` and `cluster` are caviar's: another package of that name may hide them."""
    root = Path(__file__).resolve().parents[2]
    for name in ("sweeps", "cluster"):
        ours = root / name / "__init__.py"
        spec = importlib.util.find_spec(name)
        found = Path(spec.origin).resolve() if spec and spec.origin else None
        if found != ours:
            where = found or next(iter(spec.submodule_search_locations or []), "?") if spec else "?"
            print(
                f"caviar needs its own package {name!r} ({ours.parent}), and {where} is in the "
                f"way: rename that file or package, or take its folder off sys.path.",
                file=sys.stderr,
            )
            raise SystemExit(2)


@dataclass
class RandomConf:
    """Uniform in the scaled space."""

    name: str = "random"


@dataclass
class GridConf:
    """Every combination once."""

    name: str = "grid"
    levels: Any = None


@dataclass
class TpeConf:
    """Tree-structured Parzen estimator."""

    name: str = "tpe"
    n_startup_trials: int = 10
    n_ei_candidates: int = 24
    multivariate: bool = True


@dataclass
class QmcConf:
    """Quasi-Monte Carlo: a Sobol or Halton sequence."""

    name: str = "qmc"
    qmc_type: str = "sobol"
    scramble: bool = True


@dataclass
class GpConf:
    """Gaussian process."""

    name: str = "gp"
    n_startup_trials: int = 10
    acquisition: str = "logei"
    ucb_beta: float = 4.0
    deterministic_objective: bool = False


@dataclass
class CmaesConf:
    """Covariance matrix adaptation evolution strategy, for mixed spaces."""

    name: str = "cmaes"
    population_size: Optional[int] = None


@dataclass
class GeneticConf:
    """NSGA-II."""

    name: str = "genetic"
    population_size: int = 20
    crossover: str = "uniform"
    crossover_prob: float = 0.9
    swapping_prob: float = 0.5
    mutation_prob: Optional[float] = None


@dataclass
class BohbConf:
    """BOHB: a density model of the highest rung, and a share at random."""

    name: str = "bohb"
    random_fraction: float = 1 / 3
    top_n_percent: float = 15.0
    n_ei_candidates: int = 64


@dataclass
class AnnealingConf:
    """Simulated annealing."""

    name: str = "annealing"
    initial_temperature: float = 0.2
    cooling: float = 0.95
    step: float = 0.2


@dataclass
class CoarseToFineConf:
    """Random search that zooms."""

    name: str = "coarse_to_fine"
    rounds: int = 3
    shrink: float = 0.5
    top: int = 3


@dataclass
class ControllerConf:
    """Architecture search with reinforcement learning."""

    name: str = "controller"
    learning_rate: float = 0.02
    hidden_size: int = 32
    entropy_weight: float = 0.1
    baseline_decay: float = 0.9
    batch: int = 4


@dataclass
class NoneConf:
    """No early stopping."""

    name: str = "none"


@dataclass
class AshaConf:
    """Asynchronous successive halving with promotion."""

    name: str = "asha"
    max_t: int = MISSING
    grace_period: int = 1
    reduction_factor: int = 3


@dataclass
class LearningCurveConf:
    """Stops a trial when its extrapolated learning curve has too little chance to lead."""

    name: str = "learning_curve"
    max_t: int = MISSING
    grace_period: int = 8
    every: int = 1
    min_probability: float = 0.05


@dataclass
class AshaStopConf:
    """Asynchronous successive halving that stops for good; needs no checkpoints."""

    name: str = "asha_stop"
    max_t: int = MISSING
    grace_period: int = 1
    reduction_factor: int = 3
    brackets: int = 1


@dataclass
class SuccessiveHalvingConf:
    """Synchronous successive halving, in brackets of n configurations."""

    name: str = "successive_halving"
    max_t: int = MISSING
    grace_period: int = 1
    reduction_factor: int = 3
    n: Optional[int] = None


@dataclass
class HyperbandConf:
    """Synchronous Hyperband."""

    name: str = "hyperband"
    max_t: int = MISSING
    grace_period: int = 1
    reduction_factor: int = 3


@dataclass
class MedianConf:
    """The median stopping rule."""

    name: str = "median"
    grace_period: int = 1
    min_samples_required: int = 3
    max_t: Optional[int] = None


@dataclass
class PbtConf:
    """Population based training: the worst go on as copies of the best, with changed parameters."""

    name: str = "pbt"
    max_t: int = MISSING
    perturbation_interval: int = MISSING
    quantile_fraction: float = 0.25
    resample_probability: float = 0.25
    perturbation_factors: list[float] = field(default_factory=lambda: [1.2, 0.8])
    hyperparam_mutations: list[str] = field(default_factory=list)


@dataclass
class Pb2Conf:
    """Population based bandits: as pbt, and a Gaussian process says how parameters change."""

    name: str = "pb2"
    max_t: int = MISSING
    perturbation_interval: int = MISSING
    quantile_fraction: float = 0.25
    hyperparam_mutations: list[str] = field(default_factory=list)


@dataclass
class RayTuneConf:
    """Everything under `hydra.sweeper`."""

    defaults: list[Any] = field(
        default_factory=lambda: [{"searcher": "tpe"}, {"scheduler": "none"}]
    )
    _target_: str = "hydra_plugins.ray_tune_sweeper.ray_tune_sweeper.RayTuneSweeper"
    _recursive_: bool = False

    # What to optimize: a metric and min or max, or a list of each
    metric: Any = None
    mode: Any = None
    objective_at: str = "best"
    scalarization: Any = None
    # The search space: Hydra override strings; the command line wins
    params: dict[str, Any] = field(default_factory=dict)
    when: Any = None
    constraints: list[str] = field(default_factory=list)
    initial: list[Any] = field(default_factory=list)
    warm_start: list[str] = field(default_factory=list)
    searcher: Any = MISSING
    scheduler: Any = MISSING
    fidelity: Any = None
    seed: Optional[int] = None
    # How much
    num_samples: Optional[int] = None
    max_concurrent_trials: Optional[int] = None
    time_budget_s: Optional[float] = None
    total_steps: Optional[int] = None
    cost: Any = None
    stop: Any = None
    max_failure_rate: float = 1.0
    max_losses: int = 3
    max_retries: int = 0
    retry_backoff_s: float = 1.0
    trial_time_limit_s: Optional[float] = None
    # Where and with what
    name: Optional[str] = None
    storage_path: str = "outputs/sweeps"
    resources: Any = "auto"
    teardown_timeout_s: float = 30.0
    keep_checkpoints: int = 1
    export: bool = True
    dry_run: bool = False
    resume: bool = False

    # Keys of hydra-optuna-sweeper, kept to answer with ours
    n_trials: Any = None
    n_jobs: Any = None
    direction: Any = None
    sampler: Any = None
    study_name: Any = None
    storage: Any = None
    search_space: Any = None


def _register() -> None:
    store = ConfigStore.instance()
    store.store(group="hydra/sweeper", name="ray_tune", node=RayTuneConf, provider="caviar")
    groups: dict[str, list[Any]] = {
        "hydra/sweeper/searcher": [
            RandomConf,
            GridConf,
            TpeConf,
            AnnealingConf,
            CoarseToFineConf,
            ControllerConf,
            QmcConf,
            GpConf,
            CmaesConf,
            GeneticConf,
            BohbConf,
        ],
        "hydra/sweeper/scheduler": [
            NoneConf,
            AshaConf,
            AshaStopConf,
            SuccessiveHalvingConf,
            HyperbandConf,
            LearningCurveConf,
            MedianConf,
            PbtConf,
            Pb2Conf,
        ],
    }
    for group, nodes in groups.items():
        for node in nodes:
            store.store(group=group, name=node.name, node=node, provider="caviar")


_register()
