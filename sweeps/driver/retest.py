"""Train a sweep's best configurations again with new seeds: a sweep of its own, within the sweep's
folder, over a fixed list of points. So it runs, survives and goes on as every sweep does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rich.console import Console

from sweeps.core.budget import Budget
from sweeps.driver.runner import handing_over, run_between
from sweeps.errors import ConfigError, SweepError
from sweeps.journal.events import Event
from sweeps.planning.launch import Program, enter_recorded, resume_arguments, run
from sweeps.planning.plan import Plan
from sweeps.results import SweepResults, load_sweep, write_tables
from sweeps.retest.choose import best_entries, generator_seed, new_seeds, space_of
from sweeps.retest.results import Retest, read_retest
from sweeps.retest.roster import Roster
from sweeps.schedulers import make_scheduler
from sweeps.secrets import is_masked
from sweeps.space.grammar import split_key
from sweeps.space.literals import literal
from sweeps.storage.folder import Record, SweepFolder

DEFAULT_TOP, DEFAULT_SEEDS = 5, 5
DEFAULT_KEY = "seed"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the user asked of a retest; None where he left it open."""

    top: int | None = None
    seeds: int | None = None
    seed_key: str | None = None
    cpus: float | None = None
    gpus: float | None = None
    concurrency: int | None = None


def retest(folder: SweepFolder, asked: Asked, *, overrides: Sequence[str] = ()) -> Retest:
    """Begin a sweep's retest, go on with it, or extend it; what it found.

    A run that ended is never trained again, whatever ended the retest; more configurations or seeds
    are added to those that are there.

    Args:
        folder: The sweep's.
        asked: How many configurations and seeds, and on what.
        overrides: Of the app, for what the sweep's record does not keep: secrets.

    Raises:
        ConfigError: What is asked for does not fit the sweep or the app.
        SweepError: There is nothing to retest, or no run gave a value.
        SystemExit: The app or its sweep ended so.
    """
    folder.pull(folder.roster)
    if folder.roster.exists():
        raise ConfigError(
            f"{folder.place} is itself a retest: for more seeds or configurations, "
            f"caviar retest {folder.storage} with a larger --seeds or --top"
        )
    sweep = load_sweep(folder)
    roster = _roster(sweep, asked, Roster.read(folder.retests))
    before = read_retest(folder)
    if before is None or not before.is_done or before.roster != roster:
        _run(sweep, roster, asked, overrides)
    found = read_retest(folder)
    if found is None:
        raise SweepError(f"{folder.place} was not retested: its app did not begin a sweep")
    return found


def _roster(sweep: SweepResults, asked: Asked, there: Roster | None) -> Roster:
    """What is to be trained in all: what there is already, and what is asked for besides."""
    if there is not None and asked.seed_key not in (None, there.seed_key):
        raise ConfigError(
            f"--seed-key is {asked.seed_key}, and {sweep.folder.retests.place} was begun with "
            f"{there.seed_key or 'none'}: delete that folder to begin it anew"
        )
    key = asked.seed_key or (there.seed_key if there else None) or DEFAULT_KEY
    top = asked.top or (None if there else DEFAULT_TOP)
    seeds = asked.seeds or (len(there.seeds) if there else DEFAULT_SEEDS)
    if there is None:
        there = Roster(
            sweep=sweep.record.name, seed_key=asked.seed_key, entries=(), seeds=(), runs=()
        )
    entries = best_entries(sweep, top, seed_key=key) if top else []
    return there.grown(entries, new_seeds(sweep.record.seed, seeds))


def _run(sweep: SweepResults, roster: Roster, asked: Asked, overrides: Sequence[str]) -> None:
    """Run the app's own command line, and in the place of its sweep the retest."""
    record = sweep.record
    _refuse_changes(record, overrides)
    arguments = resume_arguments(sweep.folder, record, overrides)

    def take(plan: Plan) -> None:
        whole = roster if roster.seed_key else replace(roster, seed_key=_seed_key(plan, sweep))
        run_between(
            _planned(plan, sweep, whole, asked),
            begin=lambda plan, history, console: _begin(plan, sweep, whole, history, console),
            hand_back=lambda plan, export: write_tables(plan.folder),
        )

    with handing_over(take):
        run(Program.of(enter_recorded(record)), arguments)


def _refuse_changes(record: Record, overrides: Sequence[str]) -> None:
    """A configuration is trained as it was: only what the record has masked can be given."""
    masked = {o.partition("=")[0] for o in record.app["argv"] if is_masked(o)}
    for override in overrides:
        if override.partition("=")[0] not in masked:
            raise ConfigError(
                f"{override} would change what was swept: a retest trains configurations as the "
                f"sweep did, and takes overrides only for secrets that its record left out"
                + (f": {', '.join(sorted(masked))}" if masked else "; it left out none")
            )


def _seed_key(plan: Plan, sweep: SweepResults) -> str | None:
    """The app's own, if its config has one of that name."""
    for parameter in sweep.space.parameters:
        if parameter.name == DEFAULT_KEY:
            return parameter.key
    space = plan.space
    values = space.values(space.draw(lambda p: p.from_value(p.domain.samples[0])))
    return DEFAULT_KEY if DEFAULT_KEY in plan.composer.base(values).config() else None


def _planned(plan: Plan, sweep: SweepResults, roster: Roster, asked: Asked) -> Plan:
    """The sweep's plan turned into its retest's: the same app, to the end, at other points."""
    folder = sweep.folder.retests
    folder.pull(folder.sweep_yaml)
    settings, fidelity, points = plan.settings, plan.settings.fidelity, roster.points()
    fixed = list(plan.fixed)
    if fidelity is not None:
        fixed.append(f"{fidelity.name}={literal(fidelity.max)}")
    apart = settings.repeats_key in (None, roster.seed_key)  # its runs are the repeats
    space = space_of(sweep, roster)
    scheduler = _to_the_end(None if fidelity is not None else plan.scheduler.max_t)
    options = dict(scheduler)
    settings = replace(
        settings,
        searcher={"name": "random"},
        scheduler=scheduler,
        seed=generator_seed(sweep.record.seed),
        num_samples=len(points),
        max_concurrent_trials=asked.concurrency or settings.max_concurrent_trials,
        time_budget_s=None,
        budget=Budget(),
        fidelity=None,
        repeats=1 if apart else settings.repeats,
        repeats_key=None if apart else settings.repeats_key,
        initial=points,
        warm_start=(),
        max_failure_rate=1.0,
        keep_checkpoints=len(points),
        name=folder.name,
        resources=_resources(settings.resources, asked),
        export=False,
        resume=folder.sweep_yaml.exists(),
    )
    planned = replace(
        plan,
        settings=settings,
        space=space,
        fixed=fixed,
        composer=plan.composer.over(fixed, space),
        scheduler=make_scheduler(options.pop("name"), space=space, seed=settings.seed, **options),
        folder=folder,
    )
    _check_composes(planned, roster)
    return planned


def _to_the_end(max_t: int | None) -> dict[str, Any]:
    """A scheduler that stops nothing before its last step, which it knows where the sweep's did."""
    if max_t is None:
        return {"name": "none"}
    return {"name": "asha_stop", "max_t": max_t, "grace_period": max_t}


def _resources(given: str | Mapping[str, float], asked: Asked) -> str | Mapping[str, float]:
    new = {"cpus": asked.cpus, "gpus": asked.gpus}
    changed = {name: value for name, value in new.items() if value is not None}
    if not changed:
        return given
    return {**({} if isinstance(given, str) else given), **changed}


def _check_composes(plan: Plan, roster: Roster) -> None:
    try:
        plan.composer.validate()
    except ConfigError as error:
        name = split_key(roster.seed_key or "")[1]
        if not str(error).startswith(f"{name} is not in the app's config"):
            raise
        raise ConfigError(f"--seed-key is {roster.seed_key!r}: {error}") from error


def _begin(
    plan: Plan, sweep: SweepResults, roster: Roster, history: Sequence[Event], console: Console
) -> None:
    """Note what is to be trained, now that nobody else does, and say it."""
    roster.write(plan.folder)
    objective = plan.settings.objective
    verb = "going on with the retest" if history else "retest"
    console.print(
        f"{verb} of [bold]{roster.sweep}[/]: {len(roster.entries)} configurations, each with "
        f"{len(roster.seeds)} seeds, {objective.mode} {objective.metric}, in {plan.folder.place}",
    )
    if sweep.trials.closed is None:
        console.print(
            f"{sweep.folder.name} has not ended: these are its best so far; a later --top adds "
            f"what is best then",
            style="yellow",
        )
    if roster.seed_key is None:
        console.print(
            f"the app's config has no key {DEFAULT_KEY!r}: runs of a configuration differ in what "
            f"the generators of Python, NumPy and torch give, seeded for each run; name the app's "
            f"own key with --seed-key",
            style="yellow",
        )
