"""Sweeps of the audit app on a cluster, and what must be true of them whatever has happened.

What was trained is told by the app's own lines, what was decided by the journal; neither is trusted
to speak for the other.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from sweeps.journal.events import Asked, Closed, Ended, Event, Lost, Reported, Started
from sweeps.journal.file import read_journal
from sweeps.journal.status import Status
from sweeps.journal.trials import Trials
from sweeps.results import load_sweep
from sweeps.storage.folder import SweepFolder
from tests.cluster.nodes import RayCluster

APP = Path(__file__).parents[1] / "apps" / "audit.py"
STEPS = 200
WAIT_S = 240.0


@dataclass(frozen=True)
class Line:
    """A step that was trained."""

    trial: int
    node: str
    pid: int
    time: float
    step: int
    begun: int


def wait_until(
    condition: Callable[[], object], why: Callable[[], str] = str, *, within: float = WAIT_S
) -> float:
    """Wait until something is so; how long that took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < within, why()
        time.sleep(0.02)
    return time.monotonic() - began


@dataclass(kw_only=True)
class AuditedSweep:
    """A sweep of the audit app, driven by processes that come and go."""

    cluster: RayCluster
    storage: Path
    trials: int
    steps: int = STEPS
    step_s: float = 0.3
    options: tuple[str, ...] = ()
    audit: Path | None = None
    """The file of the app's lines, where it is not in the storage."""
    prefix: tuple[str, ...] = ()
    """What the driver's command stands behind."""
    drivers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    output: Path = field(init=False)

    def __post_init__(self) -> None:
        self.audit = self.audit or self.storage / "audit.log"
        self.output = self.audit.with_name("driver.txt")

    @property
    def gate(self) -> Path:
        """Once this file is there, trials train fast."""
        assert self.audit is not None
        return self.audit.with_name("gate")

    def finish(self, *, within: float = 2 * WAIT_S) -> None:
        """Let it come to its end, which must be a good one."""
        self.gate.touch()
        assert self.drivers[-1].wait(timeout=within) == 0, self.said

    @property
    def folder(self) -> SweepFolder:
        return SweepFolder(self.storage / "s")

    @property
    def arguments(self) -> list[str]:
        """Behind the app's name; a sweep that is there is gone on with."""
        own = [f"+audit={self.audit}", "+x=interval(0,1)", f"+steps={self.steps}"]
        own += ["hydra/sweeper=ray_tune", "hydra/sweeper/searcher=random", "hydra.sweeper.seed=3"]
        own += [f"+gate={self.gate}"]
        own += [f"hydra.sweeper.storage_path={self.storage}", "hydra.sweeper.name=s"]
        own += ["hydra.sweeper.metric=loss", "hydra.sweeper.mode=min", f"+step_s={self.step_s}"]
        own += [f"hydra.sweeper.num_samples={self.trials}", *self.options]
        there = self.folder.sweep_yaml.exists() or self.folder.journal.exists()
        return ["-m", *own, *(["hydra.sweeper.resume=true"] if there else [])]

    def start(self, *, env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start a driver."""
        environment = self.cluster.environment | {"RAY_ADDRESS": self.cluster.address}
        with self.output.open("ab") as file:
            driver = subprocess.Popen(
                [*self.prefix, sys.executable, str(APP), *self.arguments],
                stdout=file,
                stderr=subprocess.STDOUT,
                env=environment | dict(env or {}),
                start_new_session=True,
            )
        self.drivers.append(driver)
        return driver

    def end(self, number: int, *, within: float = 60) -> int:
        """Send the last driver a signal; its exit code."""
        self.drivers[-1].send_signal(number)
        return self.drivers[-1].wait(timeout=within)

    def clean_up(self) -> None:
        """End all drivers."""
        for driver in self.drivers:
            if driver.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(driver.pid, signal.SIGKILL)
                driver.wait()

    @property
    def said(self) -> str:
        """What all drivers printed."""
        return self.output.read_text() if self.output.exists() else ""

    @property
    def lines(self) -> list[Line]:
        """What was trained, in the order of the file."""
        assert self.audit is not None
        whole = self.audit.read_text().splitlines() if self.audit.exists() else []
        return [Line(**json.loads(line)) for line in whole]

    @property
    def events(self) -> list[Event]:
        journal = self.folder.journal
        return list(read_journal(journal)) if journal.exists() else []

    @property
    def state(self) -> Trials:
        return load_sweep(self.folder).trials

    def wait_for(self, condition: Callable[[], object], *, within: float = WAIT_S) -> float:
        """Wait until something is so while the driver lives; how long that took."""

        def holds() -> object:
            assert self.drivers[-1].poll() is None, self.said
            return condition()

        return wait_until(holds, lambda: f"{self.lines[-5:]}\n{self.said}", within=within)

    def wait_for_steps(self, more: int) -> None:
        """Wait until so many more steps were trained."""
        enough = len(self.lines) + more
        self.wait_for(lambda: len(self.lines) >= enough)

    def line_on(self, address: str) -> Line:
        """The newest line of a node; waits for one."""
        self.wait_for(lambda: any(line.node == address for line in self.lines))
        return [line for line in self.lines if line.node == address][-1]

    def wait_for_life(self, after: Line, *, within: float = WAIT_S) -> tuple[float, Line]:
        """Wait until that line's trial trains in another process: how long that took."""

        def elsewhere() -> list[Line]:
            mine = [line for line in self.lines if line.trial == after.trial]
            return [line for line in mine if line.pid != after.pid and line.time > after.time]

        took = self.wait_for(elsewhere, within=within)
        return took, elsewhere()[0]

    def check(self, *, winner: Winner | None = None, losses: int | None = None) -> None:
        """See that nothing was lost, and nothing done twice, that a checkpoint had saved."""
        said = self.said
        asked = [event.trial for event in self.events if isinstance(event, Asked)]
        assert asked == [*range(self.trials)], said
        ended = [event.trial for event in self.events if isinstance(event, Ended)]
        assert sorted(ended) == [*range(self.trials)], said
        assert [trial.status for trial in self.state] == [Status.COMPLETE] * self.trials, said
        closed = self.events[-1]
        assert isinstance(closed, Closed)
        assert closed.reason == "done"
        self._check_reports()
        self._check_lines()
        for trial in self.state:
            assert trial.value == best_loss(trial.params["x"], self.steps)
        if losses is not None:
            assert sum(trial.losses for trial in self.state) == losses, said
        if winner is not None:
            assert Winner.of(self) == winner
        assert "Traceback" not in said

    def _check_reports(self) -> None:
        """The journal has each step of each trial once, in order."""
        steps = defaultdict(list)
        for event in self.events:
            if isinstance(event, Reported):
                steps[event.trial].append(event.step)
        assert steps == {trial: [*range(1, self.steps + 1)] for trial in range(self.trials)}

    def _check_lines(self) -> None:
        """Each segment began where the newest checkpoint was, and went on step by step.

        A step is trained again only where a segment was cut off between training and report: once a
        segment at most.
        """
        segments = defaultdict(list)
        for line in self.lines:
            segments[line.trial, line.pid, line.begun].append(line.step)
        for (_, _, begun), steps in segments.items():
            assert steps == [*range(begun + 1, begun + 1 + len(steps))]
        saved = defaultdict(lambda: {0})
        began = defaultdict(list)
        for event in self.events:
            if isinstance(event, Reported):
                saved[event.trial].add(event.step)
            elif isinstance(event, Asked | Started):
                began[event.trial].append(max(saved[event.trial]))
        for (trial, _, begun), _ in segments.items():
            assert begun in began[trial]
        for trial in range(self.trials):
            trained = [line.step for line in self.lines if line.trial == trial]
            again = len(trained) - len(set(trained))
            assert set(trained) == set(range(1, self.steps + 1))
            assert again <= len(began[trial]) - 1, (trial, trained, began[trial])

    @property
    def losses(self) -> list[Lost]:
        return [event for event in self.events if isinstance(event, Lost)]


@dataclass(frozen=True)
class Winner:
    """The best trial."""

    number: int
    value: float | None
    x: float

    @classmethod
    def of(cls, sweep: AuditedSweep) -> Winner:
        best = sweep.state.best
        assert best is not None
        return cls(best.number, best.value, best.params["x"])


def best_loss(x: float, steps: int) -> float:
    """The best of the losses that the app reports, computed in its order."""
    losses, loss = [], 1.0
    for step in range(1, steps + 1):
        loss = 0.9 * loss + (x - 0.3) ** 2 / step
        losses.append(loss)
    return min(losses)


@contextmanager
def audited(sweep: AuditedSweep) -> Iterator[AuditedSweep]:
    """The sweep; its drivers are gone at the end."""
    try:
        yield sweep
    finally:
        sweep.clean_up()


def kill(pid: int) -> None:
    """Kill a trial's process, if it is there."""
    with suppress(psutil.NoSuchProcess):
        psutil.Process(pid).kill()
