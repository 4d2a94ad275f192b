"""Any Ray cluster that is up, through its Jobs API."""

from __future__ import annotations

import itertools
import json
import re
import secrets
import shlex
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar, Optional, Self
from urllib.parse import urlsplit

from cluster.auth import DEFAULT_TOKEN_FILE, find_token
from cluster.backend import Check, State, Status, Stopped, Submission
from cluster.errors import ConfigError
from cluster.handle import Handle
from cluster.jobs_api import JobsApi, Trouble, printed
from cluster.parcel import foresee, send
from cluster.profile import CodeOptions, Options, Profile, read_options
from cluster.project import Package

# ruff: noqa: UP045 - one spelling of types for all schemas that `typed` reads

_INTERRUPTED = 130
_POLL_S = 0.5
_PENDING_S = 15.0
"""How long a stop waits for a job that has not begun."""

_HEARS_S = 1.0
"""How long a job that begins may not hear an interrupt yet."""

_KILL_S = 15.0
"""How long Ray may take to end a job hard."""

_TRAVELS = ("package", "shared", "image")
_STATES = {
    "PENDING": State.PENDING,
    "RUNNING": State.RUNNING,
    "SUCCEEDED": State.SUCCEEDED,
    "FAILED": State.FAILED,
    "STOPPED": State.STOPPED,
}
_WRONG_PORTS = (6379, 10001)
"""Of the GCS and of Ray Client: the Jobs API is at neither."""

_DASHBOARD = 8265
_BEGIN = (
    "import signal; signal.signal(signal.SIGINT, signal.SIG_DFL); "
    "import os, sys; from importlib import metadata; "
    'there = {each.version for each in metadata.distributions(name="caviar")}; '
    '"VERSION" in there or sys.exit("caviar VERSION sent this, and that Python has " + '
    '(" and ".join(there) or "none") + ": install caviar==VERSION on every node, or say which '
    'python in the profile"); os.execvp(sys.argv[1], sys.argv[1:])'
)
"""Goes in front of a command, on whose nodes an interrupt may be ignored: as with all that a shell
begins with `&`, Ray and its jobs too. No shell can undo that."""


@dataclass(kw_only=True)
class RayOptions(Options):
    """The keys of a profile."""

    address: str
    """Of the cluster's dashboard: http://HOST:8265, or https:// where a proxy gives it that."""
    token_file: Optional[str] = None
    """The file with the cluster's token; `~/.ray/auth_token` if neither is said."""
    token_env: Optional[str] = None
    """Or the environment variable of this machine that holds it."""
    python: str = "python"
    """The Python of the nodes that has caviar, as a command there."""
    driver_cpus: float = 0
    """What the driver holds of a node; with 0 it runs on the head."""
    stop_s: float = 60
    """How many seconds a stop waits for the state to be saved, before the job is ended hard."""


class RayBackend:
    """Sends each submission as a job to a cluster that is up."""

    scheme: ClassVar[str] = "ray"

    def __init__(self, name: str, options: RayOptions, *, insecure: bool = False) -> None:
        self.name = name
        self.options = replace(options, address=_checked_address(name, options.address))
        self.code = read_options(options.code, CodeOptions, key=f"cluster {name}.code")
        _check_code(name, self.code)
        _check_numbers(name, options)
        self._insecure = insecure

    @classmethod
    def from_profile(cls, profile: Profile) -> Self:
        """The backend as a profile describes it."""
        return cls(profile.name, profile.read(RayOptions), insecure=profile.insecure)

    def preview(self, submission: Submission) -> str:
        """The request as it would be sent."""
        code = submission.code
        where = foresee(Package.of(code), submission.storage) if code.travels else None
        job = f"{_stem(submission.name)}-1"
        request = self._request(submission, job=job, working_dir=where)
        shown = json.dumps(request, indent=2, ensure_ascii=False)
        return f"POST {self.options.address}/api/jobs/\n{shown}\n"

    def checks(self, submission: Submission | None) -> Iterable[Check]:
        """The way to the cluster, then what a tiny job finds there."""
        from cluster.backends.ray_checks import check_cluster

        return check_cluster(self, submission)

    def submit(self, submission: Submission) -> Handle:
        """Send it as a job named after the sweep.

        Raises:
            ClusterError: The cluster cannot be reached, or refused.
        """
        api = self.connect()
        where = self._send_code(api, submission)
        for number in itertools.count(1):
            job = f"{_stem(submission.name)}-{number}"
            if api.info(job) is None and api.submit(
                self._request(submission, job=job, working_dir=where)
            ):
                break
        return Handle(self.scheme, self._place, job)

    def reaches(self, handle: Handle) -> bool:
        """Whether it is a job at the profile's address."""
        return handle.place == self._place

    def status(self, handle: Handle) -> Status:
        """How it stands."""
        return read_status(self.connect().info(handle.job), handle.job)

    def logs(self, handle: Handle, *, follow: bool = False) -> Iterator[str]:
        """What the driver printed."""
        api = self.connect()
        if follow:
            yield from api.follow(handle.job)
        else:
            yield api.logs(handle.job)

    def stop(self, handle: Handle) -> Stopped:
        """Interrupt its driver, and wait until it has saved its state.

        Raises:
            ClusterError: The cluster cannot be reached.
        """
        api = self.connect()
        before = self._wait_until_it_hears(api, handle.job)
        if before.state.is_over or before.state is State.UNKNOWN:
            return Stopped(done=True, message=f"{handle} was over: {_end(before)}")
        began = time.monotonic()
        api.stop(handle.job)
        after = self._wait_until_over(api, handle.job)
        if after.state is State.PENDING:
            message = _STILL_PENDING.format(handle=handle, seconds=self.options.stop_s)
            return Stopped(done=False, message=message)
        if after.state is State.RUNNING:
            return Stopped(done=False, message=f"{handle} still runs: Ray did not end it")
        if after.state is not State.STOPPED:
            return Stopped(done=True, message=f"{handle} had ended meanwhile: {_end(after)}")
        if time.monotonic() - began >= self.options.stop_s:
            return Stopped(done=True, message=_KILLED.format(seconds=self.options.stop_s))
        return Stopped(done=True, message="it was interrupted and has ended")

    def _wait_until_it_hears(self, api: JobsApi, job: str) -> Status:
        """Its status when it has begun, or has not for long: Ray interrupts but once."""
        deadline = time.monotonic() + _PENDING_S
        now = read_status(api.info(job), job)
        was_pending = now.state is State.PENDING
        while now.state is State.PENDING and time.monotonic() < deadline:
            time.sleep(_POLL_S)
            now = read_status(api.info(job), job)
        if was_pending and now.state is State.RUNNING:
            time.sleep(_HEARS_S)
        return now

    @property
    def _place(self) -> str:
        return urlsplit(self.options.address).netloc

    def _wait_until_over(self, api: JobsApi, job: str) -> Status:
        """Its status when it is over, or has not ended for longer than Ray should take."""
        began = time.monotonic()
        most = self.options.stop_s + _KILL_S
        while True:
            now = read_status(api.info(job), job)
            if now.state is not State.RUNNING or time.monotonic() - began >= most:
                return now
            time.sleep(_POLL_S)

    # for the checks too

    def connect(self) -> JobsApi:
        """The Jobs API, reached and with the token where the cluster asks for one.

        Raises:
            ClusterError: It is not there, is open to everybody and the user did not say
                `--insecure`, or there is no token here.
        """
        api = JobsApi(address=self.options.address)
        mode = api.authentication_mode()
        self.refuse_open(mode)
        return self.with_token(api, mode)

    def refuse_open(self, mode: str) -> None:
        """Take no cluster that has no token authentication, unless the user said `--insecure`."""
        if mode != "token" and not self._insecure:
            raise Trouble(
                f"{self.options.address} has no token authentication: whoever reaches it runs code "
                "there",
                "start it with RAY_AUTH_MODE=token (`ray get-auth-token --generate` makes the "
                "token), or say --insecure",
            )

    def with_token(self, api: JobsApi, mode: str) -> JobsApi:
        """With the token, where the cluster asks for one; an open one is shown none."""
        if mode != "token":
            return api
        token = find_token(file=self.options.token_file, variable=self.options.token_env)
        return replace(api, token=token)

    @property
    def token_source(self) -> str:
        """Where the token is, as text."""
        variable = self.options.token_env
        return f"${variable}" if variable else self.options.token_file or str(DEFAULT_TOKEN_FILE)

    def command(self, *arguments: str) -> str:
        """A command of caviar's for the shell there, which hears Ctrl-C and has our version."""
        python, version = shlex.quote(self.options.python), metadata.version("caviar")
        begin = shlex.quote(_BEGIN.replace("VERSION", version))
        return f"exec {python} -c {begin} {python} {shlex.join(arguments)}"

    # the request

    def _request(
        self, submission: Submission, *, job: str, working_dir: str | None
    ) -> dict[str, Any]:
        root = "." if working_dir else self._root(submission)
        command = self.command("-m", "sweeps.cli", *submission.arguments)
        runtime: dict[str, Any] = {"env_vars": self._environment(submission, root)}
        if working_dir:
            runtime["working_dir"] = working_dir
        else:
            command = f"cd {shlex.quote(root)} && {command}"
        request: dict[str, Any] = {
            "submission_id": job,
            "entrypoint": command,
            "runtime_env": runtime,
            "metadata": {"caviar": metadata.version("caviar"), "sweep": submission.name},
        }
        if self.options.driver_cpus:
            request["entrypoint_num_cpus"] = self.options.driver_cpus
        return request

    def _environment(self, submission: Submission, root: str) -> dict[str, str]:
        """Of the job; Ray is to end it by Ctrl-C, and to wait."""
        given = {
            "RAY_JOB_STOP_SIGNAL": "SIGINT",
            "RAY_JOB_STOP_WAIT_TIME_S": str(int(self.options.stop_s)),
            **self.options.env,
            **submission.env,
        }
        environment = {name: str(value) for name, value in given.items()}
        paths = [str(Path(root, path)) for path in submission.code.import_paths]
        if path := ":".join([*paths, *filter(None, [environment.get("PYTHONPATH")])]):
            environment["PYTHONPATH"] = path
        return environment

    def _root(self, submission: Submission) -> str:
        """The project's root on the nodes, where the project does not travel."""
        return self.code.path or str(submission.code.root)

    def _send_code(self, api: JobsApi, submission: Submission) -> str | None:
        if not submission.code.travels:
            return None
        with tempfile.TemporaryDirectory(prefix="caviar-") as scratch:
            return send(
                Package.of(submission.code),
                scratch=Path(scratch),
                upload=api.upload,
                storage=submission.storage,
            )


def read_status(info: Mapping[str, Any] | None, job: str) -> Status:
    """A job's status from what the cluster knows of it."""
    if info is None:
        return Status(state=State.UNKNOWN, message=f"the cluster knows no job {job}")
    code = info.get("driver_exit_code")
    state = _STATES.get(info["status"], State.UNKNOWN)
    if state is State.FAILED and code == _INTERRUPTED:
        state = State.STOPPED
    driver = info.get("driver_info") or {}
    return Status(
        state=state,
        exit_code=code,
        message=_message(info, code),
        nodes=tuple(filter(None, [driver.get("node_ip_address")])),
    )


def _end(status: Status) -> str:
    return status.message if status.state is State.UNKNOWN else str(status.state)


def _message(info: Mapping[str, Any], code: int | None) -> str:
    """In a line; of a command that failed Ray sends the end of its log: the last line says why."""
    lines = printed(info.get("message") or "")
    if code:
        return f"exit code {code}" + (f": {lines[-1]}" if len(lines) > 1 else "")
    if info["status"] == "FAILED" and len(lines) > 1:
        return f"{lines[0]} {lines[-1]}"
    return lines[0] if lines else ""


def _stem(name: str) -> str:
    """A sweep's name as a job's: also a file's name there."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or secrets.token_hex(4)


def _checked_address(name: str, given: str) -> str:
    """http://HOST:PORT, without what does not belong there.

    Raises:
        ConfigError: It is something else; the message has what was probably meant.
    """
    key = f"cluster {name}.address"
    scheme, separator, rest = given.strip().rpartition("://")
    if "@" in rest:
        raise ConfigError(f"{key} holds a user or password; it must be http://HOST:PORT")
    if not separator or scheme not in ("http", "https"):
        raise ConfigError(
            f"{key} is {given!r}; it must be the dashboard's, with http:// or https://; "
            f"did you mean {_http(rest)}?"
        )
    parts = urlsplit(given.strip())
    try:
        wrong = not parts.hostname or (parts.port or 1) < 1
    except ValueError:
        wrong = True
    if wrong or parts.path.strip("/") or parts.query or parts.fragment:
        raise ConfigError(
            f"{key} is {given!r}; it must be http://HOST:PORT or https://HOST:PORT, and no more"
        )
    return f"{parts.scheme}://{parts.netloc}"


def _http(rest: str) -> str:
    host, _, port = rest.partition("/")[0].partition(":")
    usual = not port.isdigit() or int(port) in _WRONG_PORTS
    return f"http://{host or 'HOST'}:{_DASHBOARD if usual else port}"


def _check_code(name: str, code: CodeOptions) -> None:
    if code.travels not in _TRAVELS:
        raise ConfigError(
            f"cluster {name}.code.travels is {code.travels!r}; it must be one of "
            f"{', '.join(_TRAVELS)}"
        )
    if code.travels == "image" and not code.path:
        raise ConfigError(
            f"cluster {name}.code.path is not set; with travels: image it is the project's root in "
            "the image"
        )


def _check_numbers(name: str, options: RayOptions) -> None:
    if not options.stop_s > 0:
        raise ConfigError(f"cluster {name}.stop_s is {options.stop_s:g}; it must be above 0")
    if not options.driver_cpus >= 0:
        raise ConfigError(
            f"cluster {name}.driver_cpus is {options.driver_cpus:g}; it must be 0 or more"
        )


_STILL_PENDING = (
    "{handle} is pending and could not be stopped: Ray ends a job only once it has begun, and this "
    "one waits for room or for its environment; it ends when it has begun, at most {seconds:g} s "
    "later. To be rid of it now, take away what it waits for, or restart the head"
)
_KILLED = (
    "it had not ended {seconds:g} s after the interrupt and was killed: what it had reported by "
    "then is kept"
)
