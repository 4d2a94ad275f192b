"""Which lane holds which trial, and what each lane does next.

A lane is a slot that trains one segment after another (see `sweeps.worker.trainable`); here stands
what the driver knows of all of them. Ray Tune's side of it is in `sweeps.driver.tune`.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from sweeps.core.engine import Engine
from sweeps.core.memory import ADVICE, OUT_OF_MEMORY, was_killed_for_memory
from sweeps.core.segment import Segment
from sweeps.driver.inbox import Inbox
from sweeps.errors import SweepError, headline
from sweeps.journal.events import LostTo
from sweeps.journal.status import Decision
from sweeps.schedulers import Done, Wait
from sweeps.storage import disk
from sweeps.storage.folder import SweepFolder
from sweeps.worker.draining import PREEMPTED
from sweeps.worker.messages import (
    Idle,
    Job,
    Left,
    LostRankError,
    Message,
    Order,
    Raised,
    Report,
    Rest,
    Returned,
    Save,
    StuckTaskError,
    Unusable,
)

log = logging.getLogger(__name__)

_REST_S = 0.02
"""How long an idle lane rests, times the number of idle lanes: at most 50 wake-ups a second."""

_MOST_MUTE_LOSSES = 5
"""Of one lane in a row: a node that dies takes many lanes at once, and no app is to blame."""

MakeJob = Callable[[Segment, bool], Job]
"""(segment, whether the lane is to say when its last one has ended) -> the job for a lane."""


class Lanes:
    """What searcher, scheduler and stopper share: the engine, and which lane holds which trial."""

    def __init__(
        self,
        engine: Engine,
        make_job: MakeJob,
        *,
        folder: SweepFolder,
        max_lanes: int | None,
        inbox: Inbox | None = None,
        interrupted: Callable[[], bool],
        check: Callable[[], None] = lambda: None,
        draining: Callable[[], frozenset[str]] = frozenset,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.engine = engine
        self.error: SweepError | None = None
        self.finished = False
        self.ending: str | None = None
        """Why the sweep ends although there is work left."""
        self.interrupted = interrupted
        self._make_job = make_job
        self._folder = folder
        self._max_lanes = max_lanes
        self._inbox = inbox
        self._began = time.time()
        self._check = check
        self._draining = draining
        self._clock = clock
        self._nodes: dict[str, Sequence[str]] = {}
        """By lane: the ids of the nodes that it runs on, once it has loaded."""
        self._open: set[str] = set()
        self._numbers = itertools.count()
        self._holds: dict[str, int] = {}
        """By lane: the trial that it was given."""
        self._ends: dict[str, float] = {}
        """By lane that holds a trial: when that trial's time is up, by `clock`."""
        self._leaves: dict[str, int] = {}
        """By lane: the trial that was paused, or whose time is counted, while it unwinds in it."""
        self._doomed: set[str] = set()
        """Lanes that are to be killed, or were, and whose death Tune has not told of yet."""
        self._idle: set[str] = set()
        self._mute_losses: Counter[str] = Counter()
        """By lane: how often it died without a word, while no other lane said one."""

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its searcher for a restore of its own, and the journal is ours."""
        return {}

    def open_lane(self, lane: str) -> int | None:
        """The number of a further lane, if there may be work for one."""
        wanted = self.engine.slots_wanted
        if self._max_lanes is not None:
            wanted = min(wanted, self._max_lanes)
        if len(self._open) >= wanted:
            return None
        self._open.add(lane)
        return next(self._numbers)

    def close_lane(self, lane: str) -> None:
        """The lane is gone and not replaced under its name."""
        self._open.discard(lane)
        self._idle.discard(lane)
        self._doomed.discard(lane)
        self._nodes.pop(lane, None)

    def on_messages(
        self, lane: str, messages: Iterable[Message], nodes: Sequence[str] = ()
    ) -> Order | Done | None:
        """What the lane is to do next; None is "go on", Done is "end".

        What follows the message that ends the trial in the lane is not heard any more.

        Args:
            lane: Which.
            messages: What it says.
            nodes: The ids of the nodes that it runs on.
        """
        self._nodes[lane] = nodes
        message = None
        for message in messages:
            order = self._on_message(lane, message)
            if order is not None:
                return order
        return self._leave_node(lane, message) if self._is_preempted(lane) else None

    def _on_message(self, lane: str, message: Message) -> Job | Rest | Done | None:
        self._mute_losses.clear()
        self._leaves.pop(lane, None)
        if lane in self._doomed:
            return Done()
        try:
            return self._answer(lane, message)
        except SweepError as error:
            self._fail(error)
            return Done()

    def _is_preempted(self, lane: str) -> bool:
        """Whether a node that the lane runs on is about to be taken away."""
        return not self._draining().isdisjoint(self._nodes.get(lane, ()))

    def _leave_node(self, lane: str, last: Message | None) -> Save | Done | None:
        """Let a trial that has just saved its state go on elsewhere; one that has not saves it."""
        if not isinstance(last, Report):
            return None
        if last.checkpoint is None:
            return Save()
        try:
            self.engine.on_lost(self._holds.pop(lane), PREEMPTED, cause="preempted")
        except SweepError as error:
            self._fail(error)
        return Done()

    def on_lane_lost(self, lane: str, reason: str) -> None:
        """The lane's process died; Tune starts another under the same name.

        A lane that could not end its last task had not begun the trial it was given.

        Args:
            lane: Which.
            reason: What Ray says of it.
        """
        self._idle.discard(lane)
        self._leaves.pop(lane, None)
        preempted = self._is_preempted(lane)
        self._nodes.pop(lane, None)
        if lane in self._doomed:
            self._doomed.remove(lane)
            return
        trial = self._holds.pop(lane, None)
        log.warning("the lane with trial %s was lost: %s", trial, reason)
        reason, cause = _loss(PREEMPTED if preempted else reason)
        try:
            if trial is None:
                self._count_mute_loss(lane, reason, cause)
            else:
                counts = StuckTaskError.__name__ not in reason
                self.engine.on_lost(trial, reason, cause=cause, counts=counts)
        except SweepError as error:
            self._fail(error)

    def overdue(self) -> list[str]:
        """The lanes to kill: they train beyond a trial's time limit and do not report."""
        now = self._clock()
        late = [lane for lane in self._holds if self._ends[lane] < now and lane not in self._leaves]
        for lane in late:
            self._doomed.add(lane)
            try:
                self.engine.on_time_up(self._holds.pop(lane))
            except SweepError as error:
                self._fail(error)
        return late

    def over(self) -> bool:
        """Whether Tune should end: all is done, time is up, or an error or a signal ends it."""
        try:
            self._check()
            self._take_requests()
            self._draining()  # also while no lane speaks: of a dead node Ray does not tell any more
        except SweepError as error:
            self._fail(error)
        budget_s = self.engine.time_budget_s
        if budget_s is not None and time.time() > self._began + budget_s:
            self.ending = "hydra.sweeper.time_budget_s is over"
        self.ending = self.ending or self.engine.spent
        if self.interrupted() or self.ending is not None or self.engine.is_done:
            self.finished = True
        return self.finished

    def _take_requests(self) -> None:
        """Take up what others ask, while there is a sweep to ask it of."""
        if self._inbox is None or self.finished:
            return
        for request, asked in self._inbox.take():
            stopped = self.engine.on_request(request, asked).trial
            self._inbox.done(request)
            for lane in [lane for lane, trial in self._holds.items() if trial == stopped]:
                self._set_end(lane)

    def _fail(self, error: SweepError) -> None:
        self.error = error
        self.finished = True

    def _count_mute_loss(self, lane: str, reason: str, cause: LostTo) -> None:
        self._mute_losses[lane] += cause != "preempted"
        if self._mute_losses[lane] >= _MOST_MUTE_LOSSES:
            raise SweepError(
                f"workers die before they can train, {self._mute_losses[lane]} in a row: {reason}"
            )

    def _answer(self, lane: str, message: Message) -> Job | Rest | Done | None:
        engine = self.engine
        match message:
            case Report():
                decision = engine.on_report(
                    message.trial,
                    step=message.step,
                    metrics=message.metrics,
                    checkpoint=self._name_of(message.checkpoint),
                )
                if decision is Decision.CONTINUE:
                    self._set_end(lane)
                    return None
                if decision is Decision.PAUSE or self.engine.limits_time:
                    self._leaves[lane] = message.trial
            case Returned():
                engine.on_return(
                    message.trial, message.metrics, checkpoint=self._name_of(message.checkpoint)
                )
            case Raised(cause=disk.STORAGE):
                raise self._refused(headline(message.error))
            case Raised():
                self._holds.pop(lane)
                trial = engine.trials[message.trial]
                output = self._folder.output(
                    trial.number, trial.run, exploits=len(trial.lineage), life=trial.lives
                )
                engine.on_error(
                    message.trial,
                    message.error,
                    cause=message.cause,
                    log=self._folder.shown(output),
                )
                return Done()  # a process in which a task raised is not trusted with the next
            case Unusable():
                log.error("the app cannot be imported in a worker:\n%s", message.error)
                raise SweepError(
                    f"the app cannot be imported in a worker: {headline(message.error)}\n"
                    f"The whole traceback is in {self._folder.shown(self._folder.log)}"
                )
            case Left():
                self._set_end(lane)
                return None
            case Idle():
                pass
        return self._next_order(lane)

    def _set_end(self, lane: str) -> None:
        """Note when the time of the lane's trial is up; it begins when the lane is free for it."""
        if (trial := self._holds.get(lane)) is not None:
            self._ends[lane] = self._clock() + self.engine.seconds_left(trial)

    def _refused(self, said: str | None) -> SweepError:
        """The storage took nothing from a worker; a bucket has said what to do itself."""
        if self._folder.remote is not None:
            return SweepError(str(said).partition(": ")[2] or str(said))
        return disk.refusal(self._folder.path, said)

    def _name_of(self, checkpoint: Path | None) -> str | None:
        return None if checkpoint is None else self._folder.relative(checkpoint)

    def _next_order(self, lane: str) -> Job | Rest | Done:
        self._holds.pop(lane, None)
        self._idle.discard(lane)
        if self._is_preempted(lane):
            return Rest(_REST_S, says_left=True) if lane in self._leaves else Done()
        elsewhere = {trial for other, trial in self._leaves.items() if other != lane}
        segment = self.engine.next_segment(unwinding=elsewhere)
        match segment:
            case Segment():
                self._holds[lane] = segment.trial
                self._set_end(lane)
                return self._make_job(segment, lane in self._leaves)
            case Wait():
                self._idle.add(lane)
                return Rest(_REST_S * len(self._idle), says_left=lane in self._leaves)
            case _:
                self.finished = True
                return Done()


_SIGNS_OF_DEATH = ("The actor ", "ActorDiedError", "ActorUnavailableError", "NodeDiedError")


def _loss(said: str) -> tuple[str, LostTo]:
    """Why a lane's process died, in a line, from what Ray says of it."""
    lines = [line for line in said.splitlines() if line.strip()]
    if was_killed_for_memory(said):
        return f"Ray killed its process, since memory ran low on its node: {ADVICE}", OUT_OF_MEMORY
    if PREEMPTED in said:
        return PREEMPTED, "preempted"
    if not lines or any(sign in line for line in lines for sign in _SIGNS_OF_DEATH):
        return "its process or node died (killed, or out of memory)", "lost"
    return lines[-1].rpartition(f"{LostRankError.__name__}: ")[2], "lost"
