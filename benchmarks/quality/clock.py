"""A run of a sweep, and the clock on which peers run.

The clock is the one of `sweeps.simulate`: a worker trains one step at a time, the step that ends
first is reported first, and a free worker starts the next trial at once.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from quality.problems import Problem, Steps, Stragglers, Values


@dataclass(frozen=True, kw_only=True)
class Run:
    """How one sweep went."""

    incumbents: Sequence[tuple[float, float]]
    """(seconds, loss) at each improvement."""
    idle: float
    """Share of the workers' time."""
    trials: int

    def loss_at(self, seconds: float) -> float:
        """The incumbent then; infinite before the first report."""
        return next((loss for t, loss in reversed(self.incumbents) if t <= seconds), float("inf"))

    def time_to(self, target: float) -> float:
        """When the incumbent was at most `target`; infinite if never."""
        return next((t for t, loss in self.incumbents if loss <= target), float("inf"))


class Peer(Protocol):
    """Another library's searcher and scheduler."""

    def start(self) -> tuple[int, Values]:
        """A new trial: numbers count up from 0."""
        ...

    def report(self, trial: int, step: int, loss: float, *, last: bool) -> bool:
        """Take a report in; whether the trial goes on. After its last step it is complete."""
        ...


@dataclass(order=True)
class _Training:
    """A trial in a worker. Of those whose steps end together, the one that began first is first."""

    ends: float
    began: int
    trial: int = field(compare=False)
    steps: Steps = field(compare=False)
    done: int = field(default=0, compare=False)


def run_peer(
    peer: Peer, problem: Problem, *, workers: int, seconds: float, stragglers: Stragglers
) -> Run:
    """Run a peer's sweep for so many seconds of the simulated clock."""
    clock = _Clock(peer, problem, stragglers)
    for _ in range(workers):
        clock.start(0.0)
    while clock.heap[0].ends <= seconds:
        clock.advance()
    return Run(incumbents=clock.incumbents, idle=0.0, trials=clock.trials)


class _Clock:
    def __init__(self, peer: Peer, problem: Problem, stragglers: Stragglers) -> None:
        self.heap: list[_Training] = []
        self.incumbents: list[tuple[float, float]] = []
        self.trials = 0
        self._peer = peer
        self._problem = problem
        self._stragglers = stragglers
        self._began = 0

    def start(self, now: float) -> None:
        """A free worker takes a new trial."""
        trial, values = self._peer.start()
        self.trials += 1
        self._train(_Training(now, 0, trial, self._problem.train(values)))

    def advance(self) -> None:
        """The step that ends first is reported."""
        training = heapq.heappop(self.heap)
        loss, _ = training.steps[training.done]
        training.done += 1
        if not self.incumbents or loss < self.incumbents[-1][1]:
            self.incumbents.append((training.ends, loss))
        last = training.done == len(training.steps)
        goes_on = self._peer.report(training.trial, training.done, loss, last=last)
        if goes_on and not last:
            self._train(training)
        else:
            self.start(training.ends)

    def _train(self, training: _Training) -> None:
        _, seconds = training.steps[training.done]
        training.ends += seconds * self._stragglers.factor(training.trial)
        training.began = self._began
        self._began += 1
        heapq.heappush(self.heap, training)
