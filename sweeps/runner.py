"""Run a sweep, or go on with one: from Hydra's multirun to the exported best model."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig
from rich.console import Console

from cluster import connect
from sweeps import preview
from sweeps.adopt import adopting
from sweeps.engine import Engine
from sweeps.errors import SweepError, headline
from sweeps.events import Asked, Event
from sweeps.folder import Record
from sweeps.journal import Journal, read_journal
from sweeps.lease import Lease
from sweeps.limits import Limits, check_grows
from sweeps.memory import ADVICE, OUT_OF_MEMORY
from sweeps.notices import notices, of_changed_space
from sweeps.plan import Plan, check_resumable, make_plan, make_record
from sweeps.progress import Progress
from sweeps.render import make_console
from sweeps.resources import describe_slots, resources_of_a_trial
from sweeps.retention import Retention
from sweeps.schedulers.brackets import Synchronous
from sweeps.state import Listener
from sweeps.status import Status
from sweeps.trials import Trials

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_INTERRUPT_S = 15.0
"""Where a signal ended Ray too, its client would wait a minute for it: end without it then."""


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
    if plan.settings.dry_run:
        preview.show(plan, make_console())
        return None
    return run(plan)


def run(plan: Plan) -> float | None:
    """Run a plan to its end, or go on with the sweep that it names; the best objective."""
    folder = plan.folder
    if plan.settings.resume:
        check_resumable(plan)
    else:
        folder.begin()
    try:
        with Lease(folder.lease) as lease, _log_to(folder.log):
            try:
                _drive(plan, lease, make_console(stderr=True))
            except KeyboardInterrupt:
                if folder.journal.exists():
                    _hand_back(plan, export=False)
                raise
            return _hand_back(plan, export=plan.settings.export)
    finally:
        folder.remove_if_empty()


def _drive(plan: Plan, lease: Lease, console: Console) -> None:
    """Open the journal, connect to Ray and run lanes until the sweep is over."""
    history = list(read_journal(plan.folder.journal)) if plan.folder.journal.exists() else []
    check_grows(plan.num_samples, sum(isinstance(event, Asked) for event in history))
    _announce(plan, history, console)
    known = [] if history else plan.known
    with _connected(console) as there, _noting_signals() as interrupted:
        lease.renew()
        from sweeps.tune import run_lanes

        each = resources_of_a_trial(plan.settings, there)
        slots = describe_slots(each, there, plan.settings.max_concurrent_trials)
        console.print(slots, style="dim", highlight=False)
        progress = Progress(
            plan.settings.objective,
            total=lambda: engine.total,
            max_t=max(plan.rungs, default=None),
            console=console,
            cannot_pause=_cannot_pause(plan),
        )
        _write_record(plan)
        retention = Retention(plan.folder, keep=plan.settings.keep_checkpoints)
        engine = _engine(plan, [retention, progress])
        engine.open(history, name=plan.folder.name, known=known)
        with _closing(engine) as close, progress:
            close(run_lanes(plan, engine, each, interrupted=interrupted))


@contextlib.contextmanager
def _connected(console: Console) -> Iterator[Mapping[str, float]]:
    """Ray's resources; its start takes seconds, and says so where someone watches."""
    with contextlib.ExitStack() as stack:
        with console.status("starting Ray") if console.is_terminal else contextlib.nullcontext():
            there = stack.enter_context(connect())
        yield there


def _cannot_pause(plan: Plan) -> tuple[int, str] | None:
    """The first rung, and what becomes of a trial that comes there without a checkpoint."""
    instead = plan.scheduler.without_checkpoint
    if instead is None or plan.settings.fidelity is not None:
        return None
    return plan.scheduler.rungs()[0], instead


def _write_record(plan: Plan) -> None:
    """Note what is asked; of a sweep that goes on, where it began stays as it was."""
    record = make_record(plan)
    if plan.settings.resume:
        record = replace(record, environment=Record.read(plan.folder).environment)
    record.write(plan.folder)


def _engine(plan: Plan, listeners: Iterable[Listener]) -> Engine:
    settings = plan.settings
    limit = settings.trial_time_limit_s
    return Engine(
        log=Journal(plan.folder.journal),
        objective=settings.objective,
        make_searcher=plan.searcher,
        scheduler=plan.scheduler,
        limits=Limits(
            num_samples=plan.num_samples,
            max_losses=settings.max_losses,
            max_failure_rate=settings.max_failure_rate,
            max_retries=settings.max_retries,
            retry_backoff_s=settings.retry_backoff_s,
            trial_time_limit_s=math.inf if limit is None else limit,
        ),
        space=plan.space,
        budget=settings.budget,
        fidelity=settings.fidelity,
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
    """Tables, the last screen, and the exported best model."""
    from sweeps.export import export_best
    from sweeps.results import write_tables
    from sweeps.summary import final_report

    sweep = write_tables(plan.folder)
    exported, failure = None, None
    if sweep.best is not None and sweep.best.checkpoint is not None and export:
        try:
            exported = export_best(plan.folder)
        except SweepError as error:
            failure = error
    final_report(sweep, console=make_console(), export=exported)
    if failure is not None:
        raise failure
    if sweep.best is None and sweep.is_over:
        raise SweepError(_nothing_usable(sweep.trials))
    return sweep.best.value if sweep.best is not None else None


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
    objective = plan.settings.objective
    verb = "going on with" if plan.settings.resume else "sweep"
    console.print(
        f"{verb} [bold]{plan.folder.name}[/]: {plan.num_samples} trials, {searcher}, {scheduler}, "
        f"{objective.mode} {objective.metric}, in {plan.folder.path}",
        highlight=False,
    )
    if isinstance(plan.scheduler, Synchronous) and plan.settings.fidelity is None:
        console.print(plan.scheduler.describe(), style="dim", highlight=False)
    for notice in (*notices(plan), *of_changed_space(plan, history)):
        console.print(notice, style="yellow", highlight=False, markup=False)


@contextlib.contextmanager
def _noting_signals() -> Iterator[Callable[[], bool]]:
    """Note the first SIGINT or SIGTERM, to end where nothing is half done; a second ends at once.

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


@contextlib.contextmanager
def _log_to(path: Path) -> Iterator[None]:
    """Keep what Optuna and we log in the sweep's folder, off the screen."""
    handler = logging.FileHandler(path, delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    loggers = [logging.getLogger(name) for name in ("sweeps", "optuna")]
    before = [(logger.handlers, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.handlers, logger.propagate = [handler], False
    try:
        yield
    finally:
        for logger, (handlers, propagate) in zip(loggers, before, strict=True):
            logger.handlers, logger.propagate = handlers, propagate
        handler.close()
