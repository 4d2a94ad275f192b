"""Slurm: a driver's job and its workers, as `cluster.slurm` has them."""

from __future__ import annotations

import re
import secrets
import shlex
import shutil
import sys
import time
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import ClassVar, Self

from cluster.auth import read_or_make_token
from cluster.backend import Check, Code, State, Status, Stopped, Submission
from cluster.errors import ClusterError, ConfigError
from cluster.files import write_private
from cluster.handle import Handle
from cluster.profile import CodeOptions, Profile, read_options
from cluster.project import Package
from cluster.slurm.checks import checks
from cluster.slurm.commands import Slurm, SlurmJob
from cluster.slurm.folder import Folders, JobFolder, Noted, Spec
from cluster.slurm.options import SlurmOptions, read_slurm
from cluster.slurm.scripts import driver_script, worker_script

_DEFAULT = "default"
"""The place of a handle where the profile names no cluster."""

_STOP_S = 90.0
_POLL_S = 0.5
_ASK_SLURM_S = 5.0


class SlurmBackend:
    """Submits with sbatch, from a login node."""

    scheme: ClassVar[str] = "slurm"

    def __init__(self, name: str, options: SlurmOptions) -> None:
        self.name = name
        self._options = options
        self._code = read_options(options.code, CodeOptions, key=f"cluster {name}.code")
        self._folders = Folders(Path(options.folder).expanduser())
        self._slurm = Slurm(options.cluster)

    @classmethod
    def from_profile(cls, profile: Profile) -> Self:
        """The backend as a profile describes it."""
        return cls(profile.name, read_slurm(profile))

    def preview(self, submission: Submission) -> str:
        """The scripts."""
        job = JobFolder(self._folders.path / self._key(submission, "XXXXXX"))
        spec = self._spec(submission, job)
        sweep = shlex.join(["python", "-m", "sweeps.cli", *spec.arguments])
        shown = f"# {job.driver_script}\n{self._driver_script(job)}"
        if spec.mode == "elastic" or spec.least > 1:
            each = f"{spec.least}..{spec.most} jobs" if spec.mode == "elastic" else "on each node"
            shown += f"\n# {job.worker_script}: {each}\n{self._worker_script(job)}"
        return f"{shown}\n# the driver runs, in {spec.cwd}:\n#   {sweep}\n"

    def checks(self, submission: Submission | None) -> Iterable[Check]:
        """Slurm, what the profile asks of it, the file systems, and a look at a node."""
        job = JobFolder(self._folders.path / "check")
        scripts = {"the driver's job": self._driver_script(job)}
        if self._options.mode == "elastic":
            scripts["a worker's job"] = self._worker_script(job)
        storage = submission.storage if submission else self._options.storage
        return checks(self._slurm, self._options, scripts, self._folders.path, storage)

    def submit(self, submission: Submission) -> Handle:
        """Write its folder and submit the driver's job.

        Raises:
            ClusterError: Slurm refused it, or the folder cannot be written.
        """
        key = self._key(submission, secrets.token_hex(3))
        try:
            job = self._folders.new(key)
        except OSError as error:
            raise ClusterError(
                f"{self._folders.path} cannot be written: {error.strerror}; the profile's `folder` "
                f"says where submissions are kept"
            ) from error
        try:
            self._write(job, submission)
            number = self._slurm.submit(self._driver_script(job))
        except BaseException:
            shutil.rmtree(job.path, ignore_errors=True)
            raise
        place = self._options.cluster or _DEFAULT
        self._folders.link(job, place, number)
        return Handle(self.scheme, place, number)

    def reaches(self, handle: Handle) -> bool:
        """Always: a handle says which of Slurm's clusters is asked."""
        return True

    def status(self, handle: Handle) -> Status:
        """How it stands, from Slurm; from what the driver wrote where Slurm has forgotten it."""
        known = self._of(handle).job(handle.job)
        job = self._folders.find(handle.place, handle.job)
        noted = job.noted() if job else None
        if known is not None and known.is_waiting:
            return _waiting(known, noted)
        if noted is not None and noted.over and _is_of_this_run(noted, known):
            return _over(noted)
        if known is None:
            return _forgotten(handle, noted)
        if known.common_state is State.RUNNING:
            message = noted.message if noted else "the job's setup runs"
            nodes = self._of(handle).hosts(known.nodes)
            return Status(state=State.RUNNING, message=message, nodes=nodes)
        return _ended(known)

    def logs(self, handle: Handle, *, follow: bool = False) -> Iterator[str]:
        """What the driver printed, over all its jobs."""
        job = self._folders.find(handle.place, handle.job)
        if job is None:
            raise ClusterError(
                f"the log of {handle} is not in {self._folders.path}: it was submitted with "
                f"another `folder`, or it has been removed"
            )
        return self._read_log(handle, job, follow)

    def stop(self, handle: Handle) -> Stopped:
        """Interrupt it, and wait until its state is saved; a job in the queue is cancelled."""
        began = self.status(handle)
        if began.state.is_over or began.state is State.UNKNOWN:
            return Stopped(done=began.state.is_over, message=f"{handle}: {began.message}")
        slurm = self._of(handle)
        deadline = time.monotonic() + _STOP_S
        known, signalled = None, False
        while time.monotonic() < deadline:
            known = slurm.job(handle.job)
            if known is not None and known.is_waiting:
                return self._cancel_queued(handle, known)
            if self.status(handle).state.is_over:
                return Stopped(done=True, message="it was interrupted and has ended")
            if not signalled:
                slurm.interrupt(handle.job)
                signalled = True
            time.sleep(_POLL_S)
        self._cancel(handle, restarts=(known.restarts or 0) if known else 0)
        return Stopped(
            done=True,
            message=f"it did not end within {_STOP_S:g} s of SIGINT and was cancelled; what it "
            f"had reported by then is kept",
        )

    # Submitting

    def _key(self, submission: Submission, mark: str) -> str:
        return f"caviar-{re.sub(r'[^A-Za-z0-9._-]', '-', submission.name)}-{mark}"

    def _driver_script(self, job: JobFolder) -> str:
        return driver_script(self._options, job, python=self._python)

    def _worker_script(self, job: JobFolder) -> str:
        return worker_script(self._options, job, python=self._python)

    @property
    def _python(self) -> str:
        return self._options.python or sys.executable

    def _write(self, job: JobFolder, submission: Submission) -> None:
        if submission.code.travels:
            _copy(submission.code, job)
        job.write_spec(self._spec(submission, job))
        read_or_make_token(job.token)
        write_private(job.driver_script, self._driver_script(job))
        write_private(job.worker_script, self._worker_script(job))

    def _spec(self, submission: Submission, job: JobFolder) -> Spec:
        root = self._root(submission.code, job)
        options, ask = self._options, submission.ask
        least, most = options.bounds if options.mode == "elastic" else (options.nodes,) * 2
        if options.mode == "elastic" and ask.at_once:
            most = max(least, min(most, ask.at_once * ask.workers))
        given = {**options.env, **submission.env}
        return Spec(
            name=submission.name,
            mode=options.mode,
            arguments=submission.arguments,
            cwd=str(root),
            import_paths=tuple(str(root / path) for path in submission.code.import_paths),
            env={name: str(value) for name, value in given.items()},
            least=least,
            most=most,
            signal_delay_s=options.signal_delay_s,
            cpus=options.cpus_per_task,
            cluster=options.cluster,
        )

    def _root(self, code: Code, job: JobFolder) -> Path:
        """The project's root on the nodes."""
        if code.travels:
            return job.code
        if self._code.travels != "image":
            return code.root
        if self._code.path is None:
            raise ConfigError(
                f"cluster {self.name}.code.travels is image, and code.path is not set: where is "
                f"the project in the image?"
            )
        return Path(self._code.path)

    # Following

    def _of(self, handle: Handle) -> Slurm:
        return Slurm(None if handle.place == _DEFAULT else handle.place)

    def _read_log(self, handle: Handle, job: JobFolder, follow: bool) -> Iterator[str]:
        at, ask_at, over = 0, 0.0, not follow
        while True:
            if not over and time.monotonic() >= ask_at:
                over = self.status(handle).state.is_over
                ask_at = time.monotonic() + _ASK_SLURM_S
            piece, at = _read_on(job.log, at)
            if piece:
                yield piece
            elif over:
                return
            else:
                time.sleep(_POLL_S)

    def _cancel_queued(self, handle: Handle, known: SlurmJob) -> Stopped:
        self._cancel(handle, restarts=known.restarts or 0)
        begun = bool(known.restarts)
        saved = "the state of what ran before is saved" if begun else "nothing of it has run"
        return Stopped(done=True, message=f"it was in the queue and was cancelled: {saved}")

    def _cancel(self, handle: Handle, *, restarts: int) -> None:
        """Cancel all its jobs, and keep that it was so: Slurm forgets."""
        slurm = self._of(handle)
        slurm.cancel(handle.job)
        if job := self._folders.find(handle.place, handle.job):
            slurm.cancel_named(job.workers)
            job.note(Noted(restarts=restarts, over=True, message="it was cancelled"))


def _copy(code: Code, job: JobFolder) -> None:
    """Put the project's files into the submission's folder, as they are now."""
    archive = job.path / "code.zip"
    Package.of(code).zip(archive)
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(job.code)
    archive.unlink()


def _read_on(log: Path, at: int) -> tuple[str, int]:
    """What a log holds from a place on, whole lines where there are any, and the next place."""
    try:
        with log.open("rb") as file:
            file.seek(at)
            new = file.read(1 << 16)
    except FileNotFoundError:  # the job has not begun
        return "", at
    whole = new[: new.rfind(b"\n") + 1] or new
    return whole.decode(errors="replace"), at + len(whole)


def _waiting(known: SlurmJob, noted: Noted | None) -> Status:
    why = f" ({known.reason})" if known.reason else ""
    begun = noted is not None and bool(noted.nodes)
    message = f"waits to go on in its next job{why}" if begun else f"in the queue{why}"
    return Status(state=State.PENDING, message=message)


def _is_of_this_run(noted: Noted, known: SlurmJob | None) -> bool:
    """Whether a note is not of a run before Slurm requeued the job, as it does of itself too."""
    return known is None or known.restarts in (None, noted.restarts)


def _over(noted: Noted) -> Status:
    states = {0: State.SUCCEEDED, 130: State.STOPPED, None: State.STOPPED}
    return Status(
        state=states.get(noted.exit_code, State.FAILED),
        message=noted.message,
        exit_code=noted.exit_code,
        nodes=noted.nodes,
    )


def _forgotten(handle: Handle, noted: Noted | None) -> Status:
    if noted is None:
        return Status(state=State.UNKNOWN, message=f"Slurm does not know job {handle.job}")
    return Status(
        state=State.FAILED,
        message=f"Slurm has forgotten the job, and it did not end in order; the last it said: "
        f"{noted.message}",
    )


def _ended(known: SlurmJob) -> Status:
    """A job that ended without its driver having said so."""
    hint = {
        "TIMEOUT": "; its time was up before it could save its state: raise signal_delay_s",
        "OUT_OF_MEMORY": "; raise the driver's mem_gb",
    }.get(known.state, "")
    return Status(
        state=known.common_state,
        message=f"Slurm ended it: {known.state}{hint}",
        exit_code=known.exit_code,
    )
