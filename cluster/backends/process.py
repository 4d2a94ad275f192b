"""A detached process of this machine: submit, logs and stop, without a cluster.

Each job has a folder among caviar's own files, with what it printed and how it ended. A small
attendant waits for the command and notes its exit code, so the terminal and the process that
submitted it may go.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, ClassVar, Self

import psutil

from cluster.backend import Check, State, Status, Stopped, Submission
from cluster.backends import attendant
from cluster.errors import ClusterError, ConfigError
from cluster.files import private_folder, state_home, write_private
from cluster.handle import Handle
from cluster.profile import Options, Profile

_STOP_S = 60.0
"""How long a stop waits for the state to be saved."""

_POLL_S = 0.1
_CLOCK_S = 2.0
"""A clock that was set moves the start of a process by so much."""


@dataclass(kw_only=True)
class ProcessOptions(Options):
    """The keys of a profile."""

    stop_s: float = _STOP_S
    """How many seconds a stop waits for the state to be saved, before it ends the job hard."""


@dataclass(frozen=True)
class Job:
    """A job's folder."""

    folder: Path

    @property
    def output(self) -> Path:
        """What it printed."""
        return self.folder / "output.log"

    def read(self) -> IO[str]:
        """What it printed; nothing where it printed to a terminal."""
        if not self.output.exists():
            return io.StringIO()
        return self.output.open(encoding="utf-8", errors="replace")

    @property
    def exit_code(self) -> int | None:
        """How it ended."""
        with contextlib.suppress(FileNotFoundError, ValueError):
            return int((self.folder / attendant.EXIT).read_text())
        return None

    @property
    def _note(self) -> Path:
        return self.folder / "job.json"

    def note(self, **told: Any) -> None:
        """Keep something about it."""
        write_private(self._note, json.dumps(self.noted | told))

    @property
    def noted(self) -> dict[str, Any]:
        """What is kept about it."""
        with contextlib.suppress(FileNotFoundError, ValueError):
            return dict(json.loads(self._note.read_text()))
        return {}

    def begun(self, pid: int) -> None:
        """Keep who attends to it."""
        with contextlib.suppress(psutil.Error):  # it has ended already
            self.note(pid=pid, started=psutil.Process(pid).create_time())

    @property
    def attendant(self) -> psutil.Process | None:
        """The one who will note the exit code, where it lives; a pid may have come again."""
        with contextlib.suppress(psutil.Error, KeyError):
            process = psutil.Process(self.noted["pid"])
            same = abs(process.create_time() - self.noted["started"]) < _CLOCK_S
            if same and process.status() != psutil.STATUS_ZOMBIE:
                return process
        return None

    @property
    def driver(self) -> psutil.Process | None:
        """The command itself, while it runs."""
        with contextlib.suppress(psutil.Error):
            if (attendant := self.attendant) is not None:
                return next(iter(attendant.children()), None)
        return None


class ProcessBackend:
    """Runs each submission as a process in a session of its own."""

    scheme: ClassVar[str] = "process"

    def __init__(self, name: str, options: ProcessOptions, *, state: Path | None = None) -> None:
        self.name = name
        self._options = options
        self._jobs = (state or state_home()) / "jobs"

    @classmethod
    def from_profile(cls, profile: Profile) -> Self:
        """The backend as a profile describes it."""
        options = profile.read(ProcessOptions)
        if not options.stop_s > 0:
            raise ConfigError(
                f"cluster {profile.name}.stop_s is {options.stop_s:g}; it must be above 0"
            )
        return cls(profile.name, options)

    def preview(self, submission: Submission) -> str:
        """The command line, as a shell would take it."""
        shown = self._env(submission) | _import_paths(submission, {})
        words = [f"{name}={shlex.quote(value)}" for name, value in shown.items()]
        words.append(shlex.join(_command(submission)))
        return f"cd {shlex.quote(str(submission.code.root))}\n{' '.join(words)}\n"

    def checks(self, submission: Submission | None) -> Iterable[Check]:
        """Whether the storage can be written."""
        storage = submission.storage if submission else self._options.storage
        if storage and "://" not in storage:
            yield _check_storage(Path(storage).absolute())

    def submit(self, submission: Submission) -> Handle:
        """Start it, in a session of its own.

        Raises:
            ClusterError: It cannot be started.
        """
        handle = Handle(self.scheme, socket.gethostname(), secrets.token_hex(4))
        job = Job(private_folder(self._jobs / handle.job))
        job.note(name=submission.name)
        try:
            told = self._begin(job, submission)
        except OSError as error:
            told = f"{error.filename}: {error.strerror}"
        if not told.isdigit():
            raise ClusterError(f"the command could not be started: {told or 'it was killed'}")
        job.begun(int(told))
        return handle

    def reaches(self, handle: Handle) -> bool:
        """Always: one of another machine is refused when it is asked for."""
        return True

    def status(self, handle: Handle) -> Status:
        """How it stands."""
        job = self._find(handle)
        if not job.noted:
            return Status(state=State.UNKNOWN, message=f"there is no job {handle.job} here")
        lives, code = job.attendant is not None, job.exit_code
        if code is None and lives:
            return Status(state=State.RUNNING, nodes=(handle.place,))
        if code is None:
            return Status(
                state=State.STOPPED if "stop" in job.noted else State.FAILED,
                message="its process is gone: it was killed, or the machine was started again",
            )
        return Status(state=_ended(job, code), exit_code=code, message=f"exit code {code}")

    def logs(self, handle: Handle, *, follow: bool = False) -> Iterator[str]:
        """What it printed."""
        job = self._find(handle)
        if not job.noted:
            raise ClusterError(f"there is no job {handle.job} on {handle.place}")
        if not follow and not job.output.exists():
            raise ClusterError(f"{handle} printed to the terminal that it was begun in")
        with job.read() as output:
            while True:
                over = not follow or self.status(handle).state.is_over
                while piece := output.read(1 << 16):
                    yield piece
                if over:
                    return
                time.sleep(_POLL_S)

    def stop(self, handle: Handle) -> Stopped:
        """Interrupt it, wait until its state is saved, and end what has not ended then."""
        job = self._find(handle)
        driver = job.driver
        if driver is None:
            return Stopped(done=True, message=f"{handle} was over")
        job.note(stop=time.time())
        family = [driver]
        with contextlib.suppress(psutil.Error):
            family += driver.children(recursive=True)
            driver.send_signal(signal.SIGINT)
        if self._wait(handle):
            return Stopped(done=True, message="it was interrupted and has ended")
        _kill(family)
        self._wait(handle)
        return Stopped(
            done=True,
            message=f"it had not ended {self._options.stop_s:g} s after the interrupt and was "
            f"killed: what it had reported by then is kept",
        )

    def output(self, job: Job) -> contextlib.AbstractContextManager[Any]:
        """Where it prints."""
        return open(os.open(job.output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")

    def _begin(self, job: Job, submission: Submission) -> str:
        """Start its attendant; what that says: its process id, or why it could not."""
        environment = {**os.environ, **self._env(submission)}
        read, write = os.pipe()
        attend = [sys.executable, "-P", attendant.__file__, str(job.folder), str(write)]
        with open(read) as ready, self.output(job) as output:
            try:
                subprocess.run(  # noqa: S603
                    [*attend, *_command(submission)],
                    cwd=submission.code.root,
                    env=environment | _import_paths(submission, environment),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                    pass_fds=[write],
                    check=True,
                )
            finally:
                os.close(write)
            return ready.read()

    def _env(self, submission: Submission) -> dict[str, str]:
        return {k: str(v) for k, v in {**self._options.env, **submission.env}.items()}

    def _find(self, handle: Handle) -> Job:
        if handle.place != socket.gethostname():
            raise ClusterError(f"{handle} is a process of {handle.place}: ask there")
        return Job(self._jobs / handle.job)

    def _wait(self, handle: Handle) -> bool:
        """Whether it is over in time."""
        deadline = time.monotonic() + self._options.stop_s
        while not self.status(handle).state.is_over:
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_S)
        return True


def _command(submission: Submission) -> list[str]:
    return [sys.executable, "-m", "sweeps.cli", *submission.arguments]


def _import_paths(submission: Submission, environment: Mapping[str, Any]) -> dict[str, str]:
    code = submission.code
    paths = [str(code.root / path) for path in code.import_paths]
    if before := environment.get("PYTHONPATH"):
        paths.append(before)
    return {"PYTHONPATH": os.pathsep.join(paths)} if paths else {}


def _ended(job: Job, code: int) -> State:
    if code == 0:
        return State.SUCCEEDED
    return State.STOPPED if code == 130 or "stop" in job.noted else State.FAILED


def _check_storage(storage: Path) -> Check:
    """Whether the nearest folder that is there can be written."""
    there = next(folder for folder in (storage, *storage.parents) if folder.exists())
    try:
        with tempfile.TemporaryFile(dir=there) as probe:
            probe.write(b"0")
    except OSError as error:
        return Check(
            name="storage",
            ok=False,
            what=f"{there} cannot be written: {error.strerror}",
            todo="say where with hydra.sweeper.storage_path=/a/folder",
        )
    free = shutil.disk_usage(there).free / (1 << 30)
    return Check(name="storage", ok=True, what=f"{storage} can be written, {free:.1f} GiB free")


def _kill(family: Iterable[psutil.Process]) -> None:
    """End a driver with all that it began, children it got meanwhile too."""
    whole = list(family)
    with contextlib.suppress(psutil.Error):
        whole += whole[0].children(recursive=True)
    for process in whole:
        with contextlib.suppress(psutil.Error):
            process.kill()
