"""Twenty faults at random in one sweep, which ends as if there had been none."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.cluster.audit import AuditedSweep, Winner, audited, kill
from tests.cluster.nodes import Node, RayCluster, ray_cluster

pytestmark = [pytest.mark.slow, pytest.mark.cluster]

SEED = int(os.environ.get("CAVIAR_FAULTS_SEED", "1"))
FAULTS = 20
NODES = 3


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    with ray_cluster() as made:
        made.start_head(dashboard=False)
        yield made


@dataclass(kw_only=True)
class Faults:
    """What may happen; each leaves a driver and as many nodes as there were."""

    sweep: AuditedSweep
    random: random.Random
    nodes: list[Node] = field(default_factory=list)
    happened: list[str] = field(default_factory=list)

    def join(self) -> None:
        """A node comes."""
        self.nodes.append(self.sweep.cluster.add_node(f"n{len(self.sweep.cluster.nodes)}"))

    def kill_trial(self) -> None:
        """A process that trains is killed."""
        workers = [worker for node in self.nodes for worker in node.workers]
        known = {line.pid for line in self.sweep.lines}
        training = [worker.pid for worker in workers if worker.pid in known]
        if training:
            kill(self.random.choice(training))

    def kill_node(self) -> None:
        """A machine is gone from one moment to the next; another comes."""
        self._take().kill()
        self.join()

    def shut_node_down(self) -> None:
        """An operator shuts a node down; another comes."""
        self._take().terminate()
        self.join()

    def preempt_node(self) -> None:
        """A node is drained, and dies at some time after that; another comes."""
        node = self._take()
        self.sweep.cluster.drain(node)
        self.sweep.wait_for_steps(self.random.randrange(1, 6))
        node.kill()
        self.join()

    def kill_driver(self) -> None:
        """The driver is killed; another goes on."""
        assert self.sweep.end(signal.SIGKILL) == -signal.SIGKILL
        self.sweep.start()

    def interrupt_driver(self) -> None:
        """The driver is told to end; another goes on."""
        number = self.random.choice([signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
        assert self.sweep.end(number) == 130
        self.sweep.start()

    def one(self) -> None:
        """One of these."""
        kinds = [self.kill_trial, self.kill_node, self.shut_node_down, self.preempt_node]
        kinds += [self.kill_driver, self.interrupt_driver]
        fault = self.random.choice(kinds)
        self.happened.append(fault.__name__)
        fault()
        self.sweep.wait_for_steps(self.random.randrange(1, 8))

    def _take(self) -> Node:
        return self.nodes.pop(self.random.randrange(len(self.nodes)))


def test_a_sweep_with_twenty_random_faults_ends_as_one_without(
    cluster: RayCluster, tmp_path: Path
) -> None:
    sizes = {"cluster": cluster, "trials": 10, "steps": 100, "step_s": 0.5}
    options = ("hydra.sweeper.max_losses=100",)
    for name in ("quiet", "faulty"):
        (tmp_path / name).mkdir()
    quiet = AuditedSweep(**sizes, storage=tmp_path / "quiet")  # type: ignore[arg-type]
    faulty = AuditedSweep(**sizes, storage=tmp_path / "faulty", options=options)  # type: ignore[arg-type]
    faults = Faults(sweep=faulty, random=random.Random(SEED))
    with audited(quiet), audited(faulty):
        for _ in range(NODES):
            faults.join()
        quiet.start()
        quiet.finish()
        quiet.check(losses=0)

        try:
            faulty.start()
            faulty.wait_for_steps(5)
            for _ in range(FAULTS):
                faults.one()
            faulty.finish()
            faulty.check(winner=Winner.of(quiet))
        except BaseException as error:
            error.add_note(f"CAVIAR_FAULTS_SEED={SEED}: {', '.join(faults.happened)}")
            raise
        print(f"{', '.join(faults.happened)}: {len(faulty.losses)} losses")
