"""The process that trains a trial again: one leg after another, as a lane does, but without Ray.

Its standard input tells what to do; on its standard output it says what comes of that, a line of
JSON a word. It ends when its standard input does, so that it never outlives who started it. Of a
trial in several ranks this process is the first, and starts the others.
"""

from __future__ import annotations

import contextlib
import gc
import os
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from omegaconf import DictConfig

from sweeps import session
from sweeps.errors import ConfigError
from sweeps.journal.legs import Leg
from sweeps.journal.status import Decision
from sweeps.planning.app import load_app
from sweeps.planning.compose import target_modules
from sweeps.planning.relocate import Move
from sweeps.planning.resources import Resources
from sweeps.rerun.config import Recorded, make_config
from sweeps.rerun.spec import (
    Composed,
    Raised,
    Refused,
    Report,
    Returned,
    Spec,
    Word,
    command,
    to_line,
)
from sweeps.searchers.base import trial_seed
from sweeps.storage.folder import SweepFolder
from sweeps.worker.continuing import continued
from sweeps.worker.gathered import Gathered, returned_metrics
from sweeps.worker.job import JobRunner
from sweeps.worker.process_group import Seat, World, hosting, process_group, release_devices, worlds
from sweeps.worker.recorder import Recorder
from sweeps.worker.slate import preload
from sweeps.worker.trackers import attend
from sweeps.worker.trackers.segment import AppRun, identity

_HERE = "127.0.0.1"
_UNWIND_S = 30.0
"""What another rank may take to end when its leg does."""


def main() -> None:
    """Train all; with a leg, a rank, a port and a step, that rank's part of that leg."""
    spec = Spec.from_line(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with _channel() as channel:
        rerun = _Rerun(spec, lambda word: _say(channel, word))
        if part := sys.argv[1:]:
            rerun.train_part(*map(int, part))
        else:
            rerun.train()


def _end_with_parent() -> None:
    while os.read(0, 1024):  # not `sys.stdin`: its lock would be held when the interpreter ends
        pass
    os._exit(1)


@contextlib.contextmanager
def _channel() -> Iterator[TextIO]:
    """Keep standard output for words; what anything else prints goes to standard error."""
    sys.stdout.flush()
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as channel:
        os.dup2(2, 1)
        yield channel


def _say(channel: TextIO, word: Word) -> None:
    channel.write(to_line(word))
    channel.flush()


class _Rerun:
    """The app in this process, and what of its trial has been trained."""

    def __init__(self, spec: Spec, say: Callable[[Word], None]) -> None:
        self._spec, self._say = spec, say
        self._created, self._began = time.time(), time.monotonic()
        move = Move(old=spec.root or "", new=spec.app.root or "")
        attend()
        task, _ = load_app(spec.app)
        recorded = [Recorded.read(Path(folder)) for folder in spec.configs]
        self._recorded = recorded
        self._search_path = recorded[0].search_path(move)
        preload(target_modules([each.config for each in recorded]))
        self._runner = JobRunner(spec.app, task, self._search_path, move)
        resources = Resources(workers=spec.workers, cpus=spec.cpus, gpus=spec.gpus)
        self._recorder = Recorder(SweepFolder(Path(spec.out)), resources)
        self._over = False
        """Whether nothing can follow what was trained."""
        self._best: tuple[str, float | None, int | None] = ("", None, None)
        gc.collect()
        gc.freeze()

    def train(self) -> None:
        """All legs, first to last."""
        checkpoint: Path | None = None
        for number, leg in enumerate(self._spec.legs):
            checkpoint = self._train_leg(number, leg, checkpoint)
            if self._over:
                return

    def train_part(self, number: int, rank: int, port: int, begin: int) -> None:
        """One rank's part of a leg."""
        leg = self._spec.legs[number]
        world = self._worlds(number, port)[rank]
        place = Path(self._spec.out) / self._spec.legs[max(number - 1, 0)].job / "checkpoints"
        checkpoint = place / f"{begin:06d}" if begin else None
        gathered = None if leg.rung is None else Gathered(self._spec.objective)
        sent = _Sent(leg, lambda *report: None, gathered)
        with contextlib.suppress(session.TrialEnded):
            self._run(number, leg, checkpoint, sent, world)

    def _train_leg(self, number: int, leg: Leg, checkpoint: Path | None) -> Path | None:
        """Train a leg; the checkpoint that the next one goes on from, if it does."""
        self._over = True
        gathered = None if leg.rung is None else Gathered(self._spec.objective)
        sent = _Sent(leg, self._reporter(number), gathered)
        try:
            with self._ranks(number, checkpoint) as (world, store):
                result = self._run(number, leg, checkpoint, sent, world, store)
            metrics = returned_metrics(result)
        except session.TrialEnded:
            metrics = {}
        except _RefusedError as error:
            self._say(Refused(message=str(error)))
            return None
        except (Exception, SystemExit) as error:  # noqa: BLE001 - told to the parent
            self._say(Raised(error="".join(traceback.format_exception(error))))
            return None
        if gathered is not None:
            assert leg.rung is not None
            kept = None if gathered.checkpoint is None else str(gathered.checkpoint)
            self._report(number, leg.rung, {**metrics, **gathered.metrics}, kept)
            self._over = False
        elif sent.ended:
            self._over = sent.checkpoint is None
        else:
            self._say(Returned(metrics=metrics))
        return sent.checkpoint

    def _run(
        self,
        number: int,
        leg: Leg,
        checkpoint: Path | None,
        sent: _Sent,
        world: World | None,
        store: Any = None,
    ) -> Any:
        rank = world.rank if world else 0
        config, differs = self._config(number)
        config.hydra.runtime.cwd = self._spec.app.cwd
        if rank == 0:
            self._say(Composed(leg=number, differs=differs))
        folder = Path(self._spec.out) / leg.job
        job, best, best_step = self._best
        same = job == leg.job and leg.rung is None
        seed, data = self._seed(leg), dict[str, str]()
        segment = self._recorder.segment(folder, seed=seed, data=data)
        entered = session.Session(
            job_folder=folder,
            checkpoint=checkpoint,
            send=sent if rank else segment.before(sent),
            data=data,
            objective=self._spec.objective,
            rungs=[] if leg.end is None else [leg.end],
            judged_between=False,
            always=self._spec.checkpoints or leg.rung is not None,
            best=best if same else None,
            best_step=best_step if same else None,
            rank=rank,
        )
        session.begin(entered)
        try:
            with process_group(world, store) if world else contextlib.nullcontext():
                return self._runner.run(
                    config,
                    folder,
                    seed=seed,
                    rank=rank,
                    run=None if rank else self._app_run(leg),
                    continued=continued(self._recorded[number].checkpoint_key, checkpoint),
                )
        finally:
            if not rank:
                segment.end()
            session.end()
            release_devices()
            self._best = leg.job, entered.best, entered.best_step

    def _app_run(self, leg: Leg) -> AppRun:
        """The run of the app's own tracker: another than the trial's, the same in all legs."""
        _, _, _, *parts = Path(leg.job).parts  # trials/N/RUN
        group = f"{self._spec.sweep} again"
        return AppRun.of_trial(identity(group, self._created), group, leg.trial, *parts)

    def _config(self, number: int) -> tuple[DictConfig, list[str]]:
        """A leg's config, and where today's configs say otherwise.

        Raises:
            _RefusedError: A change cannot be made.
        """
        changes = self._spec.changes.overrides
        try:
            return make_config(self._recorded[number], self._search_path, changes)
        except ConfigError as error:
            raise _RefusedError(str(error)) from error

    def _seed(self, leg: Leg) -> int:
        given = self._spec.changes.generators
        return trial_seed(self._spec.seed, leg.trial) if given is None else given

    def _reporter(self, number: int) -> Callable[..., None]:
        def report(step: int, metrics: dict[str, float], checkpoint: Path | None) -> None:
            self._report(number, step, metrics, None if checkpoint is None else str(checkpoint))

        return report

    def _report(self, leg: int, step: int, metrics: dict[str, float], kept: str | None) -> None:
        seconds = time.monotonic() - self._began
        self._say(Report(step=step, metrics=metrics, leg=leg, checkpoint=kept, seconds=seconds))

    @contextlib.contextmanager
    def _ranks(self, number: int, checkpoint: Path | None) -> Iterator[tuple[World | None, Any]]:
        """The other ranks of a leg, each in a process; yields this one's world and store."""
        if self._spec.workers == 1:
            yield None, None
            return
        begin = 0 if checkpoint is None else int(checkpoint.name)
        with hosting(_HERE) as store, contextlib.ExitStack() as stack:
            for rank in range(1, self._spec.workers):
                part = map(str, (number, rank, store.port, begin))
                stack.enter_context(_process(command(*part), self._spec))
            yield self._worlds(number, store.port)[0], store

    def _worlds(self, number: int, port: int) -> list[World]:
        seat = Seat(node="here", node_address=_HERE, devices=None)
        return worlds(
            [seat] * self._spec.workers,
            gpus=self._spec.gpus,
            address=_HERE,
            port=port,
            segment=number,
        )


@contextlib.contextmanager
def _process(command: Sequence[str], spec: Spec) -> Iterator[None]:
    """Another rank: it ends by itself after its part, or when this process does."""
    with subprocess.Popen(  # noqa: S603
        command, stdin=subprocess.PIPE, stdout=2, text=True
    ) as process:
        assert process.stdin is not None
        process.stdin.write(spec.to_line())
        process.stdin.flush()
        try:
            yield
            process.wait()
        except session.TrialEnded:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_UNWIND_S)
            process.terminate()
            raise
        except BaseException:
            process.terminate()
            raise


class _RefusedError(Exception):
    """A change cannot be made to the recorded config; no error of the app."""


class _Sent:
    """What answers a leg's reports: go on, up to where the leg ended then."""

    def __init__(
        self, leg: Leg, report: Callable[..., None], gathered: Gathered | None = None
    ) -> None:
        self._leg, self._report, self._gathered = leg, report, gathered
        self.ended = False
        self.checkpoint: Path | None = None

    def __call__(
        self, step: int, metrics: dict[str, float], checkpoint: Path | None, can_wait: bool
    ) -> Decision:
        if self._gathered is not None:
            return self._gathered.take(metrics, checkpoint)
        self._report(step, metrics, checkpoint)
        if self._leg.end is None or step < self._leg.end:
            return Decision.CONTINUE
        self.ended, self.checkpoint = True, checkpoint
        return Decision.STOP
