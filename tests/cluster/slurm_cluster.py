"""A real Slurm on this machine: a controller and two nodes, on the loopback device.

Its daemons run in the foreground, each our child, with a folder of their own; nothing of the
machine's own configuration is read or changed. Debian's packages are installed where they are
missing and that can be done.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from cluster.backends.slurm import SlurmBackend
from cluster.profile import Profile
from tests.cluster.nodes import free_port

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun")
_NODES = {"n1": "127.0.0.2", "n2": "127.0.0.3"}
"""Slurm's name of a node -> the address at which Ray is to be reached there."""

_CONFIG = """\
ClusterName=caviar
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock
CredType=cred/munge
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,bf_interval=1,sched_min_interval=0,batch_sched_delay=0
SlurmdParameters=config_overrides
MpiDefault=none
GresTypes=gpu
ReturnToService=2
KillWait=20
MinJobAge=15
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=60 DefaultTime=10 State=UP
"""


@dataclass
class SlurmCluster:
    """A controller and two nodes of four CPUs and two GPUs that are none."""

    folder: Path
    daemons: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def config(self) -> Path:
        return self.folder / "slurm.conf"

    def start(self) -> None:
        """Start the daemons and wait until both nodes take jobs."""
        key = self.folder / "munge.key"
        key.touch(mode=0o400)
        key.write_bytes(secrets.token_bytes(1024))
        nodes = "\n".join(
            f"NodeName={name} NodeAddr=127.0.0.1 Port={free_port()} CPUs=4 RealMemory=16000 "
            f"Gres=gpu:2"
            for name in _NODES
        )
        host, port = socket.gethostname(), free_port()
        self.config.write_text(
            _CONFIG.format(host=host, port=port, folder=self.folder, nodes=nodes)
        )
        (self.folder / "state").mkdir()
        for number in range(2):  # two more null devices, which Slurm takes for GPUs
            os.mknod(self.folder / f"gpu{number}", stat.S_IFCHR | 0o600, os.makedev(1, 3))
        gpus = f"NodeName=n[1-2] Name=gpu File={self.folder}/gpu[0-1] Flags=nvidia_gpu_env\n"
        (self.folder / "gres.conf").write_text(gpus)
        socket_file = self.folder / "munge.sock"
        own = {"socket": socket_file, "key-file": key}
        own |= {f"{name}-file": self.folder / f"munged.{name}" for name in ("pid", "log", "seed")}
        self._run("munged", "--force", "--foreground", *[f"--{k}={v}" for k, v in own.items()])
        self._wait(socket_file.exists)
        self._run("slurmctld", "-D", "-f", str(self.config))
        for name in _NODES:
            (self.folder / f"spool.{name}").mkdir()
            self._run("slurmd", "-D", "-N", name, "-f", str(self.config), as_name=name)
        self._wait(lambda: self.ask("sinfo", "-h", "-o", "%T %D") == "idle 2")

    def ask(self, *command: str) -> str:
        """What one of Slurm's commands prints."""
        return subprocess.run(command, capture_output=True, text=True, timeout=30).stdout.strip()

    def backend(self, **options: Any) -> SlurmBackend:
        """A backend of this cluster whose jobs are small."""
        cases = " ".join(f"{name}) echo {address};;" for name, address in _NODES.items())
        given = {
            "folder": str(self.folder / "jobs"),
            "cpus_per_task": 1,
            "timeout_min": 10,
            "driver": {"cpus_per_task": 1, "timeout_min": 10, "mem_gb": 1},
            "node_address": f"case $SLURMD_NODENAME in {cases} esac",
            **options,
        }
        if given.get("mode") == "allocation":
            del given["driver"]
        return SlurmBackend.from_profile(
            Profile(name="here", path=None, backend="slurm", options=given)
        )

    def stop(self) -> None:
        """End all jobs and all daemons."""
        with contextlib.suppress(FileNotFoundError, subprocess.TimeoutExpired):
            self.ask("scancel", "--signal=KILL", "--full", *self._jobs())
            self.ask("scancel", *self._jobs())
        processes = [psutil.Process(daemon.pid) for daemon in self.daemons.values()]
        family = [each for process in processes for each in process.children(recursive=True)]
        for process in reversed(processes):
            process.terminate()
        _, alive = psutil.wait_procs(processes, timeout=10)
        for process in [*alive, *family]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        for daemon in self.daemons.values():
            daemon.wait(timeout=10)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _jobs(self) -> list[str]:
        return self.ask("squeue", "-h", "-o", "%A").split()

    def _run(self, program: str, *arguments: str, as_name: str = "") -> None:
        name = as_name or program
        with (self.folder / f"{name}.txt").open("wb") as output:
            self.daemons[name] = subprocess.Popen(
                [program, *arguments], stdout=output, stderr=output, start_new_session=True
            )

    def _wait(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 30
        while not condition():
            for name, daemon in self.daemons.items():
                assert daemon.poll() is None, (self.folder / f"{name}.txt").read_text()
            assert time.monotonic() < deadline, [
                (self.folder / f"{name}.txt").read_text() for name in self.daemons
            ]
            time.sleep(0.1)


@contextlib.contextmanager
def slurm_cluster() -> Iterator[SlurmCluster]:
    """A Slurm that is up; all of it is gone at the end. `SLURM_CONF` leads to it."""
    _install()
    cluster = SlurmCluster(Path(tempfile.mkdtemp(prefix="cvs", dir="/tmp")))
    before = os.environ.get("SLURM_CONF")
    os.environ["SLURM_CONF"] = str(cluster.config)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        os.environ.pop("SLURM_CONF")
        if before is not None:
            os.environ["SLURM_CONF"] = before


def _install() -> None:
    """Have Slurm's programs, or skip."""
    if all(map(shutil.which, PROGRAMS)):
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        pytest.skip("Slurm is not installed, and installing it takes root and apt-get")
    install = ["apt-get", "install", "-y", "--no-install-recommends", "slurm-wlm", "munge"]
    quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "update"], install):
        done = subprocess.run(command, env=quiet, capture_output=True, text=True, timeout=300)
        if done.returncode:
            pytest.skip(f"Slurm cannot be installed: {done.stderr.strip().splitlines()[-1:]}")
