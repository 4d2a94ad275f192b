"""A lane: a Ray actor that trains one segment after another, of whatever trials come.

A Tune trial is a lane, not one of our trials: to Tune, a lane is a training that never ends. Its
`step` hands over messages, and the driver answers them before the next `step`: by `assign` with
something else to do, or by nothing, which means "go on". So a pause, a stop and the start of the
next trial cost one step each, and no actor is made, reset or waited for. Reports that nobody judges
go along with the next that somebody does, or with the first after `HOLD_S`.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import math
import queue
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import ray
from hydra.errors import InstantiationException
from ray.tune import Trainable

from sweeps import session
from sweeps.app import load_app
from sweeps.compose import Base, apply
from sweeps.job import JobRunner, trial_seed
from sweeps.memory import OUT_OF_MEMORY, ran_out_of_memory
from sweeps.messages import (
    Idle,
    Job,
    LaneSettings,
    Left,
    Message,
    Raised,
    Report,
    Rest,
    Returned,
    StuckTaskError,
    Unusable,
)
from sweeps.objective import Objective
from sweeps.status import Decision

HOLD_S = 0.5
"""So long a lane may hold reports back: one in every step costs more than a short epoch."""


class Lane(Trainable):
    """Runs segments in a thread of its own and passes their messages on."""

    def setup(self, config: dict[str, Any], settings: LaneSettings) -> None:  # type: ignore[override]
        """Remember the settings; the app is imported in the first `step`, where errors show."""
        self._settings = settings
        self._app: tuple[JobRunner, ModuleType] | None = None
        self._bases: dict[str, Base] = {}
        self._segment: _Segment | None = None
        self._order: Job | Rest | None = None

    def assign(self, order: Job | Rest) -> None:
        """What the next `step` shall do instead of going on; ends what runs."""
        self._order = order

    def step(self) -> dict[str, Any]:
        """Go on until there is something to say."""
        return {"messages": self._next_messages()}

    def cleanup(self) -> None:
        """End what runs; without its thread's consent if need be, since the process ends too."""
        if self._segment is not None:
            self._segment.end(self._settings.teardown_timeout_s, decided=False)

    def _next_messages(self) -> Sequence[Message]:
        order, self._order = self._order, None
        if self._app is None:
            return [self._load()]
        if order is None:
            return self._go_on()
        if self._end_segment() and order.says_left:
            self._order = order
            return [Left()]
        if isinstance(order, Rest):
            time.sleep(order.seconds)
            return [Idle()]
        gathered = _Gathered(self._settings.objective) if self._settings.by_rung else None
        self._segment = _Segment(order, self._train, gathered)
        return self._segment.next_messages()

    def _load(self) -> Message:
        settings = self._settings
        try:
            task, module = load_app(settings.app)
        except BaseException as error:  # noqa: BLE001 - told to the driver, which ends the sweep
            return Unusable(error=_traceback(error))
        _preload(settings.preload)
        self._app = JobRunner(settings.app, task, settings.search_path), module
        _spare_the_collector()
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
        return segment.stands

    def _train(self, job: Job, send: session.Send) -> Any:
        """The body of a segment's thread."""
        assert self._app is not None
        settings, (runner, module) = self._settings, self._app
        config = apply(
            self._base(job),
            job.patch,
            job_num=job.trial,
            job_id=f"{settings.name}_{job.trial}",
            main=module,
        )
        session.begin(
            session.Session(
                job_folder=job.folder,
                checkpoint=job.checkpoint,
                send=send,
                objective=settings.objective,
                rungs=settings.rungs,
                judged_between=settings.judged_between,
                always=settings.by_rung,
                best=job.best,
                best_step=job.best_step,
            )
        )
        try:
            seed = trial_seed(settings.seed, job.trial)
            return runner.run(config, job.folder, seed=seed)
        finally:
            session.end()

    def _base(self, job: Job) -> Base:
        if job.base_id not in self._bases:
            self._bases[job.base_id] = ray.get(job.base)
        return self._bases[job.base_id]


class _Segment:
    """A task function that runs in a thread and stands still at each report."""

    def __init__(
        self,
        job: Job,
        train: Callable[[Job, session.Send], Any],
        gathered: _Gathered | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.job = job
        self._train = train
        self._gathered = gathered
        self._clock = clock
        self._messages: queue.SimpleQueue[Sequence[Message]] = queue.SimpleQueue()
        self._held: list[Message] = []
        """Reports that wait for the next message."""
        self._spoke = clock()
        self._answers: queue.SimpleQueue[Decision | None] = queue.SimpleQueue()
        self._ending = False
        self.stands = False
        """Whether the task's last word was a report."""
        self._thread = threading.Thread(target=self._run, name=f"trial-{job.trial}", daemon=True)
        self._thread.start()

    def next_messages(self) -> Sequence[Message]:
        """Wait until the task has something to say; what it has not said yet comes first."""
        messages = self._messages.get()
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

    def _run(self) -> None:
        trial = self.job.trial
        try:
            result = self._train(self.job, self._send)
            self._say(self._returned(_metrics(result)))
        except session.TrialEnded:
            if self._gathered is not None and not self._ending:  # its result is that it diverged
                self._say(self._returned({}))
        except BaseException as error:  # noqa: BLE001 - told to the driver, SystemExit included
            self._say(Raised(trial=trial, error=_traceback(error), cause=_cause(error)))

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


class _Gathered:
    """The best report of a segment whose reports nobody judges one by one."""

    def __init__(self, objective: Objective) -> None:
        self._objective = objective
        self.metrics: Mapping[str, float] = {}
        self.checkpoint: Path | None = None

    def take(self, metrics: dict[str, float], checkpoint: Path | None) -> Decision:
        """Keep a report if it is the best; one that diverged ends the segment."""
        value = metrics.get(self._objective.metric)
        if value is None:
            return Decision.CONTINUE
        if not math.isfinite(value):
            self.metrics = metrics
            return Decision.STOP
        if self._objective.replaces(value, self.metrics.get(self._objective.metric)):
            self.metrics, self.checkpoint = metrics, checkpoint
        return Decision.CONTINUE


def _preload(modules: Iterable[str]) -> None:
    """Import what trials will need, so that the first one does not pay for it.

    What cannot be imported here fails in the trial that needs it, where the error is told.
    """
    for module in modules:
        with contextlib.suppress(Exception):
            importlib.import_module(module)


def _spare_the_collector() -> None:
    """Keep what is loaded for good out of every later collection: a fifth of a short segment."""
    gc.collect()
    gc.freeze()


def _metrics(result: Any) -> dict[str, float]:
    """What a task function returned, as metrics by name; a bare number is called `objective`."""
    if result is None:
        return {}
    named = result if isinstance(result, Mapping) else {Objective().metric: result}
    return {str(name): session.number(str(name), value) for name, value in named.items()}


def _traceback(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


def _cause(error: BaseException) -> str:
    """Whether memory ran out, or it is something that no other trial can import either."""
    if ran_out_of_memory(error):
        return OUT_OF_MEMORY
    missing = isinstance(error, InstantiationException) and "locating target" in str(error)
    return "import" if missing or isinstance(error, ImportError) else "error"
