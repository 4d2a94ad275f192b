"""Trials' processes and nodes die, are taken away and join while a sweep runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cluster.audit import AuditedSweep, kill
from tests.cluster.nodes import Node, RayCluster, ray_cluster

pytestmark = [pytest.mark.slow, pytest.mark.cluster]


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    """A head that trains nothing; each test brings the nodes that it needs."""
    with ray_cluster() as made:
        made.start_head(dashboard=False)
        yield made


@pytest.fixture
def nodes(cluster: RayCluster, request: pytest.FixtureRequest) -> Iterator[list[Node]]:
    """Three nodes of one CPU."""
    names = [f"{request.node.name[5:15]}{number}" for number in range(3)]
    yield cluster.add_nodes(*names)
    for name in names:
        cluster.nodes.pop(name).kill()


@pytest.fixture
def sweep(cluster: RayCluster, tmp_path: Path) -> Iterator[Callable[..., AuditedSweep]]:
    made = []

    def make(**fields: object) -> AuditedSweep:
        made.append(AuditedSweep(cluster=cluster, storage=tmp_path, **fields))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for each in made:
        each.clean_up()


def test_trials_go_on_elsewhere_when_their_process_or_node_dies_and_a_new_node_takes_work(
    cluster: RayCluster, nodes: list[Node], sweep: Callable[..., AuditedSweep]
) -> None:
    first, second, third = nodes
    audited = sweep(trials=4)
    audited.start()
    beginning = audited.wait_for(lambda: audited.lines)
    for node in nodes:
        audited.line_on(node.address)

    victim = audited.line_on(first.address)
    kill(victim.pid)
    took, line = audited.wait_for_life(victim)
    print(f"process killed: went on after {took:.1f} s")
    assert line.begun >= victim.begun

    victim = audited.line_on(second.address)
    second.kill()
    audited.wait_for(lambda: len(audited.losses) == 2)

    victim = audited.line_on(third.address)
    third.terminate()
    audited.wait_for(lambda: len(audited.losses) == 3)

    fresh = cluster.add_node("fresh")
    took = audited.wait_for(lambda: any(line.node == fresh.address for line in audited.lines))
    print(f"a node joined: it trained after {took:.1f} s")
    assert took < beginning + 5  # both have a process to start
    audited.finish()
    audited.check()
    killed, died, shut_down = (lost.cause for lost in audited.losses)
    assert (killed, died) == ("lost", "lost")
    assert shut_down in ("lost", "preempted")  # Ray may say that it drains before it goes
    assert "raylet" not in audited.said
    assert "Ray: The node with node id" in audited.folder.log.read_text()
    cluster.nodes.pop("fresh").kill()


def test_a_preempted_nodes_trials_move_without_losing_a_step_and_count_for_nothing(
    cluster: RayCluster, nodes: list[Node], sweep: Callable[..., AuditedSweep]
) -> None:
    first, *_ = nodes
    limits = ("hydra.sweeper.max_losses=0", "hydra.sweeper.max_retries=0")
    audited = sweep(trials=4, options=limits)
    audited.start()
    for node in nodes:
        audited.line_on(node.address)
    victim = audited.line_on(first.address)

    cluster.drain(first)
    audited.wait_for(lambda: audited.losses)
    before = len([line for line in audited.lines if line.node == first.address])
    first.kill()
    audited.finish()

    (lost,) = audited.losses
    assert (lost.trial, lost.cause) == (victim.trial, "preempted")
    assert len([line for line in audited.lines if line.node == first.address]) == before
    audited.check(losses=0)
    moved = [line.step for line in audited.lines if line.trial == victim.trial]
    assert moved == [*range(1, audited.steps + 1)]
    assert audited.state[victim.trial].preemptions == 1
    assert f"trial {victim.trial} preempted: it goes on elsewhere" in audited.said
    assert "preempted 1 time: the trial went on elsewhere" in audited.said


def test_a_preempted_node_that_dies_before_a_checkpoint_costs_steps_but_is_no_failure(
    cluster: RayCluster, nodes: list[Node], sweep: Callable[..., AuditedSweep]
) -> None:
    limits = ("hydra.sweeper.max_losses=0", "hydra.sweeper.max_retries=0", "+every=1000")
    audited = sweep(trials=3, options=limits)
    audited.start()
    for node in nodes:
        audited.line_on(node.address)
    victim = audited.line_on(nodes[0].address)

    cluster.drain(nodes[0])
    drained = audited.lines[-1].time
    audited.wait_for(lambda: audited.lines[-1].time > drained + 3)  # it was seen meanwhile
    nodes[0].kill()
    audited.finish()

    (lost,) = audited.losses
    assert (lost.trial, lost.cause) == (victim.trial, "preempted")
    state = audited.state
    assert [trial.status.value for trial in state] == ["complete"] * 3
    assert [trial.losses for trial in state] == [0, 0, 0]
