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

_START_S = 180


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
    gcs_port: int = field(default_factory=free_port)
    dashboard_port: int = field(default_factory=free_port)
    nodes: dict[str, Node] = field(default_factory=dict)
    _addresses: Iterator[int] = field(default_factory=lambda: itertools.count(3))

    @property
    def address(self) -> str:
        """Of the GCS, for `RAY_ADDRESS` of a driver."""
        return f"{_HEAD}:{self.gcs_port}"

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
        return own | (auth if self.token else {"RAY_AUTH_MODE": "disabled"})

    def start_head(
        self, *, cpus: float = 0, env: Mapping[str, str] | None = None, dashboard: bool = True
    ) -> Node:
        """Start the head; `dashboard` is the Jobs API too, and costs a second."""
        arguments = ["--head", f"--port={self.gcs_port}", f"--dashboard-port={self.dashboard_port}"]
        arguments += [f"--include-dashboard={str(dashboard).lower()}"]
        return self._start("head", [*arguments, f"--num-cpus={cpus:g}"], env, _HEAD)

    def add_node(
        self,
        name: str,
        *,
        cpus: float = 1,
        gpus: float = 0,
        env: Mapping[str, str] | None = None,
        within: Sequence[str] = (),
    ) -> Node:
        """Add a worker node and wait until it runs; `within` is a command that runs its command."""
        arguments = [f"--address={self.address}", f"--num-cpus={cpus:g}", f"--num-gpus={gpus:g}"]
        address = f"127.0.0.{next(self._addresses)}"
        return self._start(name, arguments, env, address, within)

    def add_nodes(self, *names: str, cpus: float = 1, gpus: float = 0) -> list[Node]:
        """Add several at once."""
        with ThreadPoolExecutor() as pool:
            return list(pool.map(lambda name: self.add_node(name, cpus=cpus, gpus=gpus), names))

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
        within: Sequence[str] = (),
    ) -> Node:
        place = self.folder / name
        place.mkdir(exist_ok=True)
        output = self.folder / f"{name}.txt"
        command = [*within, RAY, "start", *arguments, "--block", f"--node-ip-address={address}"]
        command += [f"--temp-dir={place}", f"--labels=node={name}", "--disable-usage-stats"]
        command.append(f"--dashboard-agent-listen-port={free_port()}")  # or two clusters share it
        with output.open("ab") as file:
            began = file.tell()
            process = subprocess.Popen(
                command,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=self.environment | dict(env or {}),
                start_new_session=True,
                cwd=place,
            )
        node = Node(name=name, process=process, folder=place, output=output)
        self.nodes[name] = node
        deadline = time.monotonic() + _START_S
        while b"Ray runtime started" not in output.read_bytes()[began:]:
            assert process.poll() is None, output.read_text()
            assert time.monotonic() < deadline, output.read_text()
            time.sleep(0.05)
        return node


@contextlib.contextmanager
def ray_cluster(*, token: bool = True) -> Iterator[RayCluster]:
    """A cluster without nodes yet; all of it is gone at the end."""
    folder = Path(tempfile.mkdtemp(prefix="cvc", dir="/tmp"))  # sockets lie in it: a short path
    cluster = RayCluster(folder=folder, token=secrets.token_hex(32) if token else "")
    if token:
        cluster.token_file.touch(mode=0o600)
        cluster.token_file.write_text(cluster.token)
    try:
        yield cluster
    finally:
        cluster.stop()
