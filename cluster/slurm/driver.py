"""The driver's job: a Ray head, its workers, and the sweep's command beside it.

    python -m cluster.slurm.driver FOLDER

Before its time limit (SIGUSR1) it interrupts the command, which saves its state, and lets Slurm
requeue the job: it goes on under the same number with a head and workers of its own.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from cluster.errors import ClusterError
from cluster.slurm import ray_node
from cluster.slurm.commands import Slurm
from cluster.slurm.crew import Allocation, Crew, Elastic, Watch
from cluster.slurm.folder import JobFolder, Noted
from cluster.slurm.ray_node import HeadGoneError, RayNode
from cluster.slurm.signals import Wish, Wishes, heard

log = logging.getLogger("caviar")

_TICK_S = 0.2
_HEAD_S = 180.0
_MOST_TRIES = 3
_SAVE_S = 60.0
"""How long the command has to save its state, at most."""

_MOST_HEADS_LOST = 3
INTERRUPTED = 130


class HeadLostError(Exception):
    """Ray's head ended by itself."""


def main(folder: str) -> int:
    """Drive the sweep until it is over, or this job's time is; the command's exit code."""
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.INFO)
    with heard() as wishes:
        return Drive(JobFolder(Path(folder).resolve()), wishes).run()


class StoppedEarlyError(Exception):
    """A wish came before the command had begun."""


class Drive:
    """One job's part of a sweep."""

    def __init__(self, job: JobFolder, wishes: Wishes) -> None:
        self._job = job
        self._spec = job.read_spec()
        self._wishes = wishes
        self._slurm = Slurm(self._spec.cluster)
        self._number = os.environ["SLURM_JOB_ID"]
        before = job.noted()
        restarts = int(os.environ.get("SLURM_RESTART_COUNT", "0"))
        self._noted = Noted(restarts=restarts, heads_lost=before.heads_lost if before else 0)
        self._environment = ray_node.node_environment(self._spec, job)
        # for our own questions to the head
        os.environ.update({k: v for k, v in self._environment.items() if k.startswith("RAY_")})

    def run(self) -> int:
        """Run the command among its nodes, and say how it ended."""
        self._note(nodes=(ray_node.host(),), message="starting Ray")
        try:
            code = self._among_nodes()
        except StoppedEarlyError:
            code = INTERRUPTED
        except HeadLostError as error:
            return self._go_on(str(error), heads_lost=self._noted.heads_lost + 1)
        except ClusterError as error:
            log.error("%s", error)
            self._note(over=True, exit_code=1, message=str(error))
            return 1
        if self._wishes.last is Wish.LEAVE and code != 0:
            return self._go_on("this job's time is nearly up", heads_lost=0)
        self._note(over=True, exit_code=code, message=f"exit code {code}")
        return code

    def _among_nodes(self) -> int:
        with self._head() as (head, address), self._crew(address) as crew:
            while not crew.is_ready:
                if self._wishes.last is not None:
                    return INTERRUPTED
                self._tick(head, crew)
            log.info("%s", crew.summary)
            return self._command(head, crew, address)

    @contextlib.contextmanager
    def _head(self) -> Iterator[tuple[RayNode, str]]:
        elastic = self._spec.mode == "elastic"
        resources = [] if elastic else ray_node.resources_here(self._spec)
        environment = ray_node.head_environment(self._environment)
        for _ in range(_MOST_TRIES):
            port = ray_node.free_port()
            address = f"{ray_node.own_address()}:{port}"
            arguments = ray_node.head_arguments(port, resources)
            output = self._job.head_log
            with ray_node.running(arguments, environment, output=output) as head:
                if not self._comes_up(head, address):
                    log.info("Ray's head did not start: see %s", self._job.head_log)
                    continue
                self._job.write_head(address)
                try:
                    yield head, address
                finally:
                    self._job.write_head(None)
                return
        raise ClusterError(f"Ray's head did not start: see {self._job.head_log}")

    def _comes_up(self, head: RayNode, address: str) -> bool:
        deadline = time.monotonic() + _HEAD_S
        while head.is_up and time.monotonic() < deadline:
            if self._wishes.last is not None:
                raise StoppedEarlyError
            with contextlib.suppress(HeadGoneError):
                if ray_node.look(address).nodes:
                    return True
            time.sleep(_TICK_S)
        return False

    @contextlib.contextmanager
    def _crew(self, address: str) -> Iterator[Crew]:
        watch = Watch(address, self._number, ray_node.host())
        crew: Crew
        if self._spec.mode == "elastic":
            crew = Elastic(self._spec, self._job, watch, self._slurm)
        else:
            crew = Allocation(self._spec, self._job, watch)
        try:
            yield crew
        finally:
            self._job.write_head(None)  # so that they end at once
            crew.dismiss()

    def _command(self, head: RayNode, crew: Crew, address: str) -> int:
        environment = {**self._environment, "RAY_ADDRESS": address}
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "sweeps.cli", *self._spec.arguments],
            cwd=self._spec.cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
        )
        try:
            while process.poll() is None and self._wishes.last is None:
                self._tick(head, crew)
        except (HeadLostError, ClusterError):
            self._interrupt(process)
            raise
        return self._interrupt(process) if process.poll() is None else process.returncode

    def _interrupt(self, process: subprocess.Popen[bytes]) -> int:
        """Let the command save its state; end it hard if it does not come to an end."""
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGINT)
        try:
            return process.wait(min(_SAVE_S, self._spec.signal_delay_s / 2))
        except subprocess.TimeoutExpired:
            log.error("the command did not end after SIGINT and is killed; its journal is kept")
            process.kill()
            process.wait()
            return INTERRUPTED

    def _tick(self, head: RayNode, crew: Crew) -> None:
        if not head.is_up:
            raise HeadLostError("Ray's head ended")
        crew.tick()
        if self._noted.message != crew.summary:
            self._note(message=crew.summary)
        time.sleep(_TICK_S)

    def _go_on(self, why: str, *, heads_lost: int) -> int:
        """Have this job run once more."""
        if heads_lost > _MOST_HEADS_LOST:
            message = f"{why}, the {heads_lost}th time in a row"
            log.error("%s", message)
            self._note(over=True, exit_code=1, message=message)
            return 1
        log.info("%s: going on in the next job", why)
        self._note(message=f"{why}: going on in the next job", heads_lost=heads_lost)
        try:
            self._slurm.requeue(self._number)
        except ClusterError as error:
            if self._wishes.number == signal.SIGTERM:  # it was: that ends this job, scontrol too
                return INTERRUPTED
            log.error("%s", error)
            self._note(over=True, exit_code=INTERRUPTED, message=f"could not be requeued: {error}")
        return INTERRUPTED

    def _note(self, **told: object) -> None:
        self._noted = replace(self._noted, **told)  # type: ignore[arg-type]
        self._job.note(self._noted)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
