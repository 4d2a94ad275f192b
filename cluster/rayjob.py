"""A RayJob of KubeRay, `ray.io/v1`: what a submission becomes on Kubernetes.

Pure functions from a profile and a submission to a manifest. Pods are as the restricted security
standard wants them: no root, no new privileges, no capabilities, the runtime's seccomp profile.
"""

from __future__ import annotations

import json
import re
import secrets
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any, Optional

from cluster.backend import Submission
from cluster.health import HEALTH_CHECKS
from cluster.profile import Options

# ruff: noqa: UP045 - one spelling of types for all schemas that `typed` reads

Manifest = dict[str, Any]

HEAD = "ray-head"
"""The container that Ray's head and the driver run in."""
SUBMITTER = "ray-job-submitter"

_VERSION = f"caviar {metadata.version('caviar')}"
_LONGEST_NAME = 47
"""KubeRay adds to a job's name for its cluster and its service, which Kubernetes cuts at 63."""
_RUN = "/etc/caviar/run.sh"
_DRIVER = "/tmp/caviar-driver.pid"  # noqa: S108 - in the container


@dataclass(kw_only=True)
class Volume:
    """The key `volume`: a claim that every pod mounts."""

    claim: str
    """A PersistentVolumeClaim, ReadWriteMany."""
    path: str
    """Where it is mounted; the storage lies in it."""


@dataclass(kw_only=True)
class Head:
    """The key `head`: the pod of the driver. No trial runs there."""

    cpus: float = 2
    memory: str = "8Gi"
    node_selector: dict[str, Any] = field(default_factory=dict)
    tolerations: list[dict[str, Any]] = field(default_factory=list)


@dataclass(kw_only=True)
class Workers:
    """The key `workers`: the pods of the trials."""

    min: int = 1
    max: int = 4
    """With more than `min`, Ray asks for pods while trials wait, and gives idle ones back."""
    cpus: float = 4
    memory: str = "16Gi"
    gpus: int = 0
    gpu_resource: str = "nvidia.com/gpu"
    idle_timeout_seconds: int = 60
    node_selector: dict[str, Any] = field(default_factory=dict)
    tolerations: list[dict[str, Any]] = field(default_factory=list)


@dataclass(kw_only=True)
class KubernetesOptions(Options):
    """A profile of the backend `kubernetes`."""

    image: str
    """Ray and caviar of the versions here, and what the project needs."""
    namespace: str = "default"
    context: Optional[str] = None
    python: str = "python"
    ray_version: Optional[str] = None
    """The image's; that of this machine if it is not said."""
    image_pull_secrets: list[str] = field(default_factory=list)
    service_account: Optional[str] = None
    run_as_user: int = 1000
    run_as_group: int = 100
    env_from: list[str] = field(default_factory=list)
    """Secrets of the namespace whose keys become environment variables."""
    volume: dict[str, Any] = field(default_factory=dict)
    """See `Volume`."""
    head: dict[str, Any] = field(default_factory=dict)
    """See `Head`."""
    workers: dict[str, Any] = field(default_factory=dict)
    """See `Workers`."""
    auth_secret: Optional[str] = None
    """A Secret with the key `auth_token`; without one KubeRay makes one a job."""
    network_policy: bool = False
    tls: bool = False
    queue: Optional[str] = None
    """Kueue's."""
    backoff_limit: int = 3
    ttl_seconds_after_finished: int = 60
    active_deadline_seconds: Optional[int] = None
    termination_grace_period_seconds: int = 60


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The mappings of a profile, checked."""

    volume: Volume | None
    head: Head
    workers: Workers


@dataclass(frozen=True)
class Place:
    """Where the project is on the other side."""

    root: str | None
    """Its folder; None where Ray unpacks it and starts the command in it."""
    package: str | None = None
    """The URL of a zip that Ray unpacks on every node."""


def job_name(sweep: str) -> str:
    """A name for a job that no other has: the sweep's as far as Kubernetes takes it, and a tail."""
    tail = secrets.token_hex(3)
    slug = re.sub(r"[^a-z0-9]+", "-", sweep.lower()).strip("-")
    slug = slug if slug[:1].isalpha() else f"sweep-{slug}".strip("-")
    return f"{slug[: _LONGEST_NAME - len(tail) - 1].rstrip('-')}-{tail}"


def rayjob(
    name: str,
    submission: Submission,
    options: KubernetesOptions,
    parts: Parts,
    place: Place,
) -> Manifest:
    """The whole manifest."""
    pods = _Pods(name, submission, options, parts, place)
    spec: Manifest = {
        "entrypoint": f"bash {_RUN}",  # what is here passes through two shells
        "submissionMode": "K8sJobMode",
        "jobId": name,
        "shutdownAfterJobFinishes": True,
        "ttlSecondsAfterFinished": options.ttl_seconds_after_finished,
        "backoffLimit": options.backoff_limit,
        "runtimeEnvYAML": _runtime_env(options, place),
        "submitterPodTemplate": pods.submitter(),
        "rayClusterSpec": _cluster(options, parts, pods),
    }
    if options.active_deadline_seconds is not None:
        spec["activeDeadlineSeconds"] = options.active_deadline_seconds
    labels = {"app.kubernetes.io/managed-by": "caviar"}
    if options.queue is not None:
        labels["kueue.x-k8s.io/queue-name"] = options.queue
        spec["suspend"] = True  # Kueue lets it go when there is room
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": {
            "name": name,
            "namespace": options.namespace,
            "labels": labels,
            "annotations": {"caviar/sweep": submission.name},
        },
        "spec": spec,
    }


def token_secret(name: str, options: KubernetesOptions) -> Manifest:
    """A Secret with a new random token; never to be shown."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": name,
            "namespace": options.namespace,
            "labels": {"app.kubernetes.io/managed-by": "caviar"},
        },
        "type": "Opaque",
        "stringData": {"auth_token": secrets.token_hex(32)},
    }


def _cluster(options: KubernetesOptions, parts: Parts, pods: _Pods) -> Manifest:
    auth: Manifest = {"mode": "token"}
    if options.auth_secret is not None:
        auth["secretName"] = options.auth_secret
    workers = parts.workers
    spec: Manifest = {
        "rayVersion": options.ray_version or metadata.version("ray"),
        "authOptions": auth,
        "headGroupSpec": {
            "serviceType": "ClusterIP",
            "enableIngress": False,
            "rayStartParams": {"num-cpus": "0", "dashboard-host": "0.0.0.0"},  # noqa: S104
            "template": pods.head(),
        },
        "workerGroupSpecs": [
            {
                "groupName": "trials",
                "replicas": workers.min,
                "minReplicas": workers.min,
                "maxReplicas": workers.max,
                "rayStartParams": {},
                "template": pods.worker(),
            }
        ],
    }
    if options.network_policy:
        spec["networkPolicy"] = {"mode": "DenyAllIngress"}
    if options.tls:
        spec["tlsOptions"] = {"enabled": True}
    if scales(workers):
        spec["enableInTreeAutoscaling"] = True
        spec["autoscalerOptions"] = {
            "version": "v2",
            "upscalingMode": "Default",
            "idleTimeoutSeconds": workers.idle_timeout_seconds,
            "resources": _resources(0.5, "512Mi"),
            "securityContext": _CONFINED,
        }
    return spec


def scales(workers: Workers) -> bool:
    """Whether the number of workers follows the trials that wait."""
    return workers.max > workers.min


def _runtime_env(options: KubernetesOptions, place: Place) -> str:
    """As JSON, which is YAML: here stands what Ray has to do before the command starts."""
    grace = str(options.termination_grace_period_seconds)
    stop = {"RAY_JOB_STOP_SIGNAL": "SIGINT", "RAY_JOB_STOP_WAIT_TIME_S": grace}
    env: Manifest = {"env_vars": stop}
    if place.package is not None:
        env["working_dir"] = place.package
    return json.dumps(env)


def run_script(submission: Submission, python: str, place: Place) -> str:
    """What the driver's shell runs: it goes on with the sweep, or begins it."""
    lines = [f"cd {shlex.quote(place.root)}"] if place.root is not None else []
    for path in reversed(submission.code.import_paths):
        lines.append(f'export PYTHONPATH="$PWD"/{shlex.quote(path)}"${{PYTHONPATH:+:$PYTHONPATH}}"')
    caviar = shlex.join([python, "-m", "sweeps.cli"])
    lines += [
        f'found=$({caviar} --version) || found="no caviar"',
        f'if [ "$found" != "{_VERSION}" ]; then',
        f'  echo "{_VERSION} sent this, and the image has $found" >&2; exit 1',
        "fi",
        f"echo $$ > {_DRIVER}",
        f"exec {caviar} {shlex.join(submission.arguments)}",
    ]
    return "\n".join(["set -e", *lines, ""])


_CONFINED: Manifest = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}

_SAVE = f"""\
pid=$(cat {_DRIVER} 2>/dev/null) || exit 0
kill -INT "$pid" 2>/dev/null || exit 0
while kill -0 "$pid" 2>/dev/null; do sleep 0.2; done
"""
"""Before the head's pod goes: the driver hears of it, which Ray would not tell, and saves."""


def _drain(grace: int) -> str:
    """Before a worker's pod goes: Ray hears of it, and its trials go on elsewhere."""
    return f"""\
timeout 15 ray drain-node --address "$RAY_ADDRESS" --reason DRAIN_NODE_REASON_PREEMPTION \\
  --reason-message 'its pod is being ended' --deadline-remaining-seconds {grace} || exit 0
while pgrep -x raylet > /dev/null; do sleep 0.5; done
"""


def _resources(cpus: float, memory: str, extra: Mapping[str, Any] | None = None) -> Manifest:
    """Requests and limits alike: what a pod has is what Ray believes it has."""
    both = {"cpu": f"{cpus:g}", "memory": memory, **(extra or {})}
    return {"requests": dict(both), "limits": dict(both)}


@dataclass(frozen=True)
class _Pods:
    """The three kinds of pods."""

    name: str
    submission: Submission
    options: KubernetesOptions
    parts: Parts
    place: Place

    def head(self) -> Manifest:
        wants = self.parts.head
        container = self._container(HEAD, _resources(wants.cpus, wants.memory), _SAVE)
        container["env"] += [{"name": n, "value": v} for n, v in HEALTH_CHECKS.items()]
        container["volumeMounts"].append(
            {"name": "run", "mountPath": _RUN.rpartition("/")[0], "readOnly": True}
        )
        pod = self._pod(container, wants)
        pod["metadata"]["annotations"] = {
            "caviar/run": run_script(self.submission, self.options.python, self.place)
        }
        source = {"fieldRef": {"fieldPath": "metadata.annotations['caviar/run']"}}
        items = [{"path": _RUN.rpartition("/")[2], **source}]
        pod["spec"]["volumes"].append({"name": "run", "downwardAPI": {"items": items}})
        if scales(self.parts.workers):  # Ray asks Kubernetes for pods
            del pod["spec"]["automountServiceAccountToken"]
        return pod

    def worker(self) -> Manifest:
        wants = self.parts.workers
        gpus = {wants.gpu_resource: str(wants.gpus)} if wants.gpus else {}
        resources = _resources(wants.cpus, wants.memory, gpus)
        last = _drain(self.options.termination_grace_period_seconds)
        return self._pod(self._container("ray-worker", resources, last), wants)

    def submitter(self) -> Manifest:
        resources = {
            "requests": {"cpu": "500m", "memory": "200Mi"},
            "limits": {"cpu": "1", "memory": "1Gi"},
        }
        container = {
            "name": SUBMITTER,
            "image": self.options.image,
            "resources": resources,
            "securityContext": _CONFINED,
        }
        return {"metadata": self._metadata(), "spec": self._spec(container, self.parts.head)}

    def _pod(self, container: Manifest, wants: Head | Workers) -> Manifest:
        spec = self._spec(container, wants)
        spec["terminationGracePeriodSeconds"] = self.options.termination_grace_period_seconds
        spec["volumes"] = []
        if self.parts.volume is not None:
            claim = {"claimName": self.parts.volume.claim}
            spec["volumes"].append({"name": "storage", "persistentVolumeClaim": claim})
        return {"metadata": self._metadata(), "spec": spec}

    def _metadata(self) -> Manifest:
        return {"labels": {"app.kubernetes.io/managed-by": "caviar", "caviar/job": self.name}}

    def _spec(self, container: Manifest, wants: Head | Workers) -> Manifest:
        options = self.options
        spec: Manifest = {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": options.run_as_user,
                "runAsGroup": options.run_as_group,
                "fsGroup": options.run_as_group,
                "fsGroupChangePolicy": "OnRootMismatch",
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [container],
        }
        if options.service_account is not None:
            spec["serviceAccountName"] = options.service_account
        if options.image_pull_secrets:
            spec["imagePullSecrets"] = [{"name": name} for name in options.image_pull_secrets]
        if wants.node_selector:
            spec["nodeSelector"] = wants.node_selector
        if wants.tolerations:
            spec["tolerations"] = wants.tolerations
        return spec

    def _container(self, name: str, resources: Manifest, last: str) -> Manifest:
        env = {str(k): str(v) for k, v in self.options.env.items()} | dict(self.submission.env)
        volume = self.parts.volume
        mounts = [{"name": "storage", "mountPath": volume.path}] if volume is not None else []
        return {
            "name": name,
            "image": self.options.image,
            "env": [{"name": k, "value": v.replace("$(", "$$(")} for k, v in env.items()],
            "envFrom": [{"secretRef": {"name": secret}} for secret in self.options.env_from],
            "resources": resources,
            "volumeMounts": mounts,
            "securityContext": _CONFINED,
            "lifecycle": {"preStop": {"exec": {"command": ["/bin/bash", "-c", last]}}},
        }
