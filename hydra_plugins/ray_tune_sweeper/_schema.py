"""What can stand under `hydra.sweeper`: its schema, and those of the searchers and schedulers.

The face imports this module, at the start of every Hydra app: no ray, no torch, no optuna. Hydra
does not look for plugins in it, for its name begins with an underscore. It gets names and defaults
without types, and takes any key: what is wrong is answered by `checked`, in our words.
"""

from dataclasses import asdict, dataclass, field
from typing import Any, Optional

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf

# ruff: noqa: UP045 - OmegaConf reads Optional[...], not X | None, on every version we support


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
    """What the app reports or returns that counts, or a list of such; by default `objective`, which
    is what a plain number returned is called."""
    mode: Any = None
    """`min` or `max`, or a list of them; to be said where `metric` is, else `min`."""
    objective_at: str = "best"
    """A trial's value is its `best` report, or its `last`."""
    scalarization: Any = None
    """With several objectives, which trial of the Pareto front is exported: `{name: chebyshev,
    weights: {...}}`, `weighted_sum` or `first`."""
    # The search space: Hydra override strings; the command line wins
    params: dict[str, Any] = field(default_factory=dict)
    """The search space: a Hydra override string by key of the app's config; the command line
    wins."""
    when: Any = None
    """Parameters that exist only where others have a value: `{model.channels: {model:
    convnet}}`."""
    constraints: list[str] = field(default_factory=list)
    """Expressions over swept names that every configuration meets: `model.width * model.depth <=
    2048`."""
    initial: list[Any] = field(default_factory=list)
    """Points to begin with, each a mapping; what it leaves open is proposed."""
    warm_start: list[str] = field(default_factory=list)
    """Earlier sweeps, by folder or URL, that the searcher learns from."""
    searcher: Any = MISSING
    """What to try next: chosen with `hydra/sweeper/searcher=NAME` (`tpe`), its options below this
    key."""
    scheduler: Any = MISSING
    """Whether to go on: chosen with `hydra/sweeper/scheduler=NAME` (`none`), its options below this
    key."""
    fidelity: Any = None
    """A key of the app's config that grows from rung to rung instead of the step: `{name:
    data.fraction, min: 0.1, max: 1}`."""
    seed: Optional[int] = None
    """Seeds searcher, scheduler and each trial's generators; drawn where it is not given, and
    recorded."""
    repeats: int = 1
    """Trains every configuration so many times, as one trial: its metrics are the means."""
    repeats_key: Optional[str] = None
    """A key of the app's config that tells repeats apart, by 0, 1, ...: `data.fold`. `seed` where
    it is not given and the app has that, with seeds."""
    # How much
    num_samples: Optional[int] = None
    """Trials: 20 where it is not given, a grid's own size for `grid`."""
    max_concurrent_trials: Optional[int] = None
    """Trials at once; as many as fit where it is not given."""
    time_budget_s: Optional[float] = None
    """Ends the sweep after so many seconds, each time it is begun or resumed."""
    total_steps: Optional[int] = None
    """Ends the sweep after so many steps over all trials."""
    cost: Any = None
    """Ends the sweep when the trials have cost so much: `{metric: dollars, budget: 50}`, where the
    metric says what a trial has cost so far."""
    stop: Any = None
    """Ends the sweep when the objective is good enough, `{target: 0.99}`, or improves no more,
    `{patience: 20, tolerance: 0.001}`."""
    max_failure_rate: float = 1.0
    """The share of trials that may fail before the sweep does; judged from five on."""
    max_losses: int = 3
    """How often a trial may lose its process or node before it counts as failed."""
    max_retries: int = 0
    """How often a trial whose task raised goes on from its last checkpoint."""
    retry_backoff_s: float = 1.0
    """Seconds before such a trial goes on; they double each time."""
    trial_time_limit_s: Optional[float] = None
    """Ends a trial that has trained for so many seconds, pauses not counted."""
    # Where and with what
    name: Optional[str] = None
    """Of the sweep, which is its folder's; from the app or the experiment, and the time, where it
    is not given."""
    storage_path: str = "outputs/sweeps"
    """Where sweeps lie: a folder, or `s3://` or `gs://`."""
    resources: Any = "auto"
    """Of a trial: `{cpus: 2, gpus: 0.25}`, with `workers: 4` that many ranks of this each. `auto`
    is a GPU where there are any, else a CPU."""
    teardown_timeout_s: float = 30.0
    """Seconds that a task may take to unwind when it is stopped; then its process is ended."""
    keep_checkpoints: int = 1
    """Of so many best trials the checkpoint stays on disk, beside those that may go on."""
    checkpoint_key: Any = None
    """A key of the app's config that takes the path of the checkpoint to go on from: `ckpt_path`.
    At a fresh start it stays as it is."""
    export: bool = True
    """Whether the best model is exported at the end."""
    tracking: Any = None
    """Where else trials are told: `tensorboard`, `mlflow`, `wandb`, a list of them, or a mapping to
    their options."""
    notify: Any = None
    """Who is told of the sweep's end, its failure and a new best: `{webhook: ADDRESS}` or
    `{command: LINE}`."""
    dry_run: bool = False
    """Show the space, three composed trials, the rungs and the slots, and end."""
    resume: Any = False
    """`true` goes on with the sweep of this name; `auto` where there is one, and else begins it."""


# Searchers


@dataclass
class AnnealingConf:
    """Simulated annealing."""

    name: str = "annealing"
    initial_temperature: float = 0.2
    cooling: float = 0.95
    step: float = 0.2


@dataclass
class BohbConf:
    """BOHB: a density model of the highest rung, and a share at random."""

    name: str = "bohb"
    random_fraction: float = 1 / 3
    top_n_percent: float = 15.0
    n_ei_candidates: int = 64


@dataclass
class CmaesConf:
    """Covariance matrix adaptation evolution strategy, for mixed spaces."""

    name: str = "cmaes"
    population_size: Optional[int] = None


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
class GeneticConf:
    """NSGA-II."""

    name: str = "genetic"
    population_size: int = 20
    crossover: str = "uniform"
    crossover_prob: float = 0.9
    swapping_prob: float = 0.5
    mutation_prob: Optional[float] = None


@dataclass
class GpConf:
    """Gaussian process."""

    name: str = "gp"
    n_startup_trials: int = 10
    acquisition: str = "logei"
    ucb_beta: float = 4.0
    deterministic_objective: bool = False


@dataclass
class GridConf:
    """Every combination once."""

    name: str = "grid"
    levels: Any = None


@dataclass
class QmcConf:
    """Quasi-Monte Carlo: a Sobol or Halton sequence."""

    name: str = "qmc"
    qmc_type: str = "sobol"
    scramble: bool = True


@dataclass
class RandomConf:
    """Uniform in the scaled space."""

    name: str = "random"


@dataclass
class TpeConf:
    """Tree-structured Parzen estimator."""

    name: str = "tpe"
    n_startup_trials: int = 10
    n_ei_candidates: int = 24
    multivariate: bool = True


# Schedulers


@dataclass
class AshaConf:
    """Asynchronous successive halving with promotion."""

    name: str = "asha"
    max_t: int = MISSING
    grace_period: int = 1
    reduction_factor: int = 3


@dataclass
class AshaStopConf:
    """Asynchronous successive halving that stops for good; needs no checkpoints."""

    name: str = "asha_stop"
    max_t: int = MISSING
    grace_period: int = 1
    reduction_factor: int = 3
    brackets: int = 1


@dataclass
class HyperbandConf:
    """Synchronous Hyperband."""

    name: str = "hyperband"
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
class MedianConf:
    """The median stopping rule."""

    name: str = "median"
    grace_period: int = 1
    min_samples_required: int = 3
    max_t: Optional[int] = None


@dataclass
class NoneConf:
    """No early stopping."""

    name: str = "none"


@dataclass
class Pb2Conf:
    """Population based bandits: as pbt, and a Gaussian process says how parameters change."""

    name: str = "pb2"
    max_t: int = MISSING
    perturbation_interval: int = MISSING
    quantile_fraction: float = 0.25
    hyperparam_mutations: list[str] = field(default_factory=list)


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
class SuccessiveHalvingConf:
    """Synchronous successive halving, in brackets of n configurations."""

    name: str = "successive_halving"
    max_t: int = MISSING
    grace_period: int = 1
    reduction_factor: int = 3
    n: Optional[int] = None


_SEARCHERS: list[Any] = [
    AnnealingConf,
    BohbConf,
    CmaesConf,
    CoarseToFineConf,
    ControllerConf,
    GeneticConf,
    GpConf,
    GridConf,
    QmcConf,
    RandomConf,
    TpeConf,
]

_SCHEDULERS: list[Any] = [
    AshaConf,
    AshaStopConf,
    HyperbandConf,
    LearningCurveConf,
    MedianConf,
    NoneConf,
    Pb2Conf,
    PbtConf,
    SuccessiveHalvingConf,
]


def register() -> None:
    """Tell Hydra of them all."""
    store = ConfigStore.instance()
    store.store(group="hydra/sweeper", name="ray_tune", node=_open(RayTuneConf), provider="caviar")
    for kind, schemas in (("searcher", _SEARCHERS), ("scheduler", _SCHEDULERS)):
        for schema in schemas:
            group = f"hydra/sweeper/{kind}"
            store.store(group=group, name=schema.name, node=_open(schema), provider="caviar")


def _open(schema: Any) -> DictConfig:
    """A schema's names and defaults, as a config that refuses nothing.

    What is empty is null: Hydra would not put a list in the place of a mapping, nor the reverse.
    """
    defaults = {
        name: None if value in ([], {}) else value for name, value in asdict(schema()).items()
    }
    node = OmegaConf.create(defaults)
    OmegaConf.set_struct(node, False)
    return node


def checked(config: DictConfig) -> dict[str, Any]:
    """What stands under `hydra.sweeper`, resolved, each value of its type.

    Raises:
        ConfigError: It is not so.
    """
    from cluster.typed import typed
    from sweeps.core.settings import refuse_retired

    given: Any = OmegaConf.to_container(config, resolve=True)
    refuse_retired(given)
    options = typed(given, RayTuneConf, key="hydra.sweeper")
    for part, schemas in (("searcher", _SEARCHERS), ("scheduler", _SCHEDULERS)):
        options[part] = _part(part, options[part], {schema.name: schema for schema in schemas})
    return options


def _part(part: str, options: Any, schemas: dict[str, Any]) -> dict[str, Any]:
    from cluster.typed import typed
    from sweeps.errors import ConfigError, did_you_mean

    named = isinstance(options, dict)
    name = str(options.get("name") if named else options)
    if not named or name not in schemas:
        raise ConfigError(
            f"hydra.sweeper.{part} is {name!r}; choose it with hydra/sweeper/{part}=NAME, one of "
            f"{', '.join(schemas)}{did_you_mean(name, schemas)}"
        )
    own = {option: value for option, value in options.items() if option != "name"}
    return {"name": name, **typed(own, schemas[name], key=f"hydra.sweeper.{part}")}
