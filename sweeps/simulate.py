"""A whole sweep on a simulated clock: the searcher, scheduler and events of a real one, no ray.

    setup = Setup(space=space, num_samples=64, workers=8, scheduler={"name": "asha", "max_t": 27})
    result = simulate(curve, setup)

A slot trains one step at a time. Steps in training wait in a heap by the time they end; the
earliest is reported to the engine, and every free slot then asks for its next segment. Where the
fidelity is a parameter, a slot trains a whole curve at once, and its best step is what comes back.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count, islice, zip_longest
from typing import Any

from sweeps.core.budget import Budget
from sweeps.core.engine import Engine
from sweeps.core.fidelity import Fidelity
from sweeps.core.limits import Limits
from sweeps.core.segment import Segment
from sweeps.core.state import EventLog
from sweeps.journal.events import Asked, Event, Lost, Reported, Started
from sweeps.journal.objective import Objective
from sweeps.journal.status import Decision, Status
from sweeps.journal.trials import Trials
from sweeps.schedulers import make_scheduler
from sweeps.searchers import make_searcher
from sweeps.space.space import Space

Outcome = tuple[Mapping[str, float], float]
"""A step's metrics, and how many seconds it takes."""

Curve = Callable[[Mapping[str, Any], int], Iterable[Outcome]]
"""(values by parameter, trial number) -> the metrics and the seconds of steps 1, 2, ...

Where the fidelity is a parameter, it is one of the values, by its name without a `+`. It must give
the same for the same arguments: a resumed simulation runs it again from the start.
"""

State = Any


@dataclass(frozen=True, kw_only=True)
class Training:
    """A curve whose every step goes on from the state that the last one left.

    For schedulers that change parameters on the way: a plain `Curve` then goes on as if its trial
    had had the new values all along.
    """

    begin: Callable[[int], State]
    """Trial number -> the state before its first step."""
    step: Callable[[State, Mapping[str, Any], int, int], tuple[State, Mapping[str, float], float]]
    """(state, values, trial number, step's number) -> the state after it, metrics, seconds.

    It must give the same for the same arguments, and leave the state that it was given as it was.
    """

    def along(self, schedule: Sequence[tuple[int, int, Mapping[str, Any]]]) -> Iterator[Outcome]:
        """Steps 1, 2, ... of a model.

        Args:
            schedule: What trained it: (after which step, trial number, values).
        """
        state = self.begin(schedule[0][1])
        ends = [step for step, _, _ in schedule[1:]]
        for (start, trial, values), end in zip_longest(schedule, ends):
            for number in count(start + 1) if end is None else range(start + 1, end + 1):
                state, metrics, seconds = self.step(state, values, trial, number)
                yield metrics, seconds


@dataclass(frozen=True, kw_only=True)
class Setup:
    """The sweep to simulate; a searcher or scheduler is its name and options, as in the config."""

    space: Space
    num_samples: int
    objective: Objective = field(default_factory=Objective)
    searcher: Mapping[str, Any] = field(default_factory=lambda: {"name": "tpe"})
    scheduler: Mapping[str, Any] = field(default_factory=lambda: {"name": "none"})
    initial: Sequence[Mapping[str, Any]] = ()
    """Configurations to begin with, as far as they are given; by parameter name."""
    workers: int = 1
    budget: Budget = field(default_factory=Budget)
    fidelity: Fidelity | None = None
    """Where it is a parameter; `max_t` of the scheduler follows from it."""
    seconds: float = math.inf
    """When its time is up; what trains then is left."""
    seed: int = 0
    checkpoints: bool = True
    """Whether every report comes with a checkpoint."""
    requests: Sequence[tuple[float, Mapping[str, Any]]] = ()
    """What is asked of it as it runs, and at which second; see `Requested`."""

    def __post_init__(self) -> None:
        for name in ("num_samples", "workers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be 1 or more")


@dataclass(frozen=True, kw_only=True)
class Simulated:
    """How a simulated sweep went; times are seconds from its beginning."""

    events: list[Event]
    """All of them, those it was resumed from included."""
    trials: Trials
    idle: list[float]
    """By worker: seconds it had nothing to do; since the resume, in a resumed simulation."""

    @property
    def seconds(self) -> float:
        """When it ended."""
        return self.events[-1].time

    @property
    def asks(self) -> list[Asked]:
        """The configurations that the searcher proposed."""
        return [event for event in self.events if isinstance(event, Asked)]

    def incumbents(self) -> list[tuple[float, float]]:
        """(time, best objective so far) at each change."""
        folded, changes = Trials(self.trials.objective), list[tuple[float, float]]()
        for event in self.events:
            folded.apply(event)
            value = folded.best.value if folded.best else None
            if value is not None and (not changes or changes[-1][1] != value):
                changes.append((event.time, value))
        return changes


def simulate(
    curve: Curve | Training,
    setup: Setup,
    *,
    history: Iterable[Event] = (),
    log: EventLog | None = None,
) -> Simulated:
    """Run a sweep to its end.

    Args:
        curve: What each trial would report.
        setup: The sweep.
        history: Events to go on from, such as the first ones of an earlier simulation. Its time
            stands still in between and the work in flight is not lost, so what follows equals the
            unbroken run.
        log: Where new events also go, such as a `Journal`.
    """
    if setup.fidelity is not None and isinstance(curve, Training):
        raise ValueError("where the fidelity is a parameter, no step goes on from another")
    simulator = _Simulator(curve, setup, list(history), log)
    simulator.run()
    return Simulated(events=simulator.events, trials=simulator.engine.trials, idle=simulator.idle)


@dataclass(frozen=True, order=True)
class _Step:
    """A step in training. Of those that end together, the one that began first is first."""

    ends: float
    began: int
    """How many events there were when it began, which is another number for every step."""
    worker: int = field(compare=False)
    trial: int = field(compare=False)
    number: int = field(compare=False)
    """Of the step, or of the rung that a whole curve was trained for."""
    metrics: Mapping[str, float] = field(compare=False)


class _Simulator:
    def __init__(
        self, curve: Curve | Training, setup: Setup, history: list[Event], log: EventLog | None
    ) -> None:
        self.events = history
        self.idle = [0.0] * setup.workers
        objective, options, fidelity = setup.objective, dict(setup.scheduler), setup.fidelity
        if fidelity is not None:
            objective, options["max_t"] = replace(objective, at="last"), fidelity.max_t
        scheduler = make_scheduler(**options, space=setup.space, seed=setup.seed)
        rungs = scheduler.rungs()
        self.engine = Engine(
            log=self,
            objective=objective,
            make_searcher=lambda view: make_searcher(
                **setup.searcher,
                space=setup.space,
                view=view,
                seed=setup.seed,
                rungs=rungs if fidelity is None else [fidelity.rung(r) for r in rungs],
                num_samples=setup.num_samples,
                initial=setup.initial,
            ),
            scheduler=scheduler,
            limits=Limits(num_samples=setup.num_samples),
            budget=setup.budget,
            space=setup.space,
            fidelity=fidelity,
            clock=lambda: self._now,
        )
        self._curve = curve
        self._setup = setup
        self._log = log
        self._now = history[-1].time if history else 0.0
        self._free = [(worker, self._now) for worker in range(setup.workers)]
        self._heap: list[_Step] = []
        self._curves: dict[int, tuple[int, Iterator[tuple[int, Outcome]]]] = {}
        """By trial: how often it had gone on from another's checkpoint, and its steps since."""
        self._in_flight: dict[int, tuple[float, int]] = {}

    def append(self, *events: Event) -> None:
        """Be the engine's event log."""
        self.events.extend(events)
        if self._log is not None:
            self._log.append(*events)

    def run(self) -> None:
        history = list(self.events)
        self.engine.open(history, name="simulation")
        self._in_flight = _steps_in_flight(history, self.engine.trials)
        self._go_on()
        while self._has_more() and self._now < self._setup.seconds:
            self._advance()
            self._go_on()
        for worker, since in self._free:
            self.idle[worker] += self._now - since
        self.engine.close(self.engine.spent or "done")

    def _has_more(self) -> bool:
        return self.engine.spent is None and bool(self._heap or self.engine.due is not None)

    def _advance(self) -> None:
        """To the end of the next step, or to where a trial may be tried again in a free slot.

        Or to the end of all time, if that comes first.
        """
        due = self.engine.due
        soonest = min([s.ends for s in self._heap[:1]] + ([] if due is None else [due]))
        if soonest > self._setup.seconds:
            self._now = self._setup.seconds
        elif due is not None and self._free and (not self._heap or due < self._heap[0].ends):
            self._now = max(self._now, due)
        else:
            self._report(heapq.heappop(self._heap))

    def _go_on(self) -> None:
        """Give free slots work, and take up what has been asked by now."""
        self._fill()
        for number, (second, asked) in enumerate(self._setup.requests):
            if second <= self._now and str(number) not in self.engine.trials.steered.answers:
                self.engine.on_request(str(number), asked)
                self._fill()

    def _fill(self) -> None:
        """Give every free slot what there is to do."""
        while self._free:
            segment = self.engine.next_segment()
            if not isinstance(segment, Segment):
                return
            worker, since = self._free.pop(0)
            self.idle[worker] += self._now - since
            if segment.rung is not None:
                self._train_anew(worker, segment, segment.rung)
                continue
            if self._curves.get(segment.trial, (-1,))[0] != segment.exploits:
                self._curves[segment.trial] = segment.exploits, self._curve_of(segment)
            self._train(worker, segment.trial)

    def _curve_of(self, segment: Segment) -> Iterator[tuple[int, Outcome]]:
        if isinstance(self._curve, Training):
            trials = self.engine.trials
            trial = trials[segment.trial]
            steps = self._curve.along(
                [(s.step, s.trial, trials.values(trial, s.params)) for s in trial.schedule]
            )
        else:
            steps = iter(self._curve(segment.values, segment.trial))
        return islice(enumerate(steps, start=1), int(segment.checkpoint or 0), None)

    def _train(self, worker: int, trial: int) -> None:
        now, began = self._in_flight.pop(trial, (self._now, len(self.events)))
        for number, (metrics, seconds) in self._curves[trial][1]:
            step = _Step(now + seconds, began, worker, trial, number, metrics)
            heapq.heappush(self._heap, step)
            return
        self.engine.on_return(trial, {})
        self._end_segment(worker, trial)

    def _train_anew(self, worker: int, segment: Segment, rung: int) -> None:
        """Train a whole curve at a fidelity: one step for the rung."""
        assert self._setup.fidelity is not None
        assert not isinstance(self._curve, Training)
        now, began = self._in_flight.pop(segment.trial, (self._now, len(self.events)))
        name = self._setup.fidelity.name.lstrip("+")
        outcomes = self._curve({**segment.values, name: segment.fidelity}, segment.trial)
        metrics, seconds = _best(outcomes, replace(self._setup.objective, at="best"))
        step = _Step(now + seconds, began, worker, segment.trial, rung, metrics)
        heapq.heappush(self._heap, step)

    def _report(self, step: _Step) -> None:
        self._now = step.ends
        checkpoint = str(step.number) if self._setup.checkpoints else None
        if self._setup.fidelity is not None:
            self.engine.on_return(step.trial, step.metrics, checkpoint=checkpoint)
            self._end_segment(step.worker, step.trial)
            return
        decision = self.engine.on_report(
            step.trial, step=step.number, metrics=step.metrics, checkpoint=checkpoint
        )
        if decision is Decision.CONTINUE:
            self._train(step.worker, step.trial)
        else:
            self._end_segment(step.worker, step.trial)

    def _end_segment(self, worker: int, trial: int) -> None:
        if self.engine.trials[trial].status.is_final:
            self._curves.pop(trial, None)
        self._free.append((worker, self._now))


def _best(outcomes: Iterable[Outcome], objective: Objective) -> Outcome:
    """The best step's metrics, and the seconds of all; a step that diverges is the last."""
    best: Mapping[str, float] = {}
    spent = 0.0
    for metrics, seconds in outcomes:
        spent += seconds
        value = metrics.get(objective.metric)
        if value is None:
            continue
        if not math.isfinite(value):
            return metrics, spent
        if objective.replaces(value, best.get(objective.metric)):
            best = metrics
    return best, spent


def _steps_in_flight(history: list[Event], trials: Trials) -> dict[int, tuple[float, int]]:
    """When each running trial's step began, as time and as number of events."""
    began: dict[int, tuple[float, int]] = {}
    for so_far, event in enumerate(history, start=1):
        match event:
            case Asked() | Started() | Reported():
                began[event.trial] = event.time, so_far
            case Lost():
                del began[event.trial]
    return {n: step for n, step in began.items() if trials[n].status is Status.RUNNING}
