"""What a sweep shows while it runs; `sweeps.driver.summary` says what came of it.

with Progress(objective, total=lambda: engine.total, max_t=81, console=console) as progress:
    ...  # the engine calls progress(event, trials)
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from sweeps import render
from sweeps.core.memory import ADVICE, OUT_OF_MEMORY
from sweeps.core.repeats import SPREAD
from sweeps.errors import headline
from sweeps.journal.events import (
    Asked,
    Ended,
    Event,
    Lost,
    Opened,
    Reported,
    Requested,
    Started,
)
from sweeps.journal.objective import Objective
from sweeps.journal.status import BY_REQUEST, Decision, Status
from sweeps.journal.trials import Trial, Trials
from sweeps.reports.answers import answer
from sweeps.storage.folder import SweepFolder

_REFRESHES_PER_SECOND = 4
_FAILURES_TOLD = 3
_LIVE = (Status.RUNNING, Status.PAUSED)
_ENDED = (Status.COMPLETE, Status.STOPPED, Status.DIVERGED, Status.FAILED)


class Progress:
    """A sweep's progress; an engine's listener and a context manager.

    On a terminal it is a live display, drawn four times a second by rich's own thread: an event
    only notes what happened. Elsewhere it is a line for each change worth telling: a trial paused,
    ended, was promoted, or a new one leads. Of a burst the first hundred lines are written, then
    two a second, which say how many were left out; a new leader and the first failures are always
    told.

    The time left is estimated as (trials not settled) times (seconds per trial settled by this
    driver), where a trial is settled when it is paused or has ended: what promotions cost is in the
    rate. It is shown once every slot has settled a trial and three have been settled in all, and no
    more when every trial has been started and only promotions are left, whose cost it cannot know.

    Where the scheduler would pause a trial that never gave a checkpoint it says so once:
    `cannot_pause` holds the first rung, and what becomes of such a trial.
    """

    def __init__(
        self,
        objective: Objective,
        *,
        total: Callable[[], int],
        max_t: int | None,
        console: Console,
        cannot_pause: tuple[int, str] | None = None,
        repeats: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._objective = objective
        self._total = total
        self._max_t = max_t
        self._console = console
        self._clock = clock
        self._began = clock()
        self._trials = Trials(objective)
        self._first_segments: set[int] = set()
        self._settled_before = 0
        self._leader: int | None = None
        self._failures = 0
        self._cannot_pause = cannot_pause
        self._repeats = repeats
        """How many runs a trial is; 1 once it is known that they differ, or was told."""
        self._gate = _Gate()
        self._live: Live | None = None

    def __enter__(self) -> Self:
        self._began = self._clock()
        if self._console.is_terminal:
            self._live = Live(
                get_renderable=self._render,
                console=self._console,
                refresh_per_second=_REFRESHES_PER_SECOND,
                transient=True,
            )
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def __call__(self, event: Event, trials: Trials) -> None:
        """Take note of an event that took effect."""
        self._trials = trials
        self._note(event)
        leads = self._has_new_leader()
        if isinstance(event, Reported):
            self._tell_not_pausable(event)
        self._tell_equal_repeats(event)
        if isinstance(event, Requested):
            self._tell_request(event)
        elif isinstance(event, Ended) and event.status is Status.FAILED:
            self._tell_failure(event)
        elif self._live is None:
            self._tell(event, leads=leads)

    # What is kept

    def _note(self, event: Event) -> None:
        match event:
            case Opened():
                running = self._trials.with_status(Status.RUNNING)
                self._first_segments = {t.number for t in running if not t.promotions}
                self._settled_before = self._settled
                self._leader = self._trials.best.number if self._trials.best else None
            case Asked():
                self._first_segments.add(event.trial)
            case Reported(decision=Decision.PAUSE) | Ended():
                self._first_segments.discard(event.trial)

    @property
    def _settled(self) -> int:
        return len(self._trials) - self._trials.counts[Status.RUNNING]

    def _has_new_leader(self) -> bool:
        leader = self._trials.best.number if self._trials.best else None
        changed = leader is not None and leader != self._leader
        self._leader = leader
        return changed

    def seconds_left(self) -> float | None:
        """An estimate of the time left, where one can be made; see the class."""
        settled_now = self._settled - self._settled_before
        running = self._trials.counts[Status.RUNNING]
        if settled_now < max(3, running):
            return None
        if len(self._trials) >= self._total() and self._promotes:
            return None
        return (self._total() - self._settled) * (self._clock() - self._began) / settled_now

    @property
    def _promotes(self) -> bool:
        return self._trials.counts[Status.PAUSED] > 0

    # Lines, where there is no terminal

    def _tell(self, event: Event, *, leads: bool) -> None:
        line = _line(event, self._trials, self._objective, leads=leads)
        if line is not None and self._gate.passes(self._clock(), always=leads):
            self._write(f"{line} | {_plain_counts(self._trials)}{self._gate.left_out()}")

    def _tell_failure(self, event: Ended) -> None:
        self._failures += 1
        reason = headline(event.error) or event.cause or "no reason given"
        trial = self._trials[event.trial]
        folder = SweepFolder(Path()).job(event.trial, trial.run, life=trial.lives)
        line = f"trial {event.trial} failed: {reason} | {folder}"
        first = self._failures <= _FAILURES_TOLD
        if self._live is not None:
            if first:
                self._console.print(Text(line, "red"))
        elif self._gate.passes(self._clock(), always=first):
            self._write(f"{line} | {_plain_counts(self._trials)}{self._gate.left_out()}")

    def _tell_request(self, event: Requested) -> None:
        line = answer(event)
        if self._live is not None:
            self._console.print(Text(line, "yellow" if event.refusal else "cyan"))
        else:
            self._write(line)

    def _tell_not_pausable(self, event: Reported) -> None:
        """Say once that the scheduler cannot do what it is for: the app gives no checkpoints."""
        if self._cannot_pause is None or self._trials[event.trial].checkpoint is not None:
            return
        first_rung, instead = self._cannot_pause
        if event.step < first_rung or event.value is None or not math.isfinite(event.value):
            return
        self._cannot_pause = None
        self._warn(
            f"trial {event.trial} reports without a checkpoint, so it cannot pause: it {instead}"
        )

    def _tell_equal_repeats(self, event: Event) -> None:
        """Say of the first trial that came to something whether it trained one run many times."""
        if self._repeats == 1 or not isinstance(event, Reported | Ended):
            return
        trial, spread = self._trials[event.trial], f"{self._objective.metric}{SPREAD}"
        if trial.status in (Status.RUNNING, Status.FAILED, Status.DIVERGED):
            return
        told = [report.metrics for report in trial.reports.values()]
        spreads = [metrics[spread] for metrics in (*told, trial.metrics) if spread in metrics]
        if spreads and not any(spreads):
            self._warn(
                f"the {self._repeats} repeats of trial {event.trial} gave the same "
                f"{self._objective.metric}: where the app seeds itself, name the key of its seed "
                f"with hydra.sweeper.repeats_key"
            )
        self._repeats = 1

    def _warn(self, line: str) -> None:
        if self._live is not None:
            self._console.print(Text(line, "yellow"))
        else:
            self._write(line)

    def _write(self, text: str) -> None:
        self._console.file.write(f"[{self._clock() - self._began:5.0f}s] {text}\n")
        self._console.file.flush()

    # The display, on a terminal; runs in rich's thread and only reads

    def _render(self) -> RenderableType:
        lines: list[RenderableType] = [self._bar(), self._counts()]
        best = self._best()
        return Group("", *lines, *([best] if best else []), "")

    def _bar(self) -> RenderableType:
        total = max(1, self._total())
        done = len(self._trials) - len(self._first_segments)
        row = Table.grid(padding=(0, 2))
        elapsed = render.duration(self._clock() - self._began)
        row.add_row(
            ProgressBar(total=total, completed=done, width=36),
            Text.assemble((f"{done}/{total}", "bold"), " trials"),
            Text(elapsed, "dim"),
            Text(self._time_left(), "dim"),
        )
        return row

    def _time_left(self) -> str:
        left = self.seconds_left()
        if left is not None:
            return f"about {render.duration(left)} left"
        started = len(self._trials) >= self._total()
        return "only promotions left" if started and self._promotes else ""

    def _counts(self) -> Text:
        if not len(self._trials):
            return Text("no trial has started yet", "dim")
        counts = render.counts(self._trials.counts)
        return Text("   ").join([counts, Text(self._steps(), "dim")])

    def _steps(self) -> str:
        spent = self._trials.steps
        full = len(self._trials) * (self._max_t or 0)
        return f"{spent} steps" + (f", {spent / full:.0%} of full runs" if full else "")

    def _best(self) -> Text | None:
        best = self._trials.best
        if best is None:
            return None
        step = f", step {best.best.step}" if best.best else ""
        return Text.assemble(
            ("best  ", "dim"),
            f"{self._objective.metric} ",
            (render.number(best.value), "bold green"),
            (f"  trial {best.number}{step}  ", "dim"),
            render.parameters(self._values(best)),
            no_wrap=True,
            overflow="ellipsis",
        )

    def _values(self, trial: Trial) -> Mapping[str, Any]:
        return self._trials.values(trial, trial.best_params)


class _Gate:
    """Lets a burst of lines through, then one in an interval (a token bucket)."""

    def __init__(self, *, burst: int = 100, interval: float = 0.5) -> None:
        self._burst = burst
        self._interval = interval
        self._tokens = float(burst)
        self._last = 0.0
        self._held = 0

    def passes(self, now: float, *, always: bool = False) -> bool:
        gained = max(0.0, now - self._last) / self._interval
        self._tokens = min(self._burst, self._tokens + gained)
        self._last = now
        if not always and self._tokens < 1:
            self._held += 1
            return False
        self._tokens = max(0.0, self._tokens - 1)
        return True

    def left_out(self) -> str:
        """How many lines were held back since this was last asked."""
        held, self._held = self._held, 0
        return f" (+{held} lines left out)" if held else ""


def _line(event: Event, trials: Trials, objective: Objective, *, leads: bool) -> str | None:
    """An event as one line, or None where it is not worth one."""
    lead = ", best so far" if leads else ""
    match event:
        case Reported(decision=Decision.PAUSE):
            value = _value(objective, event.value)
            return f"trial {event.trial} paused at step {event.step}{value}{lead}"
        case Reported() if leads:
            value = _value(objective, event.value)
            return f"trial {event.trial} at step {event.step}{value}{lead}"
        case Ended():
            step = trials[event.trial].step
            at = f" at step {step}" if step else ""
            value = f"{_value(objective, event.value)}{_because(event)}"
            return f"trial {event.trial} {event.status}{at}{value}{lead}"
        case Started(source=int() as source):
            return f"trial {event.trial} goes on from trial {source}'s step {event.step}"
        case Started():
            step = trials[event.trial].step
            said = {"promote": "promoted", "resume": "goes on", "retry": "tried again"}
            return f"trial {event.trial} {said[event.reason]} from step {step}"
        case Lost(cause="error"):
            return f"trial {event.trial} raised, to be tried again: {headline(event.reason)}"
        case Lost(cause="preempted"):
            return f"trial {event.trial} preempted: it goes on elsewhere"
        case Lost():
            return f"trial {event.trial} lost its worker: {event.reason}"
        case _:
            return None


def _because(event: Ended) -> str:
    if event.cause == BY_REQUEST:
        return ", by request"
    if event.cause == OUT_OF_MEMORY:
        return f", out of memory: {ADVICE}"
    return ", its time is up" if event.cause == "time_limit" else ""


def _value(objective: Objective, value: float | None) -> str:
    return "" if value is None else f", {objective.metric} {render.number(value)}"


def _plain_counts(trials: Trials) -> str:
    shown = [f"{trials.counts[s]} {s}" for s in Status if trials.counts[s] > 0]
    return ", ".join(shown)
