"""What must hold before a sweep runs on a Ray cluster: the way there, then what a job finds."""

from __future__ import annotations

import platform
import secrets
import time
from collections.abc import Iterator
from dataclasses import replace
from importlib import metadata
from typing import TYPE_CHECKING

from cluster.backend import Ask, Check, Submission
from cluster.bucket import is_url
from cluster.errors import ClusterError
from cluster.fit import check_fit, check_gpus
from cluster.jobs_api import JobsApi, Trouble, is_loopback, printed
from cluster.storage import NodeProbe
from cluster.survey import Survey

if TYPE_CHECKING:
    from cluster.backends.ray_jobs import RayBackend

_OLDEST = (2, 50)
"""The Ray that caviar needs."""

_SURVEY_S = 60.0
"""How long the tiny job may take, which takes seconds: a cluster may be busy."""

_POLL_S = 0.1
_LITTLE_BYTES = 1 << 30
_OVER = ("SUCCEEDED", "FAILED", "STOPPED")


def check_cluster(backend: RayBackend, submission: Submission | None) -> Iterator[Check]:
    """Each check as it is done; the first that fails for good is the last."""
    api, step = JobsApi(address=backend.options.address), "address"
    try:
        began = time.monotonic()
        mode = api.authentication_mode()
        took = time.monotonic() - began
        yield _good("address", f"{api.address} answers, in {took * 1000:.0f} ms")
        step = "authentication"
        backend.refuse_open(mode)
        yield _check_secrecy(api, mode)
        step = "token"
        api = backend.with_token(api, mode)
        version = api.ray_version()
    except ClusterError as error:
        yield _failed(step, error)
        return
    if api.token:
        yield _good("token", f"that of {backend.token_source} is accepted")
    checked = check_version(version)
    yield checked
    if checked.ok or checked.warning:
        yield from _check_inside(backend, api, submission)


def check_version(there: str) -> Check:
    """The cluster's Ray against ours; only a Ray that caviar cannot run on is a reason to stop."""
    ours, oldest = metadata.version("ray"), ".".join(map(str, _OLDEST))
    numbers = [int(part) for part in there.split(".")[:2] if part.isdigit()]
    if numbers and tuple(numbers) < _OLDEST:
        return Check(
            name="ray",
            ok=False,
            what=f"the cluster has Ray {there}, and caviar needs {oldest} or newer",
            todo=f"install ray=={ours} on every node",
        )
    if there.split(".")[:2] != ours.split(".")[:2]:
        return Check(
            name="ray",
            ok=False,
            warning=True,
            what=f"the cluster has Ray {there}, and here is {ours}",
            todo=f"the sweep runs on {there}; install the same here if it behaves otherwise there",
        )
    return _good("ray", f"{there} there, {ours} here")


def _check_secrecy(api: JobsApi, mode: str) -> Check:
    if mode != "token":
        return Check(
            name="authentication",
            ok=False,
            warning=True,
            what="off: whoever reaches the cluster runs code there (--insecure)",
            todo="start it with RAY_AUTH_MODE=token",
        )
    if api.address.startswith("http://") and not is_loopback(api.address):
        return Check(
            name="authentication",
            ok=False,
            warning=True,
            what="token; it crosses the network in clear, since the address is http://",
            todo="reach the head by an ssh tunnel, or put a proxy with TLS in front of it",
        )
    return _good("authentication", "token")


# inside


def _check_inside(
    backend: RayBackend, api: JobsApi, submission: Submission | None
) -> Iterator[Check]:
    storage = submission.storage if submission else backend.options.storage
    try:
        survey = take_survey(backend, api, storage)
    except ClusterError as error:
        yield _failed("job", error)
        return
    yield _check_python(survey)
    if storage:
        yield check_storage(storage, survey)
    ask = submission.ask if submission else Ask()
    yield check_fit(ask, survey, driver_cpus=backend.options.driver_cpus)
    yield from check_gpus(survey)


def take_survey(backend: RayBackend, api: JobsApi, storage: str | None) -> Survey:
    """Let a job look at the cluster from inside.

    It stays in the cluster's list: Ray brings a job that is deleted soon after its end back as
    failed.

    Raises:
        Trouble: It did not run, or did not end.
    """
    job = f"caviar-survey-{secrets.token_hex(4)}"
    arguments = ["-m", "cluster.survey", *([storage] if storage else [])]
    request = {
        "submission_id": job,
        "entrypoint": backend.command(*arguments),
    }
    api.submit(request)
    state = _wait(api, job)
    if state not in _OVER:
        api.stop(job)
        raise Trouble(
            f"a job that should take a second was {state.lower()} after {_SURVEY_S:g} s",
            "see what the cluster does, with `ray status` and its dashboard",
        )
    log = api.logs(job)
    found = Survey.find(log)
    if found is None:
        lines = printed(log)
        message = lines[-1] if lines else str((api.info(job) or {}).get("message", "no output"))
        what, _, todo = message.partition(": install ")
        raise Trouble(
            f"a small job failed there: {what}",
            f"install {todo}"
            if todo
            else "see its log in the dashboard; python in the profile says which one has caviar",
        )
    return found


def _wait(api: JobsApi, job: str) -> str:
    deadline = time.monotonic() + _SURVEY_S
    while True:
        info = api.info(job) or {"status": "PENDING"}
        if info["status"] in _OVER or time.monotonic() > deadline:
            return str(info["status"])
        time.sleep(_POLL_S)


def _check_python(survey: Survey) -> Check:
    ours, version = platform.python_version(), metadata.version("caviar")
    what = f"caviar {version} and Python {survey.python} there, Python {ours} here"
    if survey.python.split(".")[:2] == ours.split(".")[:2]:
        return _good("python", what)
    return Check(
        name="python",
        ok=False,
        warning=True,
        what=what,
        todo="see that your code runs with both, or install the same",
    )


def check_storage(storage: str, survey: Survey) -> Check:
    """Whether all nodes write there and see the same, and the room there."""
    wrong = [survey.no_storage] if survey.no_storage else []
    wrong += [f"{probe.node}: {probe.error}" for probe in survey.probes if probe.error]
    if wrong:
        more = f" (and {len(wrong) - 1} more nodes)" if len(wrong) > 1 else ""
        if is_url(storage):
            return Check(
                name="storage",
                ok=False,
                what=f"{storage} cannot be used on every node: {wrong[0]}{more}",
                todo="see that every node has credentials for it in its own environment",
            )
        return Check(
            name="storage",
            ok=False,
            what=f"{storage} is not one folder for all nodes: {wrong[0]}{more}",
            todo="mount one folder (NFS or the like) at that path on every node, writable for the "
            "cluster's user, or keep sweeps in s3://bucket/folder",
        )
    return _check_room(storage, survey.probes)


def _check_room(storage: str, probes: tuple[NodeProbe, ...]) -> Check:
    if is_url(storage):
        return _good("storage", f"{storage} is written and read back on {len(probes)} nodes")
    free = min((probe.free_bytes for probe in probes if probe.free_bytes is not None), default=0)
    check = _good(
        "storage",
        f"{storage} is written and read back on {len(probes)} nodes, {free / (1 << 30):.1f} GiB "
        "free",
    )
    if free >= _LITTLE_BYTES:
        return check
    return replace(
        check, ok=False, warning=True, todo="make room: a sweep stops where it cannot write"
    )


def _failed(name: str, error: ClusterError) -> Check:
    what, _, todo = str(error).partition("; ")
    return Check(name=name, ok=False, what=what, todo=todo)


def _good(name: str, what: str) -> Check:
    return Check(name=name, ok=True, what=what)
