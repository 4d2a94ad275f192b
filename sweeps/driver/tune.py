"""The one adapter to Ray Tune: lanes behind Tune's searcher and scheduler interfaces.

Tune places lanes on the cluster, restarts them where a process or node dies, and carries their
messages; the engine decides everything else. Tune asks `LaneSearcher` for further lanes while there
is work for them, and hands each message to `LaneScheduler`, whose answer is an order to the lane.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import tempfile
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.air.execution._internal import RayActorManager
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher
from ray.tune.stopper import Stopper

from sweeps.core.engine import Engine
from sweeps.core.segment import Segment
from sweeps.driver.inbox import Inbox
from sweeps.driver.lanes import Lanes, MakeJob
from sweeps.errors import SweepError
from sweeps.planning.compose import Base
from sweeps.planning.plan import Plan
from sweeps.planning.resources import Resources
from sweeps.schedulers import Done
from sweeps.storage.checkpoints import newest_left
from sweeps.worker.draining import PREEMPTED, Drains
from sweeps.worker.messages import Job, LaneSettings
from sweeps.worker.trackers.segment import identity
from sweeps.worker.trainable import Lane

# Ray Tune as a carrier of lanes: what it would write, print or catch by itself is off.
_ENVIRONMENT = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",
    "TUNE_MAX_PENDING_TRIALS_PG": "16",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}


class LaneSearcher(Searcher):
    """Offers Tune a lane while there is work that could use one."""

    def __init__(self, lanes: Lanes) -> None:
        super().__init__()
        self._lanes = lanes

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]
        """The config of a further lane, nothing for now, or the end."""
        if self._lanes.over():
            return Searcher.FINISHED
        number = self._lanes.open_lane(trial_id)
        return None if number is None else {"lane": number}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """A lane ended."""
        self._lanes.close_lane(trial_id)

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the journal is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore: the journal is the state."""


class LaneScheduler(TrialScheduler):
    """Hands lanes' messages to the engine and its orders to the lanes."""

    def __init__(self, lanes: Lanes) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._lanes = lanes
        self._carriers: dict[str, TuneTrial] = {}
        self._actors: dict[str, Any] = {}
        """By lane: the actor that spoke last. Tune forgets one that fails before it tells of it."""

    def kill_lanes(self, names: Collection[str] | None = None) -> None:
        """End these lanes, or all, where they stand: what they have not reported is lost."""
        for name in self._carriers if names is None else names:
            actor = self._carriers[name].temporary_state.ray_actor
            if actor is not None:
                ray.kill(actor)

    def on_trial_add(self, tune_controller: Any, trial: TuneTrial) -> None:
        """A lane was made."""
        self._carriers[trial.trial_id] = trial

    def on_trial_error(self, tune_controller: Any, trial: TuneTrial) -> None:
        """A lane's process died."""
        actor = self._actors.pop(trial.trial_id, None)
        if actor is not None:  # one that is only out of reach would train on
            ray.kill(actor)
        self._lanes.on_lane_lost(trial.trial_id, _last_error(trial))

    def on_trial_result(
        self, tune_controller: Any, trial: TuneTrial, result: Mapping[str, Any]
    ) -> str:
        """A lane has messages; whatever it answers reaches the lane before its next step."""
        actor = trial.temporary_state.ray_actor
        assert actor is not None, "a lane that spoke has an actor"
        self._actors[trial.trial_id] = actor
        order = self._lanes.on_messages(trial.trial_id, result["messages"], result["nodes"])
        if isinstance(order, Done):
            return TrialScheduler.STOP
        if order is not None:
            actor.assign.remote(order)
        return TrialScheduler.CONTINUE

    def on_trial_complete(
        self, tune_controller: Any, trial: TuneTrial, result: Mapping[str, Any]
    ) -> None:
        """A lane ended."""
        self._actors.pop(trial.trial_id, None)

    def on_trial_remove(self, tune_controller: Any, trial: TuneTrial) -> None:
        """A lane was taken away before it ran."""

    def choose_trial_to_run(self, tune_controller: Any) -> None:
        """Nothing: Tune starts pending lanes by itself."""

    def debug_string(self) -> str:
        """For Tune's own output, which is off."""
        return "caviar"


class LaneStopper(Stopper):
    """Ends Tune's loop when the sweep is over, and lanes whose trial's time is up."""

    def __init__(self, lanes: Lanes, scheduler: LaneScheduler) -> None:
        self._lanes = lanes
        self._scheduler = scheduler

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Lanes are ended by the scheduler."""
        return False

    def stop_all(self) -> bool:
        """Whether the sweep is over; a signal or an error does not wait for what still trains."""
        self._scheduler.kill_lanes(self._lanes.overdue())
        over = self._lanes.over()
        if self._lanes.interrupted() or self._lanes.error is not None:
            self._scheduler.kill_lanes()
        return over


_HEADER = "Failure # "


def _last_error(trial: TuneTrial) -> str:
    """What Tune noted of a lane's last error, in a file with all of them; empty without any."""
    if not trial.error_file:
        return ""
    noted = Path(trial.error_file).read_text(encoding="utf-8").splitlines()
    began = max((i for i, line in enumerate(noted) if line.startswith(_HEADER)), default=-1)
    return "\n".join(noted[began + 1 :])


def run_lanes(
    plan: Plan,
    engine: Engine,
    each: Resources,
    *,
    inbox: Inbox,
    interrupted: Callable[[], bool],
    check: Callable[[], None],
) -> str:
    """Let Ray Tune place and carry lanes until the sweep is over; `done`, or why it ends before.

    Args:
        plan: The sweep.
        engine: Its decisions, opened.
        each: What a lane gets.
        inbox: What others ask of it.
        interrupted: Asked between any two events: whether to end now.
        check: Called between any two events; raises SweepError where the sweep cannot go on.

    Raises:
        SweepError: The sweep cannot go on.
        KeyboardInterrupt: It was interrupted.
    """
    os.environ.update(_ENVIRONMENT)
    lanes = Lanes(
        engine,
        _job_maker(plan, engine),
        folder=plan.folder,
        max_lanes=plan.settings.max_concurrent_trials,
        inbox=inbox,
        interrupted=interrupted,
        check=check,
        draining=Drains(),
    )
    lane = tune.with_resources(
        tune.with_parameters(Lane, settings=_lane_settings(plan, engine, each)),
        tune.PlacementGroupFactory([{"CPU": each.cpus, "GPU": each.gpus}] * each.workers),
    )
    scheduler = LaneScheduler(lanes)
    with (
        tempfile.TemporaryDirectory(prefix="caviar-tune-") as scratch,
        _quiet_tune(),
        _surviving_lost_lanes(),
        _own_signals(),
    ):
        tune.Tuner(
            lane,
            tune_config=tune.TuneConfig(
                search_alg=LaneSearcher(lanes),
                scheduler=scheduler,
                num_samples=-1,
                reuse_actors=False,
            ),
            run_config=tune.RunConfig(
                name=plan.folder.name,
                storage_path=scratch,
                stop=LaneStopper(lanes, scheduler),
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=-1),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        ).fit()
    if lanes.error is not None:
        raise lanes.error
    if interrupted():
        raise KeyboardInterrupt
    if not lanes.finished:
        raise SweepError("Ray Tune ended before the sweep was over; resume it")
    return lanes.ending or "done"


def _job_maker(plan: Plan, engine: Engine) -> MakeJob:
    """What turns the engine's segments into jobs that a lane can run."""
    references: dict[str, Any] = {}

    def reference(base: Base) -> Any:
        if base.id not in references:
            references[base.id] = ray.put(base)
        return references[base.id]

    def make_job(segment: Segment, says_left: bool) -> Job:
        values = segment.values
        base = plan.composer.base(values)
        trial = engine.trials[segment.trial]
        best = trial.best
        folder = plan.folder.job(
            segment.trial,
            segment.run,
            rung=segment.rung,
            exploits=segment.exploits,
            life=segment.life,
        )
        return Job(
            trial=segment.trial,
            folder=folder,
            base=reference(base),
            base_id=base.id,
            patch=plan.composer.patch(values, also=plan.at_fidelity(segment.fidelity)),
            checkpoint=_checkpoint_of(plan, engine, segment),
            best=best.value if best and segment.rung is None else None,
            best_step=best.step if best and trial.best_is_here and segment.rung is None else None,
            says_left=says_left,
        )

    return make_job


def _checkpoint_of(plan: Plan, engine: Engine, segment: Segment) -> Path | None:
    """What a segment goes on from; of a trial that was over it may have gone, or all of them."""
    folder = plan.folder
    asked = segment.checkpoint
    if asked is not None and not folder.has_checkpoint(asked):
        asked = newest_left(folder.has_checkpoint, engine.trials[segment.trial])
    return folder.resolve(asked)


def _lane_settings(plan: Plan, engine: Engine, each: Resources) -> LaneSettings:
    name, created = plan.folder.name, engine.trials.created
    assert created is not None, "the journal is opened"
    group = name if plan.folder.retested is None else f"{plan.folder.retested} {name}"
    return LaneSettings(
        name=name,
        identity=identity(group, created),
        group=group,
        folder=plan.folder.path,
        app=plan.app,
        remote=plan.folder.remote,
        search_path=plan.search_path,
        objective=plan.settings.objective_of_a_segment,
        seed=plan.settings.seed,
        rungs=plan.rungs,
        judged_between=plan.scheduler.judges_between_rungs,
        by_rung=plan.settings.fidelity is not None,
        checkpoint_key=plan.settings.checkpoint_key,
        preload=plan.composer.target_modules(),
        repeating=plan.repeating,
        teardown_timeout_s=plan.settings.teardown_timeout_s,
        resources=each,
    )


@contextlib.contextmanager
def _surviving_lost_lanes() -> Iterator[None]:
    """Let Tune take whatever Ray says of a lane that is not there any more for its death.

    Of itself Tune (2.60) knows actor errors alone, and the whole loop ends on any other: on the
    `OutOfMemoryError` of a worker that Ray's memory monitor killed, for one.
    """
    manager: Any = RayActorManager
    take = manager._actor_task_failed

    def take_any(self: Any, tracked_actor_task: Any, exception: Exception) -> None:
        known = isinstance(exception, RayActorError | RayTaskError)
        if isinstance(exception, RayError) and not known:
            exception = RayActorError(error_msg=str(exception))
        if isinstance(exception, RayActorError) and exception.preempted:
            exception = RayActorError(error_msg=f"{PREEMPTED}\n{exception}")
        take(self, tracked_actor_task, exception)

    manager._actor_task_failed = take_any
    try:
        yield
    finally:
        manager._actor_task_failed = take


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Keep Tune (2.60) from taking SIGUSR1 for itself, and from ending as if all were done."""
    loop: Any = importlib.import_module("ray.tune.tune")
    catch = loop._setup_signal_catching
    loop._setup_signal_catching = threading.Event
    try:
        yield
    finally:
        loop._setup_signal_catching = catch


@contextlib.contextmanager
def _quiet_tune() -> Iterator[None]:
    logger = logging.getLogger("ray.tune")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
