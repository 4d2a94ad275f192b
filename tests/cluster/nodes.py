"""A real Ray cluster on this machine: a head and worker nodes, each with processes of its own.

Every node is `ray start --block` in a session of its own, on the loopback device, with its own
folder for sockets and logs, so that it can be killed as a machine dies: all its processes at once.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import psutil

RAY = str(Path(sys.executable).with_name("ray"))
_HEAD = "127.0.0.2"
"""Each node has a loopback address of its own; 127.0.0.1 Ray would replace by the machine's."""

_START_S = 300
_PATIENT = {"RAY_raylet_start_wait_time_s": "120"}
"""A node on a busy machine takes longer than Ray's 30 s."""

_DRAIN = """
import logging, os, sys, time
import ray
from ray._raylet import GcsClient
from ray.core.generated.autoscaler_pb2 import DrainNodeReason

ray.init(logging_level=logging.ERROR, log_to_driver=False)
node = next(n for n in ray.nodes() if n["Alive"] and n["NodeManagerAddress"] == sys.argv[1])
accepted, why = GcsClient(address=os.environ["RAY_ADDRESS"]).drain_node(
    node["NodeID"],
    DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION"),
    "the test takes it away",
    int((time.time() + float(sys.argv[2])) * 1000),
)
assert accepted, why
"""


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@dataclass(kw_only=True)
class Node:
    """One machine, as it were."""

    name: str
    process: subprocess.Popen[bytes]
    folder: Path
    output: Path
    address: str
    """Its IP address."""

    @property
    def processes(self) -> list[psutil.Process]:
        """All that runs on it: GCS, raylet, agents, workers."""
        try:
            own = psutil.Process(self.process.pid)
            return [own, *own.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    @property
    def workers(self) -> list[psutil.Process]:
        """Its Ray workers, actors among them."""
        found = []
        for process in self.processes:
            with contextlib.suppress(psutil.Error):
                if process.cmdline()[:1] and process.cmdline()[0].startswith("ray::"):
                    found.append(process)
        return found

    def kill(self) -> None:
        """Let the machine die: every process at once, none may say goodbye."""
        self._end(self.processes)

    def terminate(self) -> None:
        """Shut it down as an operator would: SIGTERM to `ray start --block`."""
        before = self.processes
        self.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=20)
        self._end(before)

    def _end(self, processes: list[psutil.Process]) -> None:
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait(timeout=20)
        psutil.wait_procs(processes, timeout=20)


@dataclass(kw_only=True)
class RayCluster:
    """A head and its nodes; token authentication is on unless `token` is empty."""

    folder: Path
    token: str
    host: str = _HEAD
    """The head's IP address."""
    gcs_port: int = field(default_factory=free_port)
    dashboard_port: int = field(default_factory=free_port)
    nodes: dict[str, Node] = field(default_factory=dict)
    _addresses: Iterator[int] = field(default_factory=lambda: itertools.count(3))

    @property
    def address(self) -> str:
        """Of the GCS, for `RAY_ADDRESS` of a driver."""
        return f"{self.host}:{self.gcs_port}"

    @property
    def dashboard(self) -> str:
        """Of the Jobs API."""
        return f"http://127.0.0.1:{self.dashboard_port}"

    @property
    def token_file(self) -> Path:
        return self.folder / "token"

    @property
    def environment(self) -> dict[str, str]:
        """For a process that is to talk to it."""
        own = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
        auth = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(self.token_file)}
        own["PYTHONPATH"] = str(Path(__file__).parents[2])  # this very checkout
        return own | (auth if self.token else {"RAY_AUTH_MODE": "disabled"})

    def start_head(
        self,
        *,
        cpus: float = 0,
        env: Mapping[str, str] | None = None,
        dashboard: bool = True,
        within: Sequence[str] = (),
    ) -> Node:
        """Start the head; `dashboard` is the Jobs API too, and costs a second.

        `within` is a command that runs its command.
        """
        arguments = ["--head", f"--port={self.gcs_port}", f"--dashboard-port={self.dashboard_port}"]
        arguments += [f"--include-dashboard={str(dashboard).lower()}"]
        return self._start("head", [*arguments, f"--num-cpus={cpus:g}"], env, self.host, within)

    def add_node(
        self,
        name: str,
        *,
        cpus: float = 1,
        gpus: float = 0,
        env: Mapping[str, str] | None = None,
        address: str | None = None,
        within: Sequence[str] = (),
    ) -> Node:
        """Add a worker node and wait until it runs; `within` is a command that runs its command."""
        arguments = [f"--address={self.address}", f"--num-cpus={cpus:g}", f"--num-gpus={gpus:g}"]
        address = address or f"127.0.0.{next(self._addresses)}"
        return self._start(name, arguments, env, address, within)

    def add_nodes(self, *names: str, cpus: float = 1, gpus: float = 0) -> list[Node]:
        """Add several at once."""
        with ThreadPoolExecutor() as pool:
            return list(pool.map(lambda name: self.add_node(name, cpus=cpus, gpus=gpus), names))

    def drain(self, node: Node, *, deadline_s: int = 60) -> None:
        """Say that a node will be preempted, as a cloud or a batch system would have it said."""
        self.run_python(_DRAIN, node.address, str(deadline_s))

    def run_python(self, code: str, *arguments: str) -> str:
        """Run a little program that is connected to it; what it printed."""
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            env=self.environment | {"RAY_ADDRESS": self.address},
            capture_output=True,
            text=True,
            check=False,
            timeout=_START_S,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def stop(self) -> None:
        """Kill every node, the head last, and take the folders away."""
        for node in reversed(list(self.nodes.values())):
            node.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start(
        self,
        name: str,
        arguments: list[str],
        env: Mapping[str, str] | None,
        address: str,
        within: Sequence[str],
    ) -> Node:
        command = [*within, RAY, "start", *arguments, "--block", f"--node-ip-address={address}"]
        command += [f"--temp-dir={self.folder / name}", f"--labels=node={name}"]
        command.append("--disable-usage-stats")
        deadline = time.monotonic() + _START_S
        while True:
            node = self._launch(name, command, env or {}, address)
            if self._is_up(node, deadline):
                return node
            node.kill()

    def _launch(self, name: str, command: list[str], env: Mapping[str, str], address: str) -> Node:
        place, output = self.folder / name, self.folder / f"{name}.txt"
        place.mkdir(exist_ok=True)
        with output.open("wb") as file:
            process = subprocess.Popen(
                # the agents' ports are free ones, or two clusters share them
                [*command, f"--dashboard-agent-listen-port={free_port()}"],
                stdout=file,
                stderr=subprocess.STDOUT,
                env=self.environment | _PATIENT | dict(env),
                start_new_session=True,
                cwd=place,
            )
        self.nodes[name] = Node(
            name=name, process=process, folder=place, output=output, address=address
        )
        return self.nodes[name]

    def _is_up(self, node: Node, deadline: float) -> bool:
        """Wait for it; False where Ray gave up, as it does after 30 s on a busy machine."""
        while "Ray runtime started" not in (said := node.output.read_text()):
            if "timed out during startup" in said:
                return False
            assert node.process.poll() is None, said
            assert time.monotonic() < deadline, said
            time.sleep(0.05)
        return True


@contextlib.contextmanager
def ray_cluster(*, token: bool = True, host: str = _HEAD) -> Iterator[RayCluster]:
    """A cluster without nodes yet; all of it is gone at the end."""
    folder = Path(tempfile.mkdtemp(prefix="cvc", dir="/tmp"))  # sockets lie in it: a short path
    cluster = RayCluster(folder=folder, token=secrets.token_hex(32) if token else "", host=host)
    if token:
        cluster.token_file.touch(mode=0o600)
        cluster.token_file.write_text(cluster.token)
    try:
        yield cluster
    finally:
        cluster.stop()
