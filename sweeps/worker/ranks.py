"""The ranks of a trial that trains in several processes.

Rank 0 is the lane's own process: it alone reports and checkpoints. Each other rank is an actor in
the lane's placement group, made once and used for one segment after another. They hear of every
decision right after rank 0 does, so that all go on, or unwind, at the same report. A rank that
raises or dies fails the trial once, and the lane is replaced with all its ranks.
"""

from __future__ import annotations

import itertools
import os
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, as_completed
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError
from ray.util import get_node_ip_address
from ray.util.placement_group import get_current_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from sweeps import session
from sweeps.core.memory import was_killed_for_memory
from sweeps.journal.status import Decision
from sweeps.session import Send
from sweeps.worker.draining import PREEMPTED
from sweeps.worker.messages import Job, LaneSettings, LostRankError, Raised
from sweeps.worker.process_group import (
    Seat,
    World,
    hosting,
    release_devices,
    visible_devices,
    worlds,
)
from sweeps.worker.worker import Worker

Failure = Raised | LostRankError

_ECHO_S = 2.0
"""How long the failure that another caused waits for its cause to be told."""

_ECHOES = (
    "Connection closed by peer",
    "Connection reset by peer",
    "Broken pipe",
    "remote process exited",
)
"""What gloo and NCCL raise in a rank when another has gone."""


class RankFailedError(Exception):
    """A rank in another process failed."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(str(failure))
        self.failure = failure


class Rank:
    """A rank in an actor of its own; it hears of decisions while it trains."""

    def __init__(self) -> None:
        self._worker: Worker | None = None
        self._decisions: queue.SimpleQueue[tuple[int, Decision | None]] = queue.SimpleQueue()

    def seat(self) -> Seat:
        """Where it is."""
        return _seat()

    def load(self, settings: LaneSettings, devices: str | None) -> None:
        """Import the app."""
        _see(devices)
        self._worker = Worker(settings)

    def train(self, job: Job, world: World) -> Raised | None:
        """Run its part of a segment; what the task raised."""
        assert self._worker is not None
        try:
            self._worker.train(job, self._listener(world.segment), world)
        except session.TrialEnded:
            pass
        except BaseException as error:  # noqa: BLE001 - told to the driver, SystemExit included
            told = self._worker.raised(job, error)
            text = f"in rank {world.rank} of {world.size}:\n{told.error}"
            return Raised(trial=job.trial, error=text, cause=told.cause)
        release_devices()
        return None

    def decide(self, segment: int, decision: Decision | None) -> None:
        """Pass on what rank 0 heard; None is the end."""
        self._decisions.put((segment, decision))

    def _listener(self, segment: int) -> Send:
        """A `send` that waits for the decision on rank 0's report."""
        over = False

        def send(*report: Any) -> Decision:
            nonlocal over
            heard, decision = -1, None
            while not over and heard != segment:
                heard, decision = self._decisions.get()
            if decision is None:
                over = True
                raise session.TrialEnded
            return decision

        return send


class Gang:
    """The other ranks of a lane's trials."""

    def __init__(self, settings: LaneSettings) -> None:
        """Start their processes, in the placement group that this one is in."""
        self._settings = settings
        self._segments = itertools.count()
        self._seats: Sequence[Seat] = ()
        self._over = True
        self.on_failure: Callable[[Failure], None]
        """Called in some thread when a rank fails while rank 0 trains."""
        self.is_sound = True
        """Whether every rank ended the last segment as it should."""
        each, group = settings.resources, get_current_placement_group()
        assert group is not None, "a lane is in a placement group"
        self._ranks: list[Any] = [
            ray.remote(Rank)
            .options(
                num_cpus=each.cpus,
                num_gpus=each.gpus,
                max_concurrency=2,
                scheduling_strategy=PlacementGroupSchedulingStrategy(
                    group, placement_group_bundle_index=index
                ),
            )
            .remote()
            for index in range(1, each.workers)
        ]

    def load(self) -> list[Any]:
        """Let every rank import the app; references that are ready when it has."""
        self._seats = [_seat(), *ray.get([rank.seat.remote() for rank in self._ranks])]
        self._address = _address(self._seats)
        first, *others = visible_devices(self._seats, gpus=self._settings.resources.gpus)
        _see(first)
        return [
            rank.load.remote(self._settings, devices)
            for rank, devices in zip(self._ranks, others, strict=True)
        ]

    @property
    def nodes(self) -> Sequence[str]:
        """The ids of the nodes that its ranks are on, once they have loaded."""
        return sorted({seat.node for seat in self._seats})

    def train(self, worker: Worker, job: Job, send: Send) -> Any:
        """Run a segment, of which this process is rank 0; what its task returns.

        Raises:
            TrialEnded: It was ended, in all ranks.
            RankFailedError: Another rank failed.
        """
        segment = next(self._segments)
        with hosting(self._address) as store:
            first, *others = worlds(
                self._seats,
                gpus=self._settings.resources.gpus,
                address=self._address,
                port=store.port,
                segment=segment,
            )
            parts = self._start(job, others)
            try:
                result = worker.train(job, self._passing_on(send, segment), first, store)
            except session.TrialEnded:
                self._over = True
                self._tell(segment, None)
                failures = [part.failure() for part in parts]
                self.is_sound = not any(failures)
                raise
            except Exception as error:
                if _is_echo(str(error)) and (cause := _cause(parts)) is not None:
                    raise RankFailedError(cause) from error
                raise
        self._tell(segment, None)
        for part in parts:
            if (failure := part.failure()) is not None:
                raise RankFailedError(failure)
        return result

    def kill(self) -> None:
        """End all of them where they stand."""
        self._over = True
        for rank in self._ranks:
            ray.kill(rank)

    def _start(self, job: Job, others: Sequence[World]) -> list[_Part]:
        self._over = False
        parts = []
        for rank, world in zip(self._ranks, others, strict=True):
            ended = rank.train.remote(job, world).future()
            part = _Part(rank=world.rank, trial=job.trial, ended=ended)
            ended.add_done_callback(partial(self._notice, part, self.on_failure))
            parts.append(part)
        return parts

    def _notice(self, part: _Part, tell: Callable[[Failure], None], _: Future[Any]) -> None:
        failure = part.failure()
        if failure is None or self._over:
            return
        if not _is_echo(_text(failure)):
            tell(failure)
            return
        later = threading.Timer(_ECHO_S, tell, [failure])
        later.daemon = True
        later.start()

    def _passing_on(self, send: Send, segment: int) -> Send:
        """A `send` that lets the other ranks know what it answers."""

        def pass_on(*report: Any) -> Decision:
            decision = None
            try:
                decision = send(*report)
            finally:
                self._tell(segment, decision)
            return decision

        return pass_on

    def _tell(self, segment: int, decision: Decision | None) -> None:
        for rank in self._ranks:
            rank.decide.remote(segment, decision)


@dataclass(frozen=True, kw_only=True)
class _Part:
    """A rank's part of a segment that runs."""

    rank: int
    trial: int
    ended: Future[Raised | None]

    def failure(self, timeout_s: float | None = None) -> Failure | None:
        """What went wrong in it, once it has ended.

        Raises:
            TimeoutError: It has not.
        """
        try:
            return self.ended.result(timeout_s)
        except RayError as error:
            why = "its process or node died (killed, or out of memory)"
            if isinstance(error, RayActorError) and error.preempted:
                why = PREEMPTED
            if was_killed_for_memory(str(error)):
                why = "its process was killed due to the node running low on memory"
            return LostRankError(f"rank {self.rank} of trial {self.trial} was lost: {why}")


def _text(failure: Failure) -> str:
    return failure.error if isinstance(failure, Raised) else str(failure)


def _is_echo(error: str) -> bool:
    """Whether this says only that another rank has gone."""
    return any(sign in error for sign in _ECHOES)


def _cause(parts: Sequence[_Part]) -> Failure | None:
    """The failure that rank 0 heard an echo of, if it is told in time."""
    with suppress(TimeoutError):
        for ended in as_completed([part.ended for part in parts], _ECHO_S):
            part = next(part for part in parts if part.ended is ended)
            failure = part.failure()
            if failure is not None and not _is_echo(_text(failure)):
                return failure
    return None


def _seat() -> Seat:
    return Seat(
        node=ray.get_runtime_context().get_node_id(),
        node_address=get_node_ip_address(),  # type: ignore[no-untyped-call]
        devices=os.environ.get("CUDA_VISIBLE_DEVICES"),
    )


def _address(seats: Sequence[Seat]) -> str:
    """Where all ranks reach the first: on one node through the loopback device."""
    first = seats[0]
    return "127.0.0.1" if all(s.node == first.node for s in seats) else first.node_address


def _see(devices: str | None) -> None:
    """Choose this process's devices; too late once CUDA has begun in it."""
    if devices is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = devices
