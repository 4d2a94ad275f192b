"""A sweep, checked and ready to run: everything that can be wrong before anything is started."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from sweeps.app import App, describe_app
from sweeps.compose import Composer, group_options
from sweeps.errors import ConfigError
from sweeps.folder import Record, SweepFolder, environment
from sweeps.schedulers import Scheduler, make_scheduler
from sweeps.searchers import Searcher, View, make_searcher
from sweeps.settings import DEFAULT_NUM_SAMPLES, Settings
from sweeps.space import Space, parse_space


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A sweep, checked and ready: nothing is started or written yet."""

    app: App
    settings: Settings
    space: Space
    fixed: list[str]
    composer: Composer
    scheduler: Scheduler
    search_path: Any
    folder: SweepFolder

    def searcher(self, view: View) -> Searcher:
        """The searcher over a view."""
        options = dict(self.settings.searcher)
        return make_searcher(
            options.pop("name"),
            space=self.space,
            view=view,
            seed=self.settings.seed,
            rungs=self.scheduler.rungs(),
            num_samples=self.settings.num_samples,
            **options,
        )

    @property
    def num_samples(self) -> int:
        """The budget of trials; the searcher's own end may come first."""
        if self.settings.num_samples is not None:
            return self.settings.num_samples
        limit = self.searcher(View(self.settings.objective)).limit
        return DEFAULT_NUM_SAMPLES if limit is None else limit


def make_plan(
    task_function: TaskFunction,
    hydra_context: HydraContext,
    config: DictConfig,
    options: Mapping[str, Any],
    arguments: list[str],
) -> Plan:
    """Check everything that can be checked before a sweep starts."""
    settings = Settings.parse(options)
    _refuse_launcher(config)
    app = describe_app(task_function)
    name = settings.name or f"{_title(app, config)}-{datetime.now():%Y%m%d-%H%M%S}"
    folder = SweepFolder(settings.storage_path / name)
    if options["seed"] is None:
        settings = _with_recorded_seed(settings, folder)
    loader = hydra_context.config_loader
    space, fixed = parse_space(
        options["params"], arguments, group_options=group_options(loader, config)
    )
    if not space.parameters:
        if settings.resume:
            _refuse_other_space(folder, space)
        raise ConfigError(
            "there is nothing to sweep: give a parameter a range of values, such as "
            "lr='interval(0, 1)', on the command line or under hydra.sweeper.params"
        )
    scheduler_options = dict(settings.scheduler)
    scheduler = make_scheduler(
        scheduler_options.pop("name"), space=space, seed=settings.seed, **scheduler_options
    )
    plan = Plan(
        app=app,
        settings=settings,
        space=space,
        fixed=fixed,
        composer=Composer(loader, config, fixed, space),
        scheduler=scheduler,
        search_path=loader.get_search_path(),
        folder=folder,
    )
    plan.searcher(View(settings.objective))
    plan.composer.validate()
    return plan


def _title(app: App, config: DictConfig) -> str:
    """What the sweep is of: the experiment where one is chosen, else the app."""
    experiment = config.hydra.runtime.choices.get("experiment")
    return experiment.replace("/", "-") if isinstance(experiment, str) else app.name


def _refuse_other_space(folder: SweepFolder, space: Space) -> None:
    was, now = dict(_recorded_space(folder).describe()), dict(space.describe())
    changed = [
        f"{name} was {was.get(name, 'not searched')} and is now {now.get(name, 'not searched')}"
        for name in {**was, **now}
        if was.get(name) != now.get(name)
    ]
    if changed:
        raise ConfigError(
            f"{folder.path} was begun with another search space: {'; '.join(changed)}. A sweep "
            f"goes on in the space it was begun with; begin another for another"
        )


def _recorded_space(folder: SweepFolder) -> Space:
    return Space.from_json(Record.read(folder).space)


def _refuse_launcher(config: DictConfig) -> None:
    launcher = config.hydra.runtime.choices.get("hydra/launcher", "basic")
    if launcher != "basic":
        raise ConfigError(
            f"hydra/launcher is {launcher!r}, and caviar places trials itself, over Ray: leave it "
            f"out, and say how many run at once with hydra.sweeper.max_concurrent_trials and "
            f"hydra.sweeper.resources"
        )


def _with_recorded_seed(settings: Settings, folder: SweepFolder) -> Settings:
    """A sweep that goes on keeps the seed that was drawn when it began."""
    if not settings.resume or not folder.sweep_yaml.exists():
        return settings
    return replace(settings, seed=Record.read(folder).seed)


def check_resumable(plan: Plan) -> None:
    """See that the sweep that is there is the one that is asked for.

    Raises:
        ConfigError: There is none, or it was begun otherwise.
    """
    folder = plan.folder
    if not folder.sweep_yaml.exists():
        raise ConfigError(f"there is no sweep in {folder.path} to go on with")
    record = Record.read(folder)
    now = make_record(plan)
    _refuse_other_space(folder, plan.space)
    for key in ("metric", "mode", "searcher", "scheduler", "seed"):
        was, is_ = getattr(record, key), getattr(now, key)
        if was != is_:
            raise ConfigError(
                f"{key} is {is_}, and {folder.path} was begun with {was}: a sweep goes on as it "
                f"was begun; begin another for another {key}"
            )


def make_record(plan: Plan) -> Record:
    """What sweep.yaml says of it."""
    settings = plan.settings
    return Record(
        name=plan.folder.name,
        app=plan.app.to_json(),
        overrides=list(plan.fixed),
        space=plan.space.to_json(),
        metric=settings.objective.metric,
        mode=settings.objective.mode,
        searcher=dict(settings.searcher),
        scheduler=dict(settings.scheduler),
        num_samples=plan.num_samples,
        seed=settings.seed,
        options={
            "max_concurrent_trials": settings.max_concurrent_trials,
            "time_budget_s": settings.time_budget_s,
            "resources": settings.resources,
            "objective_at": settings.objective.at,
        },
        environment=environment(plan.app.folder),
    )
