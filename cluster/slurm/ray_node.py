"""A Ray node on this machine, inside a Slurm job: started, found, drained, ended."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from cluster.health import HEALTH_CHECKS
from cluster.slurm.commands import without_job
from cluster.slurm.folder import JobFolder, Spec

_LABEL = "slurm"
"""A Ray node's label: `JOB.HOST`."""

_RAY = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",  # a node is drained here, as a preemption
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",  # the job's CPUs are its own
}

_END_S = 5.0
_ASK_S = 5


def node_environment(spec: Spec, job: JobFolder) -> dict[str, str]:
    """For all that belongs to the sweep: nodes, workers, the command; Slurm's own is not in it."""
    own = without_job(os.environ)
    own = {name: value for name, value in own.items() if name != "RAY_ADDRESS"}
    paths = [*spec.import_paths, *filter(None, [own.get("PYTHONPATH")])]
    python_path = {"PYTHONPATH": os.pathsep.join(paths)} if paths else {}
    auth = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(job.token.resolve())}
    return {**_RAY, **own, **python_path, **spec.env, **auth}


class RayNode:
    """`ray start --block`, with a folder of its own for sockets and logs."""

    def __init__(
        self, arguments: Sequence[str], environment: Mapping[str, str], output: Path
    ) -> None:
        self._folder = tempfile.mkdtemp(prefix="cv", dir="/tmp")
        command = [sys.executable, "-P", "-m", "ray.scripts.scripts", "start", "--block"]
        command += ["--log-color=false"]
        command += [*arguments, f"--temp-dir={self._folder}", "--disable-usage-stats"]
        command += [f"--labels={_LABEL}={os.environ['SLURM_JOB_ID']}.{host()}"]
        command += [f"--dashboard-agent-listen-port={free_port()}"]
        if address := os.environ.get("CAVIAR_NODE_ADDRESS"):
            command += [f"--node-ip-address={address}"]
        with output.open("ab") as file:
            self._process = subprocess.Popen(  # noqa: S603
                command,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )

    @property
    def is_up(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def end(self) -> None:
        """End it and all its processes at once: what is to be saved is saved by now."""
        family: list[psutil.Process] = []
        with contextlib.suppress(psutil.NoSuchProcess):
            family = psutil.Process(self._process.pid).children(recursive=True)
        self._process.kill()
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait()
        psutil.wait_procs(family, timeout=_END_S)
        shutil.rmtree(self._folder, ignore_errors=True)


@contextlib.contextmanager
def running(
    arguments: Sequence[str], environment: Mapping[str, str], *, output: Path
) -> Iterator[RayNode]:
    """A Ray node that ends with the context; what it prints goes behind what is in `output`."""
    node = RayNode(arguments, environment, output)
    try:
        yield node
    finally:
        node.end()


def resources_here(spec: Spec) -> list[str]:
    """Of a node that takes trials."""
    return [f"--num-cpus={cpus_here(spec)}", f"--num-gpus={gpus_here()}"]


def head_arguments(port: int, resources: Sequence[str]) -> list[str]:
    """Of a head with these resources; without any it takes no trials."""
    return [
        "--head",
        f"--port={port}",
        f"--ray-client-server-port={free_port()}",
        "--include-dashboard=false",
        *(resources or ["--num-cpus=0", "--num-gpus=0"]),
    ]


def head_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Of a head: it sees soon when a node is gone."""
    return {**HEALTH_CHECKS, **environment}


def cpus_here(spec: Spec) -> int:
    """How many CPUs of this node are for trials."""
    return spec.cpus or int(os.environ.get("SLURM_CPUS_ON_NODE", "1"))


def gpus_here() -> int:
    """How many GPUs Slurm gave this job here; others of the node are not ours.

    Where Slurm does not know of GPUs the profile's `setup` may set `CUDA_VISIBLE_DEVICES`.
    """
    for name in ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"):
        if (visible := os.environ.get(name)) is not None:
            return 0 if visible == "NoDevFiles" else len(list(filter(None, visible.split(","))))
    return int(os.environ.get("SLURM_GPUS_ON_NODE", "0"))


def host() -> str:
    """This node's name in Slurm."""
    return os.environ.get("SLURMD_NODENAME") or socket.gethostname()


def own_address() -> str:
    """The address at which the other nodes reach this one."""
    if address := os.environ.get("CAVIAR_NODE_ADDRESS"):
        return address
    from ray.util import get_node_ip_address

    return str(get_node_ip_address())  # type: ignore[no-untyped-call]


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as found:
        found.bind(("", 0))
        return int(found.getsockname()[1])


# What the head knows


@dataclass(frozen=True, kw_only=True)
class Joined:
    """A Ray node, as the head sees it."""

    id: str
    job: str
    """Slurm's number of the job that it is in."""
    host: str
    resources: Mapping[str, float]
    idle_s: float
    draining: bool


@dataclass(frozen=True, kw_only=True)
class View:
    """What a head knows."""

    nodes: Sequence[Joined]
    waiting: Sequence[Mapping[str, float]]
    """What waits for a place: the resources of each trial, or of each of its ranks."""


class HeadGoneError(Exception):
    """The head does not answer; ask again, or see whether its process lives."""


def look(address: str) -> View:
    """Ask a head.

    Raises:
        HeadGoneError: It does not answer.
    """
    state = _state(address)
    from ray.core.generated.autoscaler_pb2 import NodeStatus  # type: ignore[attr-defined]

    nodes = []
    for node in state.node_states:
        label = dict(node.labels).get(_LABEL, "")
        job, _, host = label.partition(".")
        if node.status == NodeStatus.DEAD or not job:
            continue
        nodes.append(
            Joined(
                id=node.node_id.hex(),
                job=job,
                host=host,
                resources=dict(node.total_resources),
                idle_s=node.idle_duration_ms / 1000,
                draining=node.status == NodeStatus.DRAINING,
            )
        )
    gangs = [
        dict(bundle.resources_bundle)
        for gang in state.pending_gang_resource_requests
        for bundle in gang.requests
    ]
    return View(nodes=nodes, waiting=gangs)


def drain(address: str, job: str, *, seconds: float, reason: str) -> bool:
    """Tell Ray that a job's nodes will be gone in so many seconds, as a preempted machine's are."""
    from ray.core.generated.autoscaler_pb2 import DrainNodeReason  # type: ignore[attr-defined]

    deadline = int((time.time() + seconds) * 1000)
    preempted = DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
    ours = [n for n in look(address).nodes if (n.job, n.host) == (job, host())]
    client = _client(address)
    return all(client.drain_node(node.id, preempted, reason, deadline)[0] for node in ours)


def _state(address: str) -> Any:
    from ray.core.generated.autoscaler_pb2 import GetClusterResourceStateReply  # type: ignore[attr-defined]
    from ray.exceptions import RayError

    try:
        told = _client(address).get_cluster_resource_state(timeout_s=_ASK_S)
    except (RayError, RuntimeError) as error:
        raise HeadGoneError(str(error)) from error
    return GetClusterResourceStateReply.FromString(told).cluster_resource_state


_clients: dict[str, Any] = {}


def _client(address: str) -> Any:
    from ray._raylet import GcsClient  # type: ignore[attr-defined]

    if address not in _clients:
        _clients[address] = GcsClient(address)
    return _clients[address]
