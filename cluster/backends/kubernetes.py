"""Kubernetes: each submission is a RayJob of KubeRay, with a Ray cluster of its own."""

from __future__ import annotations

import codecs
import re
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from cluster.backend import Check, State, Status, Stopped, Submission
from cluster.errors import ClusterError, ConfigError, did_you_mean
from cluster.handle import Handle
from cluster.kube_checks import checks
from cluster.kubectl import RAY_JOBS, Kubectl
from cluster.parcel import place_on, to_storage
from cluster.profile import CodeOptions, Profile, read_options
from cluster.project import Package
from cluster.rayjob import (
    HEAD,
    Head,
    KubernetesOptions,
    Manifest,
    Parts,
    Place,
    Volume,
    Workers,
    job_name,
    rayjob,
    scales,
    token_secret,
)
from cluster.yaml_text import as_yaml

_POLL_S = 1.0
_DELETED_S = 120
"""How long KubeRay may take to end what was deleted."""

_TRAVELS = ("package", "shared", "image")
_JOB_STATES = {
    "RUNNING": State.RUNNING,
    "SUCCEEDED": State.SUCCEEDED,
    "FAILED": State.FAILED,
    "STOPPED": State.STOPPED,
}
_EXIT_CODE = re.compile(r"exit code (-?\d+)")


@dataclass(frozen=True, kw_only=True)
class KubernetesBackend:
    """One namespace of one Kubernetes cluster that runs KubeRay's operator."""

    name: str
    options: KubernetesOptions
    parts: Parts
    code: CodeOptions

    @classmethod
    def from_profile(cls, profile: Profile) -> KubernetesBackend:
        """Read the profile.

        Raises:
            ConfigError: A key or value that cannot be.
        """
        options = profile.read(KubernetesOptions)
        key = f"cluster {profile.name}"
        code = read_options(options.code, CodeOptions, key=f"{key}.code")
        parts = Parts(
            volume=read_options(options.volume, Volume, key=f"{key}.volume")
            if options.volume
            else None,
            head=read_options(options.head, Head, key=f"{key}.head"),
            workers=read_options(options.workers, Workers, key=f"{key}.workers"),
        )
        _check(options, parts, code, key)
        return cls(name=profile.name, options=options, parts=parts, code=code)

    @property
    def kubectl(self) -> Kubectl:
        """The namespace of the profile."""
        return Kubectl(namespace=self.options.namespace, context=self.options.context)

    def preview(self, submission: Submission) -> str:
        """The manifest, as `kubectl create -f -` takes it."""
        manifest = self._manifest(submission, f"{place_on(submission.storage)}/(its hash).zip")
        return as_yaml(manifest)

    def checks(self, submission: Submission | None) -> Iterable[Check]:
        """kubectl, the cluster, the right to use it, and all that the profile names in it."""
        if submission is None and self.options.storage is not None:
            yield self._check_storage(self.options.storage)
        yield from checks(self.kubectl, self.options, self.parts)

    def submit(self, submission: Submission) -> Handle:
        """Create the RayJob, and the token's Secret where one is named and not there."""
        self._check(submission.storage)
        manifest = self._manifest(submission, self._send_code(submission))
        secret = self.options.auth_secret
        if secret is not None and not self.kubectl.has("secret", secret):
            self.kubectl.create(token_secret(secret, self.options))
        self.kubectl.create(manifest)
        return Handle("k8s", self.kubectl.place, manifest["metadata"]["name"])

    def reaches(self, handle: Handle) -> bool:
        """Always: a handle says which namespace and context are asked."""
        return True

    def status(self, handle: Handle) -> Status:
        """As KubeRay's operator has it."""
        job = Kubectl.at(handle.place).get(RAY_JOBS, handle.job)
        if job is None:
            return Status(state=State.UNKNOWN, message="Kubernetes has no RayJob of that name")
        return read_status(job)

    def logs(self, handle: Handle, *, follow: bool = False) -> Iterator[str]:
        """What the pod that submitted the job heard of the driver."""
        text = codecs.getincrementaldecoder("utf-8")(errors="replace")
        for piece in _log(Kubectl.at(handle.place), handle.job, follow=follow):
            yield text.decode(piece)
        yield text.decode(b"", final=True)

    def stop(self, handle: Handle) -> Stopped:
        """Interrupt the driver through Ray inside the head's pod, else delete the RayJob.

        What has not begun is deleted; KubeRay would otherwise begin it when there is room.
        """
        kubectl = Kubectl.at(handle.place)
        job = kubectl.get(RAY_JOBS, handle.job)
        if job is None:
            return Stopped(True, "Kubernetes has no RayJob of that name; nothing runs")
        status = read_status(job)
        if status.state.is_over:
            return Stopped(True, f"it was over already: {status.state}")
        if not _has_begun(job):
            return _delete(kubectl, handle.job, "it had not begun; the pending RayJob was deleted")
        if why := _stop_driver(kubectl, job, self.options.termination_grace_period_seconds):
            return _delete(kubectl, handle.job, f"its RayJob was deleted, as {why}")
        return _wait_until_over(kubectl, handle.job)

    def _manifest(self, submission: Submission, package: str | None) -> Manifest:
        self._check(submission.storage)
        if self.code.travels == "package":
            place = Place(None, package)
        else:
            place = Place(self.code.path or str(submission.code.root))
        name = job_name(submission.name)
        return rayjob(name, submission, self.options, self.parts, place)

    def _send_code(self, submission: Submission) -> str | None:
        if self.code.travels != "package":
            return None
        if "://" not in submission.storage:
            Path(submission.storage).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="caviar-") as scratch:
            package = Package.of(submission.code)
            return to_storage(package, scratch=Path(scratch), storage=submission.storage)

    def _check_storage(self, storage: str) -> Check:
        """What can be said of it here."""
        try:
            self._check(storage)
        except ConfigError as error:
            what, _, todo = str(error).rpartition(": " if ": set" in str(error) else "; ")
            return Check(name="storage", ok=False, what=what, todo=todo)
        if "://" not in storage:
            return Check(name="storage", ok=True, what=f"{storage} lies on the volume")
        return Check(
            name="storage",
            ok=False,
            warning=True,
            what=f"{storage} is not looked at: the pods alone have its credentials",
            todo="see that env_from or service_account gives them to the pods",
        )

    def _check(self, storage: str) -> None:
        """Refuse what pods would not have.

        Raises:
            ConfigError: A storage that they do not share, or code that cannot be put there.
        """
        volume = self.parts.volume
        if "://" in storage:
            return
        if volume is None or not PurePosixPath(storage).is_relative_to(volume.path):
            mounted = f"under {volume.path}, where the volume is" if volume else "on a volume"
            raise ConfigError(
                f"storage is {storage!r}; on Kubernetes it must lie {mounted}, or be a bucket such "
                f"as s3://bucket/sweeps: set storage and volume in cluster {self.name}"
            )
        if self.code.travels == "package" and not Path(volume.path).is_dir():
            raise ConfigError(
                f"volume.path is {volume.path!r}, which is not mounted here, so the code cannot be "
                f"put there; set code.travels in cluster {self.name} to image or shared, or use a "
                "bucket such as s3://bucket/sweeps"
            )


def read_status(job: Mapping[str, Any]) -> Status:
    """The status that a RayJob has."""
    told = job.get("status", {})
    deployed = told.get("jobDeploymentStatus", "")
    ran = _JOB_STATES.get(told.get("jobStatus", ""))
    said = " ".join(str(told.get("message", "")).split())
    code = _EXIT_CODE.search(said)
    head = told.get("rayClusterStatus", {}).get("head", {}).get("podName")
    reason = " ".join(word for word in (told.get("reason", ""), said) if word)
    return Status(
        state=_state(deployed, ran),
        message=(reason or _waiting(job, deployed))[:300],
        exit_code=0 if ran is State.SUCCEEDED else int(code[1]) if code else None,
        nodes=(head,) if head else (),
    )


def _state(deployed: str, ran: State | None) -> State:
    if deployed in ("Complete", "Failed", "ValidationFailed"):
        return ran if ran in (State.SUCCEEDED, State.STOPPED) else State.FAILED
    if deployed != "Running" or ran is None:
        return State.PENDING
    return State.RUNNING if ran is State.FAILED else ran  # KubeRay may run it again


def _waiting(job: Mapping[str, Any], deployed: str) -> str:
    if deployed in ("", "Suspended") and job.get("spec", {}).get("suspend"):
        return "it waits for Kueue to let it in"
    return {
        "": "KubeRay's operator has not seen it yet",
        "Initializing": "its pods are starting",
        "Retrying": "it failed and is begun again",
    }.get(deployed, "")


def _has_begun(job: Mapping[str, Any]) -> bool:
    """Whether a driver may run; Ray cannot stop a job that is still `PENDING`."""
    return job.get("status", {}).get("jobStatus") in ("RUNNING", "FAILED")


def _stop_driver(kubectl: Kubectl, job: Mapping[str, Any], grace: int) -> str:
    """Have Ray stop it: SIGINT, and time to save; why that did not work, or nothing."""
    whose = f"caviar/job={job['metadata']['name']},ray.io/node-type=head"
    pods = kubectl.find("pods", "-l", whose)
    if not pods:
        return "the head's pod is gone"
    stop = ["ray", "job", "stop", "--address", "http://127.0.0.1:8265", job["status"]["jobId"]]
    arguments = ["exec", pods[-1]["metadata"]["name"], "-c", HEAD, "--", *stop]
    timeout = grace + 30
    answer = kubectl.ask(*arguments, timeout=timeout)
    return "" if answer.ok else kubectl.complaint(answer, arguments, timeout)


def _wait_until_over(kubectl: Kubectl, name: str) -> Stopped:
    """Wait until KubeRay has seen the end."""
    deadline = time.monotonic() + _DELETED_S
    while (job := kubectl.get(RAY_JOBS, name)) and not read_status(job).state.is_over:
        if time.monotonic() > deadline:
            return Stopped(
                True, f"the driver ended; KubeRay has not seen it in {_DELETED_S} s: is it up?"
            )
        time.sleep(_POLL_S)
    return Stopped(True, "it was interrupted and has ended; its pods go by themselves")


def _delete(kubectl: Kubectl, name: str, message: str) -> Stopped:
    """Delete it and wait until its pods are gone; the head's tells the driver, which saves."""
    try:
        kubectl.call("delete", RAY_JOBS, name, "--ignore-not-found", timeout=_DELETED_S)
        gone = ["wait", "pods", "-l", f"caviar/job={name}", "--for=delete"]
        answer = kubectl.ask(*gone, f"--timeout={_DELETED_S}s", timeout=_DELETED_S + 10)
    except ClusterError as error:
        return Stopped(False, f"it could not be deleted: {error}")
    if answer.ok or "no matching resources found" in answer.err:
        return Stopped(True, message)
    why = kubectl.complaint(answer, gone, _DELETED_S)
    return Stopped(False, f"{message}, but its pods are still there: {why}")


def _log(kubectl: Kubectl, name: str, *, follow: bool) -> Iterator[bytes]:
    """The log of the newest submitter's pod; on with the next where KubeRay begins again."""
    given: dict[str, int] = {}
    while True:
        job = kubectl.get(RAY_JOBS, name)
        if job is None:
            raise ClusterError(f"Kubernetes has no RayJob {name}; its log is gone with it")
        over = read_status(job).state.is_over
        pods = kubectl.find("pods", "-l", f"job-name={name}")
        started = [pod for pod in pods if pod["status"].get("phase") != "Pending"]
        if started:
            pod = started[-1]["metadata"]["name"]
            yield from _pod_log(kubectl, pod, given, follow=follow and not over)
        if over or not follow:
            return
        time.sleep(_POLL_S)


def _pod_log(kubectl: Kubectl, pod: str, given: dict[str, int], *, follow: bool) -> Iterator[bytes]:
    """A pod's log without what was given before: a connection that broke is taken up again."""
    known, passed = given.get(pod, 0), 0
    for piece in kubectl.follow("logs", pod, *(["--follow"] if follow else [])):
        fresh = piece[max(0, known - passed) :]
        passed += len(piece)
        given[pod] = max(known, passed)
        if fresh:
            yield fresh


def _check(options: KubernetesOptions, parts: Parts, code: CodeOptions, key: str) -> None:
    workers = parts.workers
    if workers.min < 1:
        raise ConfigError(
            f"{key}.workers.min is {workers.min}; it must be at least 1: a sweep begins when its "
            "first worker is there"
        )
    if workers.max < workers.min:
        raise ConfigError(
            f"{key}.workers.max is {workers.max}; it must be at least workers.min, {workers.min}"
        )
    if options.queue is not None and scales(workers):
        raise ConfigError(
            f"{key}.workers.max is {workers.max}; with a queue it must be workers.min, "
            f"{workers.min}: Kueue lets in jobs of a fixed size"
        )
    if code.travels not in _TRAVELS:
        raise ConfigError(
            f"{key}.code.travels is {code.travels!r}; it must be one of {', '.join(_TRAVELS)}"
            f"{did_you_mean(code.travels, _TRAVELS)}"
        )
    if code.travels == "image" and not (code.path and Path(code.path).is_absolute()):
        raise ConfigError(
            f"{key}.code.path is {code.path!r}; it must be the project's folder in the image, "
            "such as /app"
        )
