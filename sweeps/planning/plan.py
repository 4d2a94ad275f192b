"""A sweep, checked and ready to run: everything that can be wrong before anything is started."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Any

from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from sweeps.core.compatible import POPULATION, check_together
from sweeps.core.repeats import Repeating
from sweeps.core.settings import Settings
from sweeps.core.tracking import check_folders
from sweeps.errors import ConfigError
from sweeps.planning import changes
from sweeps.planning.app import App, describe_app
from sweeps.planning.compose import Composer, apply, group_options
from sweeps.planning.repeats import repeating_of
from sweeps.planning.warm import known_trials
from sweeps.provenance.driver import environment
from sweeps.schedulers import Scheduler, make_scheduler
from sweeps.searchers import Searcher, View, make_searcher
from sweeps.searchers.base import DEFAULT_NUM_SAMPLES
from sweeps.secrets import masked
from sweeps.space.space import Space, parse_space
from sweeps.storage.folder import Record, SweepFolder


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A sweep, checked and ready: nothing is started or written yet."""

    app: App
    title: str
    """What the sweep is of."""
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
            rungs=self.rungs,
            num_samples=self.settings.num_samples,
            initial=self.settings.initial,
            **options,
        )

    @cached_property
    def known(self) -> list[Mapping[str, Any]]:
        """Trials of earlier sweeps that this one begins with."""
        settings = self.settings
        return known_trials(settings.warm_start, space=self.space, objective=settings.objective)

    @property
    def rungs(self) -> list[int]:
        """The steps, as the journal counts them, at which trials are compared."""
        fidelity = self.settings.fidelity
        resources = self.scheduler.rungs()
        return resources if fidelity is None else [fidelity.rung(r) for r in resources]

    def at_fidelity(self, value: float | None) -> dict[str, Any]:
        """What a segment sets besides the trial's parameters: override key -> value."""
        fidelity = self.settings.fidelity
        return {} if fidelity is None or value is None else {fidelity.name: value}

    @cached_property
    def repeating(self) -> Repeating | None:
        """How trials are repeated; None where they are not."""
        return repeating_of(self)

    @cached_property
    def num_samples(self) -> int:
        """How many trials there are to be: those asked for, as far as the searcher has them."""
        asked, limit = self.settings.num_samples, self.limit
        if limit is None:
            return DEFAULT_NUM_SAMPLES if asked is None else asked
        return limit if asked is None else min(asked, limit)

    @cached_property
    def limit(self) -> int | None:
        """How many configurations the searcher has; None without end."""
        return self.searcher(View(self.settings.objective)).limit


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
    title = _title(app, config)
    name = settings.name or f"{title}-{datetime.now():%Y%m%d-%H%M%S}"
    folder = SweepFolder.at(settings.storage_path, name)
    settings = replace(settings, resume=_goes_on(settings, folder))
    if settings.resume:
        _refuse_retest(folder)
    if options["seed"] is None:
        settings = _with_recorded_seed(settings, folder)
    loader = hydra_context.config_loader
    space, fixed = parse_space(
        options["params"],
        arguments,
        group_options=group_options(loader, config),
        when=options["when"],
        constraints=options["constraints"],
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
        title=title,
        settings=settings,
        space=space,
        fixed=fixed,
        composer=Composer(loader, config, fixed, space),
        scheduler=scheduler,
        search_path=loader.get_search_path(),
        folder=folder,
    )
    check_together(settings, scheduler)
    check_folders(settings.tracking, in_bucket=folder.remote is not None)
    plan.limit  # noqa: B018 - builds the searcher, so that wrong options are answered now
    plan.composer.validate()
    _check_fidelity(plan)
    plan.repeating  # noqa: B018 - read now, so that a wrong key is answered now
    _check_checkpoint_key(plan)
    if not settings.resume:
        plan.known  # noqa: B018 - read now, so that a wrong one is answered now
    return plan


def _goes_on(settings: Settings, folder: SweepFolder) -> bool:
    return folder.sweep_yaml.exists() if settings.resume == "auto" else settings.resume


def _check_fidelity(plan: Plan) -> None:
    """See that the app's config takes the fidelity at both its ends."""
    fidelity = plan.settings.fidelity
    if fidelity is None:
        return
    if any(p.name == fidelity.name.lstrip("+") for p in plan.space.parameters):
        raise ConfigError(
            f"hydra.sweeper.fidelity.name is {fidelity.name!r}, which is searched too: leave it "
            f"out of the search space"
        )
    space = plan.space
    values = space.values(space.draw(lambda p: p.from_value(p.domain.samples[0])))
    name = fidelity.name.lstrip("+")
    own = apply(plan.composer.base(values), plan.composer.patch(values), job_num=0, job_id="0")
    given = OmegaConf.select(own, name, throw_on_missing=False)
    if given is not None and (isinstance(given, bool) or not isinstance(given, int | float)):
        raise ConfigError(
            f"hydra.sweeper.fidelity.name is {fidelity.name!r}, which is {given!r} in the app's "
            f"config; it must name a number"
        )
    for value in (fidelity.min, fidelity.max):
        try:
            patch = plan.composer.patch(values, also=plan.at_fidelity(value))
            apply(plan.composer.base(values), patch, job_num=0, job_id="0")
        except ConfigError as error:
            raise ConfigError(f"hydra.sweeper.fidelity: {error}") from error


def _check_checkpoint_key(plan: Plan) -> None:
    """See that the app's config takes a path where the sweep is to put a checkpoint's."""
    key = plan.settings.checkpoint_key
    if key is None:
        return
    if any(p.name == key.lstrip("+") for p in plan.space.parameters):
        raise ConfigError(
            f"hydra.sweeper.checkpoint_key is {key!r}, which is searched too: leave it out of the "
            f"search space"
        )
    try:
        plan.composer.check_takes(key, "checkpoint")
    except ConfigError as error:
        raise ConfigError(f"hydra.sweeper.checkpoint_key is {key!r}: {error}") from error


def _title(app: App, config: DictConfig) -> str:
    """What the sweep is of: the experiment where one is chosen, else the app."""
    experiment = config.hydra.runtime.choices.get("experiment")
    return experiment.replace("/", "-") if isinstance(experiment, str) else app.name


def _refuse_retest(folder: SweepFolder) -> None:
    """Its configurations are those of its roster, and not what a searcher says."""
    folder.pull(folder.roster)
    if folder.roster.exists():
        raise ConfigError(
            f"{folder.place} is the retest of a sweep: go on with it, or extend it, by "
            f"caviar retest {folder.storage}"
        )


def _refuse_other_space(folder: SweepFolder, space: Space) -> None:
    changed = changes.of_space(_recorded_space(folder), space)
    if changed:
        raise ConfigError(
            f"{folder.place} was begun with another search space: {'; '.join(changed)}. A sweep "
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


_OF_ONE_SPACE = ("grid", "cmaes", "genetic", "annealing", "coarse_to_fine", "controller")
"""Searchers whose state is laid out over the space."""


def check_resumable(plan: Plan) -> None:
    """See that the sweep that is there is the one that is asked for, or can be extended to it.

    Raises:
        ConfigError: There is none, or it was begun otherwise.
    """
    folder = plan.folder
    if not folder.sweep_yaml.exists():
        raise ConfigError(f"there is no sweep in {folder.place} to go on with")
    record = Record.read(folder)
    now = make_record(plan)
    if record.searcher["name"] in _OF_ONE_SPACE or record.scheduler["name"] in POPULATION:
        _refuse_other_space(folder, plan.space)
    for key in ("metric", "mode", "searcher", "seed"):
        _refuse_other(folder, key, getattr(record, key), getattr(now, key))
    for key in ("fidelity", "objective_at", "warm_start"):
        _refuse_other(folder, key, record.options[key], now.options[key])
    for key, default in (("repeats", 1), ("repeats_key", None)):  # of late
        _refuse_other(folder, key, record.options.get(key, default), now.options[key])
    _check_scheduler(plan, record.scheduler, now.scheduler)
    _refuse_other_fixed(plan, record, now)


def _refuse_other_fixed(plan: Plan, was: Record, now: Record) -> None:
    """Trials of two configs cannot be ranked together.

    Where `max_t` grows, the app's own number of steps may become the same.
    """
    longer = now.scheduler.get("max_t") != was.scheduler.get("max_t")
    spaces = (Space.from_json(was.space), plan.space)
    for before, after in changes.of_fixed(was.overrides, now.overrides, spaces=spaces):
        if longer and after and after.partition("=")[2] == str(now.scheduler["max_t"]):
            continue
        raise ConfigError(
            f"{f'{after} is' if after else 'less is'} asked for, and {plan.folder.place} was begun "
            f"{f'with {before}' if before else 'without it'}: a sweep goes on as it was begun; "
            f"begin another for that, and let it learn from this one with hydra.sweeper.warm_start"
        )


def _refuse_other(folder: SweepFolder, key: str, was: Any, is_: Any) -> None:
    if was == is_:
        return
    part = key
    if isinstance(was, Mapping) and isinstance(is_, Mapping):  # name what is another alone
        option = next(o for o in {**was, **is_} if was.get(o) != is_.get(o))
        key = key if option == "name" else f"{key}.{option}"
        was, is_ = was.get(option), is_.get(option)
    raise ConfigError(
        f"hydra.sweeper.{key} is {is_}, and {folder.place} was begun with {was}: a sweep goes on "
        f"as it was begun; begin another for another {part}, and let it learn from this one with "
        f"hydra.sweeper.warm_start"
    )


def _check_scheduler(plan: Plan, was: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """A larger `max_t` extends the sweep, where the scheduler can take it in."""
    before, after = was.get("max_t"), now.get("max_t")
    _refuse_other(plan.folder, "scheduler", {"name": was["name"]}, {"name": now["name"]})
    if before != after and not plan.scheduler.extends:
        raise ConfigError(
            f"hydra.sweeper.scheduler.max_t is {after}, and {plan.folder.place} was begun with "
            f"{before}: {was['name']} cannot be extended; begin another sweep, and let it learn "
            f"from this one with hydra.sweeper.warm_start"
        )
    if before == after:
        _refuse_other(plan.folder, "scheduler", was, now)
        return
    _refuse_other(plan.folder, "scheduler", was, {**now, "max_t": before})
    if before is not None and after is not None and after < before:
        raise ConfigError(
            f"hydra.sweeper.scheduler.max_t is {after}, and {plan.folder.place} was begun with "
            f"{before}; it can only grow"
        )


def _one_or_all(values: list[str]) -> str | list[str]:
    return values[0] if len(values) == 1 else values


def make_record(plan: Plan) -> Record:
    """What sweep.yaml says of it."""
    settings = plan.settings
    return Record(
        name=plan.folder.name,
        app={**plan.app.to_json(), "argv": [masked(word) for word in plan.app.argv]},
        overrides=[masked(override) for override in plan.fixed],
        space=plan.space.to_json(),
        metric=_one_or_all([o.metric for o in settings.objective.all]),
        mode=_one_or_all([o.mode for o in settings.objective.all]),
        searcher=dict(settings.searcher),
        scheduler=dict(settings.scheduler),
        num_samples=plan.num_samples,
        seed=settings.seed,
        options={
            "max_concurrent_trials": settings.max_concurrent_trials,
            "time_budget_s": settings.time_budget_s,
            "resources": settings.resources,
            "objective_at": settings.objective.at,
            "scalarization": asdict(settings.scalarization),
            "fidelity": asdict(settings.fidelity) if settings.fidelity else None,
            "repeats": settings.repeats,
            "repeats_key": settings.repeats_key,
            "initial": [dict(point) for point in settings.initial],
            "warm_start": list(settings.warm_start),
            "budget": asdict(settings.budget),
            "tracking": [tracking.name for tracking in settings.tracking],
        },
        environment=environment(plan.app.folder),
    )
