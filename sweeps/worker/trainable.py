"""A lane: a Ray actor that trains one segment after another, of whatever trials come.

A Tune trial is a lane, not one of our trials: to Tune, a lane is a training that never ends. Its
`step` hands over messages, and the driver answers them before the next `step`: by `assign` with
something else to do, or by nothing, which means "go on". So a pause, a stop and the start of the
next trial cost one step each, and no actor is made, reset or waited for. Reports that nobody judges
go along with the next that somebody does, or with the first after `HOLD_S`.
"""

from __future__ import annotations

import queue
import socket
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayActorError
from ray.tune import Trainable

from sweeps import session
from sweeps.core.repeats import Repeating
from sweeps.journal.status import Decision
from sweeps.worker.gathered import Gathered, returned_metrics
from sweeps.worker.messages import (
    Idle,
    Job,
    LaneSettings,
    Left,
    LostRankError,
    Message,
    Order,
    Raised,
    Report,
    Rest,
    Returned,
    Save,
    StorageMissingError,
    StuckTaskError,
    Unusable,
)
from sweeps.worker.process_group import release_devices
from sweeps.worker.ranks import Gang, RankFailedError
from sweeps.worker.repeats import Repeats, Turn, of_turn
from sweeps.worker.worker import Worker, traceback_of

Train = Callable[[Job, session.Send], Any]
"""Trains a segment; what its task returns."""

HOLD_S = 0.5
"""So long a lane may hold reports back: one in every step costs more than a short epoch."""


class Lane(Trainable):
    """Runs segments in a thread of its own and passes their messages on."""

    def setup(self, config: dict[str, Any], settings: LaneSettings) -> None:  # type: ignore[override]
        """Remember the settings; the app is imported in the first `step`, where errors show."""
        self._settings = settings
        self._gang = Gang(settings) if settings.resources.workers > 1 else None
        self._worker: Worker | None = None
        self._segment: _Segment | None = None
        self._order: Order | None = None
        self._nodes: Sequence[str] = ()

    def assign(self, order: Order) -> None:
        """What the next `step` shall do instead of going on; all but `Save` ends what runs."""
        self._order = order

    def step(self) -> dict[str, Any]:
        """Go on until there is something to say."""
        return {"messages": self._next_messages(), "nodes": self._nodes}

    def cleanup(self) -> None:
        """End what runs; without its thread's consent if need be, since the process ends too."""
        if self._segment is not None and not self._segment.interrupted:
            self._segment.end(self._settings.teardown_timeout_s, decided=False)
        if self._gang is not None:
            self._gang.kill()

    def _next_messages(self) -> Sequence[Message]:
        order, self._order = self._order, None
        if self._worker is None:
            if self._settings.remote is None:
                _check_storage(self._settings.folder)
            return [self._load()]
        if isinstance(order, Save):
            session.save_soon()
            order = None
        if order is None:
            return self._go_on()
        if self._end_segment() and order.says_left:
            self._order = order
            return [Left()]
        if isinstance(order, Rest):
            time.sleep(order.seconds)
            return [Idle()]
        gathered = Gathered(self._settings.objective) if self._settings.by_rung else None
        self._segment = self._begin(order, gathered)
        return self._segment.next_messages()

    def _begin(self, job: Job, gathered: Gathered | None) -> _Segment:
        assert self._worker is not None
        worker, gang = self._worker, self._gang
        train: Train = worker.train if gang is None else partial(gang.train, worker)
        if self._settings.repeating is None:
            return _Segment(job, train, worker.raised, gathered, gang)
        repeats = Repeats(
            self._settings.repeating,
            objective=self._settings.objective,
            folder=job.folder,
            checkpoint=job.checkpoint,
            best=job.best,
            best_step=job.best_step,
        )
        in_turns = partial(self._train_repeats, repeats, train, self._settings.repeating)
        return _Segment(job, in_turns, worker.raised, gathered, gang, repeats)

    def _train_repeats(
        self, repeats: Repeats, train: Train, repeating: Repeating, job: Job, send: session.Send
    ) -> Any:
        def run(turn: Turn, send: session.Send) -> Any:
            try:
                return train(of_turn(job, turn, repeating), send)
            except session.TrialEnded:
                if self._gang is not None and not self._gang.is_sound:
                    lost = LostRankError(f"a rank of trial {job.trial} failed when it was to end")
                    raise RankFailedError(lost) from None
                raise
            finally:
                release_devices()

        return repeats.train(run, send)

    def _load(self) -> Message:
        others = [] if self._gang is None else self._gang.load()
        try:
            self._worker = Worker(self._settings)
            ray.get(others)
            here = ray.get_runtime_context().get_node_id()
            self._nodes = [here] if self._gang is None else self._gang.nodes
        except RayActorError:  # a rank died: so does the lane
            raise
        except BaseException as error:  # noqa: BLE001 - told to the driver, which ends the sweep
            return Unusable(error=traceback_of(error))
        return Idle()

    def _go_on(self) -> Sequence[Message]:
        if self._segment is None:
            return [Idle()]
        self._segment.answer(Decision.CONTINUE)
        return self._segment.next_messages()

    def _end_segment(self) -> bool:
        """See that no task runs any more; whether one had to be told so."""
        segment, self._segment = self._segment, None
        if segment is None:
            return False
        if not segment.end(self._settings.teardown_timeout_s, decided=True):
            raise StuckTaskError(
                f"trial {segment.job.trial} did not end within hydra.sweeper.teardown_timeout_s, "
                f"{self._settings.teardown_timeout_s:g} s"
            )
        if self._gang is not None and not self._gang.is_sound:
            raise StuckTaskError(f"a rank of trial {segment.job.trial} failed when it was to end")
        return segment.stands


class _Segment:
    """A task function that runs in a thread and stands still at each report."""

    def __init__(
        self,
        job: Job,
        train: Train,
        raised: Callable[[Job, BaseException], Raised],
        gathered: Gathered | None = None,
        gang: Gang | None = None,
        repeats: Repeats | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.job = job
        self._train = train
        self._raised = raised
        self._gathered = gathered
        self._clock = clock
        self._messages: queue.SimpleQueue[Sequence[Message] | LostRankError] = queue.SimpleQueue()
        self._held: list[Message] = []
        """Reports that wait for the next message."""
        self._spoke = clock()
        self._answers: queue.SimpleQueue[Decision | None] = queue.SimpleQueue()
        self._ending = False
        self.stands = False
        """Whether the task's last word was a report."""
        self.interrupted = False
        """Whether another rank failed, and this one may never end."""
        if gang is not None:
            gang.on_failure = self._interrupt
        if repeats is not None:
            repeats.is_ending = lambda: self._ending
        self._thread = threading.Thread(target=self._run, name=f"trial-{job.trial}", daemon=True)
        self._thread.start()

    def next_messages(self) -> Sequence[Message]:
        """Wait until the task has something to say; what it has not said yet comes first.

        Raises:
            LostRankError: One of its ranks died.
        """
        messages = self._messages.get()
        if isinstance(messages, LostRankError):
            raise messages
        self.stands = isinstance(messages[-1], Report)
        return messages

    def answer(self, decision: Decision) -> None:
        """Let a task that stands at a report go on, or end it."""
        self._answers.put(decision)

    def end(self, timeout_s: float, *, decided: bool) -> bool:
        """Unwind the task; whether it ended in time.

        Args:
            timeout_s: How long it may take.
            decided: Whether the driver decided on the task's last report. Where it did not, it may
                never have heard of it, and the checkpoint before must stay.
        """
        self._ending = True
        self._answers.put(Decision.STOP if decided else None)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _interrupt(self, failure: Raised | LostRankError) -> None:
        """Another rank failed: say so, whatever this one does; what it holds back is lost."""
        self.interrupted = True
        self._messages.put([failure] if isinstance(failure, Raised) else failure)

    def _run(self) -> None:
        try:
            result = self._train(self.job, self._send)
            self._say(self._returned(returned_metrics(result)))
        except session.TrialEnded:
            if self._gathered is not None and not self._ending:  # its result is that it diverged
                self._say(self._returned({}))
        except RankFailedError as error:
            self._interrupt(error.failure)
        except BaseException as error:  # noqa: BLE001 - told to the driver, SystemExit included
            self._say(self._raised(self.job, error))
        release_devices()

    def _say(self, message: Message) -> None:
        self._messages.put((*self._held, message))
        self._held = []

    def _returned(self, metrics: dict[str, float]) -> Returned:
        if self._gathered is None:
            return Returned(trial=self.job.trial, metrics=metrics)
        return Returned(
            trial=self.job.trial,
            metrics={**metrics, **self._gathered.metrics},
            checkpoint=self._gathered.checkpoint,
        )

    def _send(
        self, step: int, metrics: dict[str, float], checkpoint: Path | None, can_wait: bool
    ) -> Decision:
        if self._ending:  # the task caught what should end it, and reports on
            raise session.TrialEnded
        if self._gathered is not None:
            return self._gathered.take(metrics, checkpoint)
        report = Report(trial=self.job.trial, step=step, metrics=metrics, checkpoint=checkpoint)
        if can_wait and self._clock() - self._spoke < HOLD_S:
            self._held.append(report)
            return Decision.CONTINUE
        self._say(report)
        decision = self._answers.get()
        self._spoke = self._clock()
        if decision is None:
            raise session.TrialEnded
        return decision


def _check_storage(folder: Path) -> None:
    """See that the sweep is here, on a node that may have joined later.

    Raises:
        StorageMissingError: It is not: another node has to train what this lane was for.
    """
    if not folder.is_dir():
        raise StorageMissingError(
            f"{folder} is not there on {socket.gethostname()}: it has to be on every node"
        )
