"""The workers of a sweep: jobs that come and go, or the other nodes of an allocation."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import time
from typing import Protocol

from cluster.errors import ClusterError
from cluster.slurm.commands import Slurm, SlurmJob
from cluster.slurm.folder import JobFolder, Spec
from cluster.slurm.ray_node import HeadGoneError, Joined, View, look
from cluster.slurm.staffing import decide

log = logging.getLogger("caviar")

_LOOK_S = 2.0
_ASK_SLURM_S = 10.0
"""Every question to Slurm is work for a controller that all users share."""

_JOIN_S = 300.0
_END_S = 10.0
_MOST_FAILURES = 3
"""Worker jobs in a row that ended without having joined."""


class Crew(Protocol):
    """What the driver does with its workers."""

    def tick(self) -> None:
        """See how they stand, and bring in or let go.

        Raises:
            ClusterError: There will be none.
        """
        ...

    @property
    def is_ready(self) -> bool:
        """Whether the sweep can begin."""
        ...

    @property
    def summary(self) -> str:
        """How they stand, in a line."""
        ...

    def dismiss(self) -> None:
        """End them."""
        ...


class Watch:
    """Looks at a head's nodes now and then."""

    def __init__(self, address: str, head_job: str, head_host: str) -> None:
        self._address = address
        self._head = (head_job, head_host)
        self._next = 0.0
        self.view = View(nodes=(), waiting=())
        self.busy_at = time.monotonic()
        """When something last waited for a place."""

    def look(self) -> bool:
        """Look, if it is time; whether there is news."""
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + _LOOK_S
        try:
            seen = look(self._address)
        except HeadGoneError as error:
            log.info("the head does not answer: %s", error)
            return False
        self.view = View(
            nodes=[node for node in seen.nodes if (node.job, node.host) != self._head],
            waiting=seen.waiting,
        )
        if seen.waiting:
            self.busy_at = now
        return True


class Elastic:
    """Worker jobs: submitted while trials wait, let go when they do not."""

    def __init__(self, spec: Spec, job: JobFolder, watch: Watch, slurm: Slurm) -> None:
        self._bounds = (spec.least, spec.most)
        self._job = job
        self._watch = watch
        self._slurm = slurm
        self._asked_at = time.monotonic()
        self._jobs: list[SlurmJob] = []
        self._joined: set[str] = set()
        """All that ever joined."""
        self._open: list[str] = []
        """Submitted, and not seen to have ended."""
        self._begun = False
        self._failures = 0
        self._failed = ""
        slurm.cancel_named(job.workers)  # of a head that died
        self._submit(spec.most)

    @property
    def is_ready(self) -> bool:
        """Whether as many have joined as there must be, and one at least."""
        if not self._begun and len(self._here) >= max(1, self._bounds[0]):
            self._begun = True
            self._watch.busy_at = time.monotonic()  # from now on what waits is known
        return self._begun

    @property
    def summary(self) -> str:
        """How they stand."""
        waits = sum(job.is_waiting for job in self._jobs)
        reasons = {job.reason for job in self._jobs if job.is_waiting and job.reason != "None"}
        why = f" ({', '.join(sorted(reasons))})" if reasons else ""
        return f"{len(self._here)} workers have joined, {waits} are queued{why}"

    def tick(self) -> None:
        """Submit while trials wait, let go after a minute in which none did."""
        if not self._watch.look():
            return
        here = {node.job for node in self._watch.view.nodes}
        if not here <= self._joined:
            self._failures = 0
        self._joined |= here
        if time.monotonic() < self._asked_at + _ASK_SLURM_S:
            return
        self._asked_at = time.monotonic()
        try:
            self._ask_slurm()
            self._carry_out(here)
        except ClusterError as error:  # Slurm may be down for a while; what has joined goes on
            log.info("%s", error)
        if self._failures >= _MOST_FAILURES:
            raise ClusterError(
                f"{self._failures} worker jobs in a row ended before they joined Ray: "
                f"see {self._job.worker_log(self._failed)}"
            )

    def dismiss(self) -> None:
        """Cancel all, queued ones too."""
        with contextlib.suppress(ClusterError):
            self._slurm.cancel_named(self._job.workers)

    @property
    def _here(self) -> list[Joined]:
        return [node for node in self._watch.view.nodes if not node.draining]

    def _carry_out(self, here: set[str]) -> None:
        orders = decide(
            self._watch.view,
            queued=[job.number for job in self._jobs if job.is_waiting],
            starting=[j.number for j in self._jobs if not j.is_waiting and j.number not in here],
            bounds=self._bounds if self._begun else (self._bounds[1],) * 2,
            calm_s=time.monotonic() - self._watch.busy_at,
        )
        self._submit(orders.submit)
        if orders.let_go:
            log.info("no trial waits: %d workers are let go", len(orders.let_go))
            self._open = [number for number in self._open if number not in orders.let_go]
            self._slurm.cancel(*orders.let_go)

    def _submit(self, count: int) -> None:
        script = self._job.worker_script.read_text(encoding="utf-8")
        submitted: list[str] = []
        try:
            for _ in range(count):
                submitted.append(self._slurm.submit(script))
        finally:
            self._open += submitted
            if submitted:
                log.info("asked Slurm for workers: jobs %s", ", ".join(submitted))

    def _ask_slurm(self) -> None:
        """See what is queued, and what ended without having joined."""
        self._jobs = self._slurm.named(self._job.workers)
        alive = {job.number for job in self._jobs}
        for number in [number for number in self._open if number not in alive]:
            self._open.remove(number)
            if number not in self._joined:
                log.info("worker job %s ended before it joined", number)
                self._failures += 1
                self._failed = number


class Allocation:
    """The other nodes of this job: one step of srun."""

    def __init__(self, spec: Spec, job: JobFolder, watch: Watch) -> None:
        self._others = spec.least - 1
        self._folder = job.path
        self._watch = watch
        self._deadline = time.monotonic() + _JOIN_S
        self._complete = False
        self._step = self._begin(spec, job) if self._others else None

    @property
    def is_ready(self) -> bool:
        """Whether all have joined."""
        return len(self._watch.view.nodes) >= self._others

    @property
    def summary(self) -> str:
        """How they stand."""
        return f"{len(self._watch.view.nodes) + 1} of {self._others + 1} nodes have joined"

    def tick(self) -> None:
        """See that all join in time; one that is lost later does not end the sweep."""
        self._watch.look()
        self._complete = self._complete or self.is_ready
        if self._complete:
            return
        ended = self._step is not None and self._step.poll() is not None
        if ended or time.monotonic() > self._deadline:
            why = "the step that starts the others ended" if ended else f"{_JOIN_S:g} s have gone"
            here = ", ".join(node.host for node in self._watch.view.nodes) or "none"
            raise ClusterError(
                f"not all nodes have joined Ray: {self.summary}, besides the head's "
                f"{here}; {why}: see driver.log and ray-*.log in {self._folder}"
            )

    def dismiss(self) -> None:
        """End the step, and so its tasks."""
        if self._step is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._step.send_signal(signal.SIGUSR1)  # srun hands it on; of SIGTERM it kills
        try:
            self._step.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._step.terminate()
            self._step.wait()

    def _begin(self, spec: Spec, job: JobFolder) -> subprocess.Popen[bytes]:
        count = str(self._others)
        command = ["srun", "--relative=1", f"--nodes={count}", f"--ntasks={count}"]
        command += ["--ntasks-per-node=1", "--cpu-bind=none", "--kill-on-bad-exit=0", "--overlap"]
        if spec.cpus:
            command += [f"--cpus-per-task={spec.cpus}"]
        return subprocess.Popen(  # noqa: S603
            [*command, "bash", str(job.worker_script)],
            env=dict(os.environ),
            stdin=subprocess.DEVNULL,
        )
