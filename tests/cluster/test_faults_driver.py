"""What becomes of a sweep on a cluster when its driver, or the cluster's head, goes."""

from __future__ import annotations

import json
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sweeps.journal.events import Closed
from tests.cluster.audit import APP, AuditedSweep, wait_until
from tests.cluster.nodes import RayCluster, ray_cluster

pytestmark = [pytest.mark.slow, pytest.mark.cluster]


@pytest.fixture
def cluster() -> Iterator[RayCluster]:
    with ray_cluster() as made:
        made.start_head(cpus=1)
        made.add_node("a")
        yield made


@pytest.fixture
def sweep(tmp_path: Path) -> Iterator[Callable[..., AuditedSweep]]:
    made = []

    def make(cluster: RayCluster, **fields: object) -> AuditedSweep:
        made.append(AuditedSweep(cluster=cluster, storage=tmp_path, **fields))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for each in made:
        each.clean_up()


def test_whatever_ends_the_driver_and_then_the_cluster_another_goes_on_exactly(
    cluster: RayCluster, sweep: Callable[..., AuditedSweep]
) -> None:
    audited = sweep(cluster, trials=6, steps=60)

    def begin() -> None:
        audited.start()
        audited.wait_for_steps(4)

    begin()
    lease = json.loads(audited.folder.lease.read_text())
    assert lease["workers"] == []  # no cluster that it does not own is ended with it
    assert audited.end(signal.SIGKILL) == -signal.SIGKILL
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        begin()
        assert audited.end(number) == 130, audited.said
        closed = audited.events[-1]
        assert isinstance(closed, Closed)
        assert closed.reason == "interrupted"
        assert not audited.folder.lease.exists()
        assert audited.said.count("caviar resume") >= 1

    begin()
    audited.drivers[-1].send_signal(signal.SIGINT)
    assert audited.end(signal.SIGINT) == 130, audited.said

    _stop_a_job(cluster, audited)

    begin()
    head = cluster.nodes["head"]
    began = time.monotonic()
    head.kill()
    assert audited.drivers[-1].wait(timeout=30) == 1, audited.said
    print(f"head killed: the driver ended after {time.monotonic() - began:.1f} s")
    last = audited.said.splitlines()[-1]
    assert last.startswith(f"the Ray cluster is gone: its head, {cluster.address}"), audited.said
    assert "caviar resume" in last
    assert audited.folder.journal.read_bytes().endswith(b"\n")

    with ray_cluster() as fresh:
        fresh.start_head(dashboard=False, cpus=2)
        audited.cluster = fresh
        audited.start()
        audited.finish()
    audited.check(losses=0)
    assert audited.state.run == 8


def _stop_a_job(cluster: RayCluster, audited: AuditedSweep) -> None:
    """Run the driver as a Ray job, and stop that as a user would."""
    trained = len(audited.lines)
    command = shlex.join([sys.executable, str(APP), *audited.arguments])
    job = cluster.run_python(_SUBMIT, cluster.dashboard, command).strip()
    wait_until(lambda: len(audited.lines) >= trained + 4, lambda: str(audited.events[-3:]))
    assert cluster.run_python(_STOP, cluster.dashboard, job).split() == ["STOPPED"]
    closed = audited.events[-1]
    assert isinstance(closed, Closed)
    assert closed.reason == "interrupted"
    assert not audited.folder.lease.exists()


_SUBMIT = """
import os, sys
from ray.job_submission import JobSubmissionClient

env = {"RAY_JOB_STOP_SIGNAL": "SIGINT", "RAY_JOB_STOP_WAIT_TIME_S": "60"}
env["PYTHONPATH"] = os.environ["PYTHONPATH"]
client = JobSubmissionClient(sys.argv[1])
print(client.submit_job(entrypoint=sys.argv[2], runtime_env={"env_vars": env}))
"""
_STOP = """
import sys, time
from ray.job_submission import JobSubmissionClient

client = JobSubmissionClient(sys.argv[1])
client.stop_job(sys.argv[2])
while not client.get_job_status(sys.argv[2]).is_terminal():
    time.sleep(0.1)
print(client.get_job_status(sys.argv[2]).value)
"""
