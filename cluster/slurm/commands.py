"""Slurm's commands, each bounded in time."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from cluster.backend import State
from cluster.errors import ClusterError

_TIMEOUT_S = 20.0

_WAITS = {"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT"}
_WAITS |= {"RESV_DEL_HOLD", "SUSPENDED", "STOPPED"}
_RUNS = {"RUNNING", "COMPLETING", "SIGNALING", "STAGE_OUT", "RESIZING"}
_ENDS = {"COMPLETED": State.SUCCEEDED, "CANCELLED": State.STOPPED}
"""Of Slurm's states; all others are failures."""


@dataclass(frozen=True, kw_only=True)
class SlurmJob:
    """A job as Slurm knows it."""

    number: str
    state: str
    """Slurm's word: PENDING, TIMEOUT, ..."""
    reason: str = ""
    exit_code: int | None = None
    """As a shell says it, of a job that has ended."""
    nodes: str = ""
    """In Slurm's notation: `n[1-2]`."""
    restarts: int | None = None
    """How often it was requeued, where Slurm says so."""

    @property
    def is_waiting(self) -> bool:
        """Whether it is in the queue."""
        return self.state in _WAITS

    @property
    def common_state(self) -> State:
        """Its state in the words of all backends."""
        if self.is_waiting:
            return State.PENDING
        if self.state in _RUNS:
            return State.RUNNING
        if self.state == "FAILED" and self.exit_code == 130:
            return State.STOPPED
        return _ENDS.get(self.state, State.FAILED)


@dataclass(frozen=True)
class Slurm:
    """One Slurm cluster, the default one or that of a name."""

    cluster: str | None = None

    def submit(self, script: str) -> str:
        """Submit a script, given as text; the job's number.

        Raises:
            ClusterError: Slurm refuses it.
        """
        told = self._run("sbatch", "--parsable", given=script).splitlines()
        return told[-1].partition(";")[0]

    def test(self, script: str) -> str:
        """When and where a script would run, in Slurm's words; nothing is submitted.

        Raises:
            ClusterError: Slurm would refuse it.
        """
        return self._run("sbatch", "--test-only", given=script).strip()

    def job(self, number: str) -> SlurmJob | None:
        """A job, from Slurm's memory or else its accounting; None where neither knows it.

        Raises:
            ClusterError: Slurm does not answer.
        """
        if not number.isdecimal():
            return None
        try:
            told = self._run("scontrol", "--oneliner", "show", "job", number)
        except ClusterError as error:
            if "Invalid job id" not in str(error):
                raise
            return self._accounted(number)
        return _read_job(number, told)

    def named(self, name: str) -> list[SlurmJob]:
        """The jobs of that name that are in the queue or run."""
        told = self._run("squeue", "--noheader", f"--name={name}", "--format=%A|%T|%r|%N")
        jobs = [line.split("|") for line in told.splitlines()]
        return [
            SlurmJob(number=number, state=state, reason=reason, nodes=nodes)
            for number, state, reason, nodes in jobs
        ]

    def hosts(self, nodes: str) -> tuple[str, ...]:
        """The nodes that Slurm's notation means."""
        if "[" not in nodes:
            return tuple(filter(None, nodes.split(",")))
        return tuple(self._run("scontrol", "show", "hostnames", nodes).split())

    def interrupt(self, number: str) -> None:
        """Send SIGINT to a job's script alone, which knows what to do."""
        self._run("scancel", "--signal=INT", "--batch", number)

    def cancel(self, *numbers: str) -> None:
        """End jobs: SIGTERM, and SIGKILL after Slurm's KillWait."""
        if numbers:
            self._run("scancel", *numbers)

    def cancel_named(self, name: str) -> None:
        """End all jobs of that name."""
        self._run("scancel", f"--name={name}")

    def requeue(self, number: str) -> None:
        """Let a job run once more under its number; ends it."""
        self._run("scontrol", "requeue", number)

    def partition(self, name: str | None, field: str) -> list[str]:
        """A field (as `sinfo --format` names it) of a partition, or of all."""
        which = [f"--partition={name}"] if name else []
        return self._run("sinfo", "--noheader", *which, f"--format={field}").split()

    def _accounted(self, number: str) -> SlurmJob | None:
        try:
            told = self._run(
                "sacct", "-X", "-n", "-P", "-j", number, "-o", "State,ExitCode,NodeList"
            )
        except ClusterError:  # there is no accounting
            return None
        state, code, nodes = ([*told.strip().split("|"), "", ""])[:3]
        if not state:
            return None
        return SlurmJob(
            number=number, state=state.split()[0], exit_code=_exit_code(code), nodes=nodes
        )

    def _run(self, command: str, *arguments: str, given: str | None = None) -> str:
        which = [f"--clusters={self.cluster}"] if self.cluster else []
        return run_slurm([command, *which, *arguments], given=given)


def run_slurm(command: list[str], *, given: str | None = None, timeout: float = _TIMEOUT_S) -> str:
    """What a command of Slurm's prints.

    Raises:
        ClusterError: It is not there, does not answer in time, or fails.
    """
    name = command[0]
    if shutil.which(name) is None:
        raise ClusterError(
            f"there is no {name} here; Slurm's commands are on the cluster's login nodes: run there"
        )
    try:
        done = subprocess.run(  # noqa: S603
            command,
            input=given,
            stdin=None if given is not None else subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            env=_environment(),
        )
    except subprocess.TimeoutExpired:
        raise ClusterError(
            f"{name} did not answer within {timeout:g} s: is slurmctld up?"
        ) from None
    if done.returncode:
        raise ClusterError(f"{name}: {_last_words(done.stderr) or f'exit code {done.returncode}'}")
    return done.stdout or done.stderr  # --test-only answers there


_OF_A_JOB = ("SLURM_", "SLURMD_", "SBATCH_", "SRUN_", "PMI_", "PMIX_")


def without_job(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment without what Slurm tells a job about itself.

    A job submitted from a job would take its limits over, and libraries in a trial (Lightning,
    MPI) would take the trial for a task of the job.
    """
    return {n: value for n, value in environment.items() if not n.startswith(_OF_A_JOB)}


def _environment() -> dict[str, str]:
    """For Slurm's commands, which find their cluster by `SLURM_CONF` where it is set."""
    where = {n: value for n, value in os.environ.items() if n == "SLURM_CONF"}
    return without_job(os.environ) | where


def _read_job(number: str, told: str) -> SlurmJob:
    """One line of `scontrol show job`."""

    def word(name: str) -> str:
        found = re.search(rf"(?:^| ){name}=(\S*)", told)
        return "" if found is None or found[1] in ("(null)", "None") else found[1]

    return SlurmJob(
        number=number,
        state=word("JobState"),
        reason=word("Reason"),
        exit_code=_exit_code(word("ExitCode")),
        nodes=word("NodeList"),
        restarts=int(word("Restarts") or 0),
    )


def _exit_code(told: str) -> int | None:
    """`1:0` or `0:9`, code and signal, as a shell says it."""
    code, colon, number = told.partition(":")
    if not colon:
        return None
    return 128 + int(number) if int(number) else int(code)


def _last_words(errors: str) -> str:
    """The last line of what a command said, without its own name; not that srun's task failed."""
    lines = [line for line in errors.splitlines() if line.strip()]
    telling = [line for line in lines if "Exited with exit code" not in line] or lines
    return re.sub(r"^\w+: (error: )?", "", telling[-1]) if telling else ""
