"""Run a sweep, or go on with one: from Hydra's multirun to the exported best model."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig
from rich.console import Console

from cluster import connect
from cluster.bucket import BucketError
from cluster.capacity import Capacity
from sweeps.core.bounds import said
from sweeps.core.engine import Engine
from sweeps.core.limits import Limits, check_grows
from sweeps.core.memory import ADVICE, OUT_OF_MEMORY
from sweeps.core.state import EventLog, Listener
from sweeps.core.steering import Steering, no_points
from sweeps.core.tracking import check_installed
from sweeps.driver.inbox import Inbox
from sweeps.driver.notify import notifying
from sweeps.driver.progress import Progress
from sweeps.driver.retention import Retention
from sweeps.driver.shared_storage import check_storage
from sweeps.driver.vigil import end_process, watching_head
from sweeps.errors import SweepError, headline
from sweeps.journal.events import Asked, Event, Opened
from sweeps.journal.segments import has_journal, open_journal, read_events
from sweeps.journal.status import Status
from sweeps.journal.steered import Steered
from sweeps.journal.trials import Trials
from sweeps.planning import preview
from sweeps.planning.notices import notices, of_changed_space
from sweeps.planning.plan import Plan, check_resumable, make_plan, make_record
from sweeps.planning.resources import describe_slots, is_auto, resources_of_a_trial
from sweeps.provenance.driver import begun, gone_on
from sweeps.render import make_console
from sweeps.schedulers.brackets import Synchronous
from sweeps.storage.disk import is_refusal, refusal
from sweeps.storage.folder import Record, SweepFolder
from sweeps.storage.lease import Lease
from sweeps.tracking.feeds import following
from sweeps.worker.adopt import adopting

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
"""SIGUSR1 is how Slurm warns of a job's time limit."""

_NODES_EVERY_S = 0.5
T = TypeVar("T")

_INTERRUPT_S = 15.0
"""Where a signal ended Ray too, its client would wait a minute for it: end without it then."""


_TAKER: ContextVar[Callable[[Plan], object] | None] = ContextVar("taker", default=None)


@contextlib.contextmanager
def handing_over(take: Callable[[Plan], object]) -> Iterator[None]:
    """Within it a sweep is planned, with all checks, and handed over in the place of being run."""
    before = _TAKER.set(take)
    try:
        yield
    finally:
        _TAKER.reset(before)


@contextlib.contextmanager
def planning() -> Iterator[list[Plan]]:
    """Within it a sweep is planned and handed over, with all checks; nothing is run."""
    plans: list[Plan] = []
    with handing_over(plans.append):
        yield plans


def run_from_hydra(
    *,
    task_function: TaskFunction,
    hydra_context: HydraContext,
    config: DictConfig,
    options: Mapping[str, Any],
    arguments: list[str],
) -> float | None:
    """Run the sweep of a Hydra multirun; the best objective.

    Raises:
        ConfigError: Something in the config is wrong; nothing was started.
        SweepError: The sweep ended without a result that can be used.
        KeyboardInterrupt: It was interrupted; what it has is kept.
    """
    plan = make_plan(task_function, hydra_context, config, options, arguments)
    if (take := _TAKER.get()) is not None:
        take(plan)
        return None
    check_installed(plan.settings.tracking)
    if plan.settings.dry_run:
        preview.show(plan, make_console())
        return None
    return run(plan)


def run(plan: Plan) -> float | None:
    """Run a plan to its end, or go on with the sweep that it names; the best objective."""
    return run_between(plan, begin=_announce, hand_back=_hand_back)


def run_between(
    plan: Plan,
    *,
    begin: Callable[[Plan, Sequence[Event], Console], None],
    hand_back: Callable[..., T],
) -> T:
    """Run a plan with other first and last words.

    Args:
        plan: To run to its end, or to go on with.
        begin: Says what begins, given the plan, the journal so far and where to. The lease is held,
            and nothing is started yet.
        hand_back: What to make of what came, given the plan and whether to `export`; its answer.
            Asked too where the run was interrupted.
    """
    folder = plan.folder
    if plan.settings.resume:
        check_resumable(plan)
    else:
        folder.begin()
    try:
        console = make_console(stderr=True)
        with (
            _telling_refusals(folder.path),
            Lease(folder.lease) as lease,
            _log_to(folder),
            notifying(plan, console) as notifier,
        ):
            try:
                _drive(plan, lease, console, begin, [] if notifier is None else [notifier])
            except KeyboardInterrupt:
                if has_journal(folder):
                    hand_back(plan, export=False)
                raise
            except SweepError:
                _keep_results(plan, lease)
                raise
            return hand_back(plan, export=plan.settings.export)
    finally:
        folder.remove_if_empty()


def _drive(
    plan: Plan,
    lease: Lease,
    console: Console,
    begin: Callable[..., None],
    listeners: Sequence[Listener],
) -> None:
    """Open the journal, connect to Ray and run lanes until the sweep is over."""
    history = list(read_events(plan.folder)) if has_journal(plan.folder) else []
    check_grows(_total(plan, history), sum(isinstance(event, Asked) for event in history))
    begin(plan, history, console)
    known = [] if history else plan.known
    with (
        following(plan, console) as feeds,
        _connected(console) as there,
        _noting_signals() as signalled,
        watching_head(_head(), end=end_process) as check_head,
    ):
        lease.renew()
        from sweeps.driver.incumbent import BestExperiment
        from sweeps.driver.tune import run_lanes
        from sweeps.results.live import LiveTables

        there = _with_nodes(plan, there, console, signalled)
        each = resources_of_a_trial(plan.settings, there)
        check_storage(plan.folder, there, console)
        slots = describe_slots(each, there, plan.settings.max_concurrent_trials)
        console.print(slots, style="dim", highlight=False)
        progress = Progress(
            plan.settings.objective,
            total=lambda: engine.total,
            max_t=max(plan.rungs, default=None),
            console=console,
            cannot_pause=_cannot_pause(plan),
            repeats=plan.settings.repeats,
        )
        _write_record(plan, run=1 + sum(isinstance(event, Opened) for event in history))
        feeds.start(len(history))
        retention = Retention(plan.folder, keep=plan.settings.keep_checkpoints)
        with (
            contextlib.closing(open_journal(plan.folder, check=lease.check)) as journal,
            LiveTables(plan.folder, history, check=lease.check) as tables,
            BestExperiment(plan, check=lease.check) as best,
        ):
            followers: list[Listener] = [retention, progress, tables, feeds, best, *listeners]
            engine = _engine(plan, journal, followers)
            engine.open(history, name=plan.folder.name, known=known)
            with _closing(engine) as close, progress, Inbox(plan.folder) as inbox:
                close(
                    run_lanes(
                        plan, engine, each, inbox=inbox, interrupted=signalled, check=check_head
                    )
                )


@contextlib.contextmanager
def _connected(console: Console) -> Iterator[Capacity]:
    """What Ray has; its start takes seconds, and says so where someone watches."""
    with contextlib.ExitStack() as stack:
        with console.status("starting Ray") if console.is_terminal else contextlib.nullcontext():
            there = stack.enter_context(connect())
        yield there


def _with_nodes(
    plan: Plan, there: Capacity, console: Console, interrupted: Callable[[], bool]
) -> Capacity:
    """Where the nodes decide what a trial gets, wait for the first that takes trials.

    What is asked for in so many words Ray waits for itself, and an autoscaler adds it.
    """
    is_fixed = there.autoscales or not there.can_grow
    if there.has_slots or is_fixed or not is_auto(plan.settings):
        return there
    console.print(
        "no node of the cluster takes trials yet: waiting for the first, to see what each trial "
        "can get (hydra.sweeper.resources says it beforehand)",
        style="yellow",
        highlight=False,
    )
    while not interrupted():
        time.sleep(_NODES_EVERY_S)
        now = Capacity.now(can_grow=there.can_grow)
        if now.has_slots:
            return now
    raise KeyboardInterrupt


def _cannot_pause(plan: Plan) -> tuple[int, str] | None:
    """The first rung, and what becomes of a trial that comes there without a checkpoint."""
    if plan.repeating is not None and (first := plan.repeating.turns.after(0)) is not None:
        return first, "is judged only while the last of its repeats trains"
    instead = plan.scheduler.without_checkpoint
    if instead is None or plan.settings.fidelity is not None:
        return None
    return plan.scheduler.rungs()[0], instead


def _write_record(plan: Plan, *, run: int) -> None:
    """Note what is asked; of a sweep that goes on, where it began stays as it was."""
    record, folder = make_record(plan), plan.folder
    now = record.environment
    if plan.settings.resume:
        known = gone_on(Record.read(folder).environment, now, folder, run)
    else:
        known = begun(now, folder)
    replace(record, environment=known).write(folder)


def _limits(plan: Plan) -> Limits:
    settings, limit = plan.settings, plan.settings.trial_time_limit_s
    return Limits(
        num_samples=plan.num_samples,
        time_budget_s=settings.time_budget_s,
        max_losses=settings.max_losses,
        max_failure_rate=settings.max_failure_rate,
        max_retries=settings.max_retries,
        retry_backoff_s=settings.retry_backoff_s,
        trial_time_limit_s=math.inf if limit is None else limit,
        teardown_timeout_s=settings.teardown_timeout_s,
    )


def _total(plan: Plan, history: Iterable[Event]) -> int:
    """How many trials there are to be, with what was asked of the sweep as it ran."""
    return Steered(history).total(plan.num_samples, said(_limits(plan), plan.settings.budget))


def _engine(plan: Plan, journal: EventLog, listeners: Iterable[Listener]) -> Engine:
    settings = plan.settings
    return Engine(
        log=journal,
        objective=settings.objective,
        make_searcher=plan.searcher,
        scheduler=plan.scheduler,
        limits=_limits(plan),
        space=plan.space,
        budget=settings.budget,
        fidelity=settings.fidelity,
        steering=Steering(
            budget=settings.budget,
            seed=settings.seed,
            no_points=no_points(settings.searcher["name"], plan.folder),
        ),
        adopt=adopting(plan.folder),
        listeners=listeners,
    )


@contextlib.contextmanager
def _closing(engine: Engine) -> Iterator[Callable[[str], None]]:
    """Close the journal whatever happens; an error on the way is not hidden by one of closing."""
    try:
        yield engine.close
    except BaseException as error:
        with contextlib.suppress(SweepError):
            engine.close("interrupted" if isinstance(error, KeyboardInterrupt) else "failed")
        raise


# The end


def _hand_back(plan: Plan, *, export: bool) -> float | None:
    """Tables, the exported best model, the best as an experiment file, and the last screen."""
    from sweeps.driver.incumbent import run_again
    from sweeps.driver.summary import final_report
    from sweeps.export import export_best
    from sweeps.results import write_tables

    sweep = write_tables(plan.folder)
    exported, failure = None, None
    if sweep.best is not None and sweep.best.checkpoint is not None and export:
        try:
            exported = export_best(plan.folder)
        except SweepError as error:
            failure = error
    again = run_again(plan, sweep)
    final_report(sweep, console=make_console(), export=exported, again=again)
    if failure is not None:
        raise failure
    if sweep.best is None and sweep.is_over:
        raise SweepError(_nothing_usable(sweep.trials))
    return sweep.best.value if sweep.best is not None else None


def _keep_results(plan: Plan, lease: Lease) -> None:
    """Write what is known of a sweep that ends with an error, where that lets it be written."""
    from sweeps.driver.incumbent import run_again
    from sweeps.results import write_tables

    folder = plan.folder.impatient
    with contextlib.suppress(SweepError, BucketError, OSError):  # what ended the sweep is told
        lease.check()
        if has_journal(folder):
            run_again(replace(plan, folder=folder), write_tables(folder))


def _nothing_usable(trials: Trials) -> str:
    failed = trials.counts[Status.FAILED]
    if all(trial.cause == OUT_OF_MEMORY for trial in trials):
        return f"all {len(trials)} trials ran out of memory: {ADVICE}"
    if failed and failed == len(trials):
        return f"all {failed} trials failed; the first: {headline(trials[0].error)}"
    return f"none of {len(trials)} trials gave a finite {trials.objective.metric}"


# Surroundings


def _announce(plan: Plan, history: Sequence[Event], console: Console) -> None:
    scheduler, searcher = plan.settings.scheduler["name"], plan.settings.searcher["name"]
    objectives = ", ".join(f"{o.mode} {o.metric}" for o in plan.settings.objective.all)
    verb = "going on with" if plan.settings.resume else "sweep"
    console.print(
        f"{verb} [bold]{plan.folder.name}[/]: {_total(plan, history)} trials, {searcher}, "
        f"{scheduler}, "
        f"{objectives}, in {plan.folder.place}",
        highlight=False,
    )
    if isinstance(plan.scheduler, Synchronous) and plan.settings.fidelity is None:
        console.print(plan.scheduler.describe(), style="dim", highlight=False)
    for notice in (*notices(plan), *of_changed_space(plan, history)):
        console.print(notice, style="yellow", highlight=False, markup=False)


@contextlib.contextmanager
def _noting_signals() -> Iterator[Callable[[], bool]]:
    """Note the first signal, to end where nothing is half done; a second ends at once.

    Yields:
        Whether one came.
    """
    noted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield noted.is_set
        return

    last_resort = threading.Timer(_INTERRUPT_S, os._exit, [130])
    last_resort.daemon = True

    def note(signum: int, frame: Any) -> None:
        if noted.is_set():
            raise KeyboardInterrupt
        noted.set()
        last_resort.start()

    before = {number: signal.signal(number, note) for number in _SIGNALS}
    try:
        yield noted.is_set
    finally:
        last_resort.cancel()
        for number, handler in before.items():
            signal.signal(number, handler)


def _head() -> str:
    import ray

    return str(ray.get_runtime_context().gcs_address)


@contextlib.contextmanager
def _telling_refusals(folder: Path) -> Iterator[None]:
    """Let storage that is full, read-only or gone end a sweep with one message.

    Raises:
        SweepError: It is.
    """
    try:
        yield
    except OSError as error:
        if not is_refusal(error):
            raise
        raise refusal(Path(error.filename or folder), error) from error


class _LogFile(logging.FileHandler):
    """Storage that takes nothing shows in the journal, not as a traceback of the log's."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, if it can be."""
        with contextlib.suppress(OSError):
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Nothing."""


@contextlib.contextmanager
def _log_to(folder: SweepFolder) -> Iterator[None]:
    """Keep what Optuna, Ray and we log in the sweep's folder, off the screen."""
    folder.pull(folder.log)
    handler = _LogFile(folder.log, delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    loggers = [logging.getLogger(name) for name in ("sweeps", "cluster", "optuna")]
    before = [(logger.handlers, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.handlers, logger.propagate = [handler], False
    try:
        yield
    finally:
        for logger, (handlers, propagate) in zip(loggers, before, strict=True):
            logger.handlers, logger.propagate = handlers, propagate
        handler.close()
        if folder.log.exists():
            with contextlib.suppress(BucketError):  # what ended the sweep is told already
                folder.impatient.push(folder.log)
