"""A node that is cut off from the others, trains on where nobody sees it, and comes back."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from cluster.health import HEALTH_CHECKS
from tests.cluster.audit import AuditedSweep, audited, wait_until
from tests.cluster.nodes import RayCluster, ray_cluster

pytestmark = [pytest.mark.slow, pytest.mark.cluster]

HEAD, SPARE, FAR = "10.77.0.1", "10.77.0.2", "10.77.0.3"


@dataclass(frozen=True)
class Network:
    """Two machines, as it were, on a switch: each a network namespace, with addresses of its own.

    The addresses are on the loopback devices, so that each machine works on when it is cut off.
    """

    name: str

    def __post_init__(self) -> None:
        for place in ("near", "far", "switch"):
            _ip("netns", "add", self.space(place))
            _ip("-n", self.space(place), "link", "set", "lo", "up")
        _ip("-n", self.space("switch"), "link", "add", "bridge", "type", "bridge")
        _ip("-n", self.space("switch"), "link", "set", "bridge", "up")
        for number, (place, addresses, others) in enumerate(
            [("near", (HEAD, SPARE), (FAR,)), ("far", (FAR,), (HEAD, SPARE))], start=1
        ):
            own, switch = self.space(place), self.space("switch")
            peer = ("peer", "name", place, "netns", switch)
            _ip("-n", own, "link", "add", "eth0", "type", "veth", *peer)
            _ip("-n", switch, "link", "set", place, "master", "bridge", "up")
            _ip("-n", own, "addr", "add", f"10.77.1.{number}/24", "dev", "eth0")
            _ip("-n", own, "link", "set", "eth0", "up")
            for address in addresses:
                _ip("-n", own, "addr", "add", f"{address}/32", "dev", "lo")
            for address in others:
                way = ("via", f"10.77.1.{3 - number}", "src", addresses[0])
                _ip("-n", own, "route", "add", f"{address}/32", *way)

    def space(self, place: str) -> str:
        return f"{self.name}-{place}"

    def within(self, place: str) -> tuple[str, ...]:
        """What a command that runs there stands behind."""
        return ("nsenter", f"--net=/run/netns/{self.space(place)}")

    def cut(self) -> None:
        """Let the switch drop what the far machine sends or gets, without a word."""
        _ip("-n", self.space("switch"), "link", "set", "far", "nomaster")

    def heal(self) -> None:
        _ip("-n", self.space("switch"), "link", "set", "far", "master", "bridge")

    def remove(self) -> None:
        for place in ("near", "far", "switch"):
            subprocess.run(["ip", "netns", "del", self.space(place)], check=False)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@pytest.fixture
def network() -> Iterator[Network]:
    name = f"cv{os.getpid()}"
    try:
        _ip("netns", "add", f"{name}-try")
        _ip("netns", "del", f"{name}-try")
        made = Network(name)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no network namespaces can be made here: {error}")
    yield made
    made.remove()


@pytest.fixture
def cluster(network: Network) -> Iterator[RayCluster]:
    with ray_cluster(host=HEAD) as made:
        near = network.within("near")
        made.start_head(dashboard=False, cpus=1, env=HEALTH_CHECKS, within=near)
        made.add_node("far", address=FAR, within=network.within("far"))
        yield made


def test_a_node_that_is_cut_off_loses_its_trial_in_seconds_and_harms_nothing_when_it_is_back(
    network: Network, cluster: RayCluster, tmp_path: Path
) -> None:
    near = network.within("near")
    sweep = AuditedSweep(cluster=cluster, storage=tmp_path, trials=2, prefix=near)
    with audited(sweep):
        sweep.start()
        zombie = sweep.line_on(FAR)
        process = psutil.Process(zombie.pid)

        network.cut()
        took = sweep.wait_for(lambda: sweep.losses, within=60)
        print(f"partition: seen after {took:.1f} s")
        assert took < 30  # without these settings it is a minute
        assert process.is_running()
        spare = cluster.add_node("spare", address=SPARE, within=near)
        _, line = sweep.wait_for_life(zombie)
        assert (line.trial, line.node) == (zombie.trial, spare.address)
        assert process.is_running(), "it was cut off, not ended"
        network.heal()
        wait_until(lambda: not process.is_running(), lambda: sweep.said)
        sweep.finish()
        sweep.check(losses=1)
        jobs = sweep.folder.path / "trials" / str(zombie.trial)
        assert sorted(job.name for job in jobs.iterdir()) == ["1", "1-1"]
