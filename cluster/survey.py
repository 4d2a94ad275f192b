"""What a cluster says of itself, found by a tiny job on it: `python -m cluster.survey [STORAGE]`.

The job prints one line of JSON; the side that sent it reads that line from the job's log.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Self

from cluster.capacity import Capacity
from cluster.errors import ClusterError
from cluster.storage import NodeProbe, probe

_MARK = "caviar-survey: "
_NVIDIA = ("nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits")
_ANSWER_S = 10.0


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A node that is alive."""

    name: str
    cpus: float
    gpus: float
    gpu_mib: tuple[int, ...] = ()
    """The memory of each device that its driver shows."""


@dataclass(frozen=True, kw_only=True)
class Survey:
    """A cluster, now."""

    python: str
    machines: tuple[Machine, ...]
    free_cpus: float
    free_gpus: float
    grows: bool = False
    """Whether the cluster adds nodes where work waits."""
    probes: tuple[NodeProbe, ...] = ()
    """What each node found at the storage; none where it was not asked."""
    no_storage: str = ""
    """Why the driver itself could not use the storage."""

    def line(self) -> str:
        """As the job prints it."""
        return _MARK + json.dumps(asdict(self))

    @classmethod
    def find(cls, log: str) -> Self | None:
        """In what the job printed; None where it printed none."""
        for line in log.splitlines():
            if line.startswith(_MARK):
                return cls._read(json.loads(line.removeprefix(_MARK)))
        return None

    @classmethod
    def _read(cls, told: dict[str, Any]) -> Self:
        machines = [
            Machine(**{**each, "gpu_mib": tuple(each["gpu_mib"])}) for each in told["machines"]
        ]
        probes = [NodeProbe(**each) for each in told["probes"]]
        return cls(**{**told, "machines": tuple(machines), "probes": tuple(probes)})


def look(storage: str | None) -> Survey:
    """Look at the Ray that this process is connected to, and at a storage from all its nodes."""
    import ray

    nodes: Any = ray.nodes()  # type: ignore[no-untyped-call]
    free: Any = ray.available_resources()  # type: ignore[no-untyped-call]
    alive = [node for node in nodes if node["Alive"]]
    asked = _ask_gpus(alive)
    probes, no_storage = _try(storage) if storage else ((), "")
    memory = _gpu_memory(asked)
    return Survey(
        python=platform.python_version(),
        machines=tuple(
            Machine(
                name=f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})",
                cpus=node["Resources"].get("CPU", 0),
                gpus=node["Resources"].get("GPU", 0),
                gpu_mib=memory.get(node["NodeID"], ()),
            )
            for node in alive
        ),
        free_cpus=free.get("CPU", 0),
        free_gpus=free.get("GPU", 0),
        grows=Capacity.now(can_grow=True).autoscales,
        probes=probes,
        no_storage=no_storage,
    )


def _try(storage: str) -> tuple[tuple[NodeProbe, ...], str]:
    try:
        return tuple(probe(storage)), ""
    except ClusterError as error:
        return (), str(error)


def _ask_gpus(nodes: Iterable[dict[str, Any]]) -> dict[Any, str]:
    """A task on each node that has devices -> the node."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    asked = {}
    for node in nodes:
        if node["Resources"].get("GPU"):
            there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            task = ray.remote(_ask_driver).options(
                num_cpus=0, max_retries=0, scheduling_strategy=there
            )
            asked[task.remote()] = node["NodeID"]
    return asked


def _gpu_memory(asked: dict[Any, str]) -> dict[str, tuple[int, ...]]:
    """MiB of each device of those nodes, as far as they say so in time."""
    import ray

    if not asked:
        return {}
    ready, _ = ray.wait(list(asked), num_returns=len(asked), timeout=_ANSWER_S)
    return {asked[each]: ray.get(each) for each in ready}


def _ask_driver() -> tuple[int, ...]:
    try:
        done = subprocess.run(  # noqa: S603
            _NVIDIA, capture_output=True, text=True, timeout=_ANSWER_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ()  # no NVIDIA driver there: other devices, or none
    return parse_memory(done.stdout)


def parse_memory(told: str) -> tuple[int, ...]:
    """What nvidia-smi tells, a line a device; a device that tells no number is left out."""
    return tuple(int(line) for line in told.split() if line.isdigit())


def main() -> None:
    """Look, and print."""
    import logging

    import ray

    ray.init(log_to_driver=False, logging_level=logging.ERROR)
    sys.stdout.write(look(next(iter(sys.argv[1:]), None)).line() + "\n")


if __name__ == "__main__":
    main()
