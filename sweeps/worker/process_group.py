"""The process group of a trial's ranks: what `torchrun` would set up, within one of its processes.

The app finds `torch.distributed` initialized, and `RANK`, `WORLD_SIZE`, `LOCAL_RANK`,
`LOCAL_WORLD_SIZE`, `GROUP_RANK`, `MASTER_ADDR`, `MASTER_PORT` and `TORCHELASTIC_RUN_ID` in its
environment; by the last of these Lightning takes its ranks from there and starts none. Each segment
has a group and a store of its own: what one left under way cannot reach the next.
"""

from __future__ import annotations

import contextlib
import gc
import os
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_interface
from typing import Any

import psutil
from hydra.core.utils import env_override

from sweeps.session import TrialEnded

_INTERFACES = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")


@dataclass(frozen=True, kw_only=True)
class Seat:
    """Where a rank is."""

    node: str
    """The node's id."""
    node_address: str
    """Where other nodes reach it."""
    devices: str | None
    """The process's `CUDA_VISIBLE_DEVICES`."""


@dataclass(frozen=True, kw_only=True)
class World:
    """What one rank of a segment knows of the others."""

    segment: int
    """Tells the segments of a lane apart."""
    rank: int
    size: int
    local_rank: int
    """Its number among the ranks of its node."""
    local_size: int
    group: int
    """Its node's number among the trial's."""
    address: str
    """Where rank 0 is."""
    port: int
    """Where rank 0's store listens."""
    node_address: str
    """Where other nodes reach this rank."""
    device: int | None
    """The rank's own among the CUDA devices it sees; None on the CPU."""
    shares_device: bool
    """Whether other ranks may use it too."""

    @property
    def environment(self) -> Mapping[str, str]:
        """What `torchrun` would set; and, for accelerate, that ranks without devices are ranks."""
        on_cpu = {} if self.device is not None else {"ACCELERATE_USE_CPU": "true"}
        return {
            **on_cpu,
            "RANK": str(self.rank),
            "WORLD_SIZE": str(self.size),
            "LOCAL_RANK": str(self.local_rank),
            "LOCAL_WORLD_SIZE": str(self.local_size),
            "GROUP_RANK": str(self.group),
            "MASTER_ADDR": self.address,
            "MASTER_PORT": str(self.port),
            "TORCHELASTIC_RUN_ID": f"caviar-{self.segment}",
        }


def worlds(
    seats: Sequence[Seat], *, gpus: float, address: str, port: int, segment: int
) -> list[World]:
    """What each rank knows, in the order of their seats."""
    nodes = [seat.node for seat in seats]
    return [
        World(
            segment=segment,
            rank=rank,
            size=len(seats),
            local_rank=(local_rank := nodes[:rank].count(seat.node)),
            local_size=nodes.count(seat.node),
            group=list(dict.fromkeys(nodes)).index(seat.node),
            address=address,
            port=port,
            node_address=seat.node_address,
            device=_device(local_rank, gpus),
            shares_device=gpus < 1,
        )
        for rank, seat in enumerate(seats)
    ]


def visible_devices(seats: Sequence[Seat], *, gpus: float) -> list[str | None]:
    """The `CUDA_VISIBLE_DEVICES` of each rank; None leaves it as it is.

    Ranks with devices of their own see those of all ranks of their node: so `LOCAL_RANK` counts
    them, as apps for `torchrun` expect, and NCCL reaches its neighbours directly. Ranks that share
    a device see that one alone.
    """
    if gpus < 1:
        return [None] * len(seats)
    return [
        ",".join(other.devices or "" for other in seats if other.node == seat.node)
        for seat in seats
    ]


def _device(local_rank: int, gpus: float) -> int | None:
    if not gpus:
        return None
    return local_rank * int(gpus) if gpus >= 1 else 0


@contextlib.contextmanager
def hosting(address: str) -> Iterator[Any]:
    """A store at which ranks meet; it listens at this address alone."""
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, 0), family=family) as server:
        port = server.getsockname()[1]
        yield TCPStore(
            address, port, is_master=True, wait_for_workers=False, master_listen_fd=server.detach()
        )


@contextlib.contextmanager
def process_group(world: World, store: Any = None) -> Iterator[None]:
    """Join the group of a segment's ranks; leave it where the task returns or is ended.

    A rank that fails does not leave: the others would fail of that, and hide the reason.

    Args:
        world: This rank's.
        store: Rank 0's own; the other ranks connect to it.
    """
    import torch
    import torch.distributed as dist
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    cuda = world.device is not None and torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(world.device)
    with env_override({**_interfaces(world), **world.environment}):
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if cuda and not world.shares_device else "gloo",
            store=store or TCPStore(world.address, world.port, wait_for_workers=False),
            rank=world.rank,
            world_size=world.size,
        )
        try:
            yield
        except TrialEnded:
            _leave(dist)
            raise
        _leave(dist)


def release_devices() -> None:
    """Give back the device memory that an ended segment held; nothing where it used none."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        gc.collect()
        torch.cuda.empty_cache()


def _leave(dist: Any) -> None:
    if dist.is_initialized():  # the app may have left by itself
        dist.destroy_process_group()


def _interfaces(world: World) -> dict[str, str]:
    """The network device that ranks talk through: on one node the loopback.

    Left to itself gloo takes the one that the host's name resolves to, often the loopback too.
    """
    alone = world.local_size == world.size
    name = _interface_of(world.address if alone else world.node_address)
    return {} if name is None else {key: os.environ.get(key, name) for key in _INTERFACES}


def _interface_of(address: str) -> str | None:
    """The network device with an address, or else the one whose network it is in."""
    wanted, near = ip_address(address), None
    for name, has in psutil.net_if_addrs().items():
        for each in has:
            if each.address == address:
                return name
            if each.family == socket.AF_INET and each.netmask is not None:
                network = ip_interface(f"{each.address}/{each.netmask}").network
                near = name if wanted in network else near
    return near
