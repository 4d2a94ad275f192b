"""What trains in a process of a sweep: the app, imported once, and one segment after another."""

from __future__ import annotations

import contextlib
import gc
import os
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import ray
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf

from cluster.bucket import BucketError
from sweeps import session
from sweeps.core.memory import OUT_OF_MEMORY, ran_out_of_memory
from sweeps.core.repeats import repeat_seed
from sweeps.planning.app import load_app
from sweeps.planning.compose import Base, apply
from sweeps.planning.relocate import Move
from sweeps.searchers.base import trial_seed
from sweeps.secrets import masked_error
from sweeps.storage.disk import STORAGE, cannot_be_written
from sweeps.storage.folder import SweepFolder
from sweeps.worker.continuing import continued
from sweeps.worker.job import JobRunner
from sweeps.worker.messages import Job, LaneSettings, Raised
from sweeps.worker.process_group import World, process_group
from sweeps.worker.recorder import Recorder
from sweeps.worker.slate import preload, trial_environment
from sweeps.worker.stage import Staged, staged
from sweeps.worker.trackers import attend
from sweeps.worker.trackers.segment import AppRun


class Worker:
    """The app in this process."""

    def __init__(self, settings: LaneSettings) -> None:
        """Import the app, and what its trials will need."""
        self._settings = settings
        _clear_environment(gpus=settings.resources.gpus)
        move = Move.to_this_node(settings.app)
        app, search_path = move.app(settings.app), move.search_path(settings.search_path)
        attend()
        task, self._module = load_app(app)
        preload(settings.preload)
        self._runner = JobRunner(app, task, search_path, move)
        folder = SweepFolder(settings.folder, settings.remote)
        self._recorder = Recorder(folder, settings.resources)
        self._bases: dict[str, Base] = {}
        self._config: DictConfig | None = None
        """Of the segment that came last."""
        _spare_the_collector()

    def train(
        self, job: Job, send: session.Send, world: World | None = None, store: Any = None
    ) -> Any:
        """Run the task function for a segment; what it returns.

        Args:
            job: The segment.
            send: Hands a report over, and waits for the decision.
            world: Where it is one of several ranks.
            store: Where the ranks meet, if this is rank 0.

        Raises:
            TrialEnded: The decision was to end.
        """
        settings, rank = self._settings, world.rank if world else 0
        config = apply(
            self._base(job),
            job.patch,
            job_num=job.trial,
            job_id=f"{settings.name}_{job.trial}",
            main=self._module,
        )
        self._config = config
        seed, data = self._seed(job), dict[str, str]()
        with (
            staged(job, send, settings.remote) as files,
            self._recording(files, seed, data, rank) as recorded_send,
            _session(
                session.Session(
                    job_folder=files.folder,
                    checkpoint=files.checkpoint,
                    send=recorded_send,
                    keeper=files.keeper,
                    objective=settings.objective,
                    rungs=settings.rungs if job.rungs is None else job.rungs,
                    judged_between=settings.judged_between,
                    always=settings.by_rung,
                    best=job.best,
                    best_step=job.best_step,
                    rank=rank,
                    data=data,
                )
            ),
            process_group(world, store) if world else contextlib.nullcontext(),
        ):
            return self._runner.run(
                config,
                files.folder,
                seed=seed,
                rank=rank,
                run=None if rank else self._run(job),
                continued=continued(settings.checkpoint_key, files.checkpoint),
            )

    def _run(self, job: Job) -> AppRun:
        """The run of the app's own tracker."""
        settings = self._settings
        _, _, _, *parts = job.folder.relative_to(settings.folder).parts  # trials/N/RUN
        return AppRun.of_trial(settings.identity, settings.group, job.trial, *parts)

    def raised(self, job: Job, error: BaseException) -> Raised:
        """What to tell the driver of a task that raised, the config's secrets kept."""
        config = {} if self._config is None else OmegaConf.to_container(self._config)
        text = masked_error(traceback_of(error), cast(dict[str, Any], config))
        return Raised(trial=job.trial, error=text, cause=_cause(error, job.folder))

    def _seed(self, job: Job) -> int:
        """Of the generators."""
        if job.repeat is None:
            return trial_seed(self._settings.seed, job.trial)
        return repeat_seed(self._settings.seed, job.trial, job.repeat)

    @contextlib.contextmanager
    def _recording(
        self, files: Staged, seed: int, data: dict[str, str], rank: int
    ) -> Iterator[session.Send]:
        """Note what the segment is trained on, by the first of its ranks."""
        if rank:
            yield files.send
            return
        segment = self._recorder.segment(files.folder, seed=seed, data=data)
        try:
            yield segment.before(files.send)
        finally:
            segment.end()

    def _base(self, job: Job) -> Base:
        if job.base_id not in self._bases:
            self._bases[job.base_id] = ray.get(job.base)
        return self._bases[job.base_id]


@contextlib.contextmanager
def _session(entered: session.Session) -> Iterator[None]:
    session.begin(entered)
    try:
        yield
    finally:
        session.end()


def traceback_of(error: BaseException) -> str:
    """An exception as Python prints it, the environment's secrets kept."""
    return masked_error("".join(traceback.format_exception(error)), os.environ)


def _cause(error: BaseException, folder: Path) -> str:
    """Whether storage or memory ran out, or no other trial can import it either."""
    if isinstance(error, BucketError) or cannot_be_written(folder, error):
        return STORAGE
    if ran_out_of_memory(error):
        return OUT_OF_MEMORY
    missing = isinstance(error, InstantiationException) and "locating target" in str(error)
    return "import" if missing or isinstance(error, ImportError) else "error"


def _clear_environment(*, gpus: float) -> None:
    """Keep from this process what no trial should see."""
    clean = trial_environment(os.environ, gpus=gpus)
    for name in os.environ.keys() - clean.keys():
        del os.environ[name]
    os.environ.update(clean)


def _spare_the_collector() -> None:
    """Keep what is loaded for good out of every later collection: a fifth of a short segment."""
    gc.collect()
    gc.freeze()
