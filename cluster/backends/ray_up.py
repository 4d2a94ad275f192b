"""A cluster that `ray up` starts, on AWS, GCP or own machines, and its Jobs API through ssh."""

from __future__ import annotations

import contextlib
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from cluster.auth import read_or_make_token
from cluster.backend import Check, Status, Stopped, Submission
from cluster.backends.ray_jobs import RayBackend, RayOptions
from cluster.cluster_file import (
    DASHBOARD_PORT,
    PROVIDERS,
    ClusterFile,
    RayUpOptions,
    cluster_file,
    wheel,
)
from cluster.command import kill, last_line
from cluster.errors import ClusterError, ConfigError, did_you_mean
from cluster.files import private_folder, state_home, write_private
from cluster.handle import Handle
from cluster.jobs_api import JobsApi
from cluster.profile import Profile
from cluster.ray_up_checks import check_storage, checks
from cluster.yaml_text import as_yaml

SCHEME = "rayup"

_TUNNEL_S = 60
_POLL_S = 0.2
_NEEDED = {
    "aws": ("region", "head_type", "worker_type"),
    "gcp": ("region", "zone", "project", "head_type", "worker_type", "image"),
    "machines": ("head",),
}


@dataclass(frozen=True, kw_only=True)
class RayUpBackend:
    """One cluster of a cluster file of ours."""

    name: str
    options: RayUpOptions
    folder: Path
    """Where its file and its token lie."""

    @classmethod
    def from_profile(cls, profile: Profile) -> RayUpBackend:
        """Read the profile.

        Raises:
            ConfigError: A key or value that cannot be.
        """
        options = profile.read(RayUpOptions)
        _check(options, f"cluster {profile.name}")
        folder = state_home() / "ray_up" / profile.name
        made = cls(name=profile.name, options=options, folder=folder)
        made.jobs(DASHBOARD_PORT)  # its keys are checked too
        return made

    @property
    def file(self) -> Path:
        """The cluster file, for `ray up`, `ray down` and their like."""
        return self.folder / "cluster.yaml"

    @property
    def token_file(self) -> Path:
        """The cluster's token."""
        return self.folder / "token"

    def content(self) -> ClusterFile:
        """What is in the cluster file."""
        return cluster_file(self.name, self.options, self.token_file)

    def preview(self, submission: Submission) -> str:
        """The cluster file, the commands, and the job."""
        job = self.jobs(DASHBOARD_PORT).preview(submission)
        text = as_yaml(self.content())
        commands = [_shown(self._up()), _shown(self._dashboard(DASHBOARD_PORT))]
        return f"# {self.file}\n{text}\n" + "\n".join([*commands, "", job])

    def checks(self, submission: Submission | None) -> Iterable[Check]:
        """The tools here, what the cloud wants, and each own machine by ssh."""
        yield from checks(self.options, self.content())
        if submission is None and self.options.storage is not None:
            yield check_storage(self.options.storage)

    def submit(self, submission: Submission) -> Handle:
        """Start the cluster where it is not up, and send the job."""
        self._write()
        self._bring_up()
        with self._reached() as jobs:
            return Handle(SCHEME, self.name, jobs.submit(submission).job)

    def reaches(self, handle: Handle) -> bool:
        """Whether it is a job of this cluster's name."""
        return handle.place == self.name

    def status(self, handle: Handle) -> Status:
        """As the cluster has it."""
        with self._reached() as jobs:
            return jobs.status(handle)

    def logs(self, handle: Handle, *, follow: bool = False) -> Iterator[str]:
        """What the driver printed."""
        with self._reached() as jobs:
            yield from jobs.logs(handle, follow=follow)

    def stop(self, handle: Handle) -> Stopped:
        """Interrupt the driver; the cluster stays up, and idle nodes go by themselves."""
        with self._reached() as jobs:
            stopped = jobs.stop(handle)
        still = f"the cluster is still up: `{_shown(self._down())}` ends it"
        return replace(stopped, message=f"{stopped.message}; {still}")

    def jobs(self, port: int) -> RayBackend:
        """The cluster's Jobs API at a port of this machine."""
        own = self.options
        options = RayOptions(
            address=f"http://127.0.0.1:{port}",
            token_file=str(self.token_file),
            python=own.python,
            storage=own.storage,
            code=own.code,
            env=own.env,
            stop_s=own.stop_s,
        )
        return RayBackend(self.name, options)

    def _write(self) -> None:
        private_folder(self.folder)
        read_or_make_token(self.token_file)
        write_private(self.file, as_yaml(self.content()))

    def _up(self) -> list[str]:
        """A cluster that is up stays so: its jobs run on."""
        how = ["--yes", "--no-restart", "--no-config-cache", "--disable-usage-stats"]
        return [_ray(), "up", *how, str(self.file)]

    def _down(self) -> list[str]:
        return [_ray(), "down", "--yes", str(self.file)]

    def _dashboard(self, port: int) -> list[str]:
        ports = ["--port", str(port), "--remote-port", str(DASHBOARD_PORT)]
        return [_ray(), "dashboard", *ports, "--no-config-cache", str(self.file)]

    def _bring_up(self) -> None:
        """Run `ray up`; what it says goes to the screen as it comes.

        Raises:
            ClusterError: It failed, or took too long.
        """
        process = subprocess.Popen(  # noqa: S603
            self._up(),
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr,
            stderr=sys.stderr,
            start_new_session=True,
        )
        try:
            code = process.wait(timeout=self.options.up_timeout_s)
        except subprocess.TimeoutExpired:
            raise ClusterError(
                f"`ray up` was not done after {self.options.up_timeout_s:g} s; see what is there "
                f"with `{_shown([_ray(), 'attach', str(self.file)])}`, or raise up_timeout_s"
            ) from None
        finally:
            kill(process)
        if code:
            raise ClusterError(
                f"`ray up` failed with exit code {code}; what it said is above. What it started "
                f"ends with `{_shown(self._down())}`"
            )

    @contextlib.contextmanager
    def _reached(self) -> Iterator[RayBackend]:
        """The Jobs API through ssh, as long as it is needed.

        Raises:
            ClusterError: The cluster is not up, or not reached.
        """
        if not self.file.exists():
            raise ClusterError(
                f"cluster {self.name} was not started from here: {self.file} is not there"
            )
        port = _free_port()
        with tempfile.TemporaryFile() as said:
            tunnel = subprocess.Popen(  # noqa: S603
                self._dashboard(port),
                stdin=subprocess.PIPE,  # open: the shell at the far end would end with it
                stdout=said,
                stderr=said,
                start_new_session=True,
            )
            try:
                _wait_for(tunnel, port, said)
                yield self.jobs(port)
            finally:
                kill(tunnel)
                assert tunnel.stdin is not None
                tunnel.stdin.close()


def _wait_for(tunnel: subprocess.Popen[bytes], port: int, said: IO[bytes]) -> None:
    """Wait until something answers at the near end."""
    deadline = time.monotonic() + _TUNNEL_S
    while not _answers(port):
        if tunnel.poll() is None and time.monotonic() < deadline:
            time.sleep(_POLL_S)
            continue
        said.seek(0)
        why = last_line(said.read().decode(errors="replace")) or "no answer"
        raise ClusterError(f"the cluster cannot be reached through ssh: {why}")


def _answers(port: int) -> bool:
    try:
        JobsApi(address=f"http://127.0.0.1:{port}").authentication_mode()
    except ClusterError:
        return False
    return True


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _ray() -> str:
    """The `ray` of this Python's environment, else the PATH's."""
    beside = Path(sys.executable).with_name("ray")
    return str(beside) if beside.exists() else shutil.which("ray") or "ray"


def _shown(command: list[str]) -> str:
    return shlex.join(["ray", *command[1:]])


def _check(options: RayUpOptions, key: str) -> None:
    if options.provider not in PROVIDERS:
        raise ConfigError(
            f"{key}.provider is {options.provider!r}; it must be one of {', '.join(PROVIDERS)}"
            f"{did_you_mean(options.provider, PROVIDERS)}"
        )
    for name in _NEEDED[options.provider]:
        if not getattr(options, name):
            raise ConfigError(f"{key}.{name} is not set; provider {options.provider} needs it")
    if options.provider != "machines" and not 1 <= options.min_workers <= options.max_workers:
        raise ConfigError(
            f"{key}.min_workers is {options.min_workers}; it must be at least 1, as a sweep begins "
            f"when its first worker is there, and at most max_workers, {options.max_workers}"
        )
    if (file := wheel(options)) is not None and not file.exists():
        raise ConfigError(f"{key}.caviar is {options.caviar!r}, and there is no such file")
