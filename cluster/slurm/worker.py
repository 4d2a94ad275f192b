"""A worker: a Ray node in a Slurm job or step, which joins the head and leaves when asked.

    python -m cluster.slurm.worker FOLDER

Before its time limit (SIGUSR1), or where Slurm takes its node away (SIGTERM), it tells Ray that the
node will be gone soon, waits until nothing runs on it any more, as long as there is time, and ends.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from cluster.slurm import ray_node
from cluster.slurm.folder import JobFolder, Spec
from cluster.slurm.ray_node import HeadGoneError, RayNode
from cluster.slurm.signals import Wishes, heard

log = logging.getLogger("caviar")

_TICK_S = 0.2
_MOST_TRIES = 5
_SOON_S = 120
"""Ray that ended so soon has not worked."""

_SPARE_S = 30
"""Of the time before the limit, what is kept to end Ray in order."""

_KILLED_AFTER_S = 15
"""Slurm's KillWait is 30 s: so long trials have after SIGTERM to come to a checkpoint."""


def main(folder: str) -> int:
    """Be a worker until the head is gone or Slurm wants the node back."""
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.INFO)
    with heard() as wishes:
        job = JobFolder(Path(folder).resolve())
        address = job.read_head()
        if address is None:
            log.info("there is no head to join: the sweep is over, or waits for its next job")
            return 0
        spec = job.read_spec()
        environment = ray_node.node_environment(spec, job)
        os.environ.update({k: v for k, v in environment.items() if k.startswith("RAY_")})
        return _stay(job, spec, address, environment, wishes)


def _stay(
    job: JobFolder, spec: Spec, address: str, environment: Mapping[str, str], wishes: Wishes
) -> int:
    """Be a node; where Ray dies under it (a slow start, a cut network) it joins anew."""
    arguments = [f"--address={address}", *ray_node.resources_here(spec)]
    output = job.ray_log(os.environ["SLURM_JOB_ID"], ray_node.host())
    tries = 0
    while tries < _MOST_TRIES:
        began = time.monotonic()
        with ray_node.running(arguments, environment, output=output) as node:
            while node.is_up and wishes.last is None:
                time.sleep(_TICK_S)
            if wishes.last is not None:
                _leave(job, spec, address, node, wishes)
                return 0
        if job.read_head() != address:
            log.info("the head is gone")
            return 0
        tries = tries + 1 if time.monotonic() - began < _SOON_S else 1
        log.info("Ray ended, and the head is there: see %s", output)
    return 1


def _leave(job: JobFolder, spec: Spec, address: str, node: RayNode, wishes: Wishes) -> None:
    """Drain the node, and wait until it is empty or its time is up."""
    if job.read_head() != address:
        return
    soon = wishes.number == signal.SIGTERM
    seconds = _KILLED_AFTER_S if soon else max(spec.signal_delay_s - _SPARE_S, _KILLED_AFTER_S)
    deadline = time.monotonic() + seconds
    number = os.environ["SLURM_JOB_ID"]
    try:
        if not ray_node.drain(address, number, seconds=seconds, reason="its Slurm job ends"):
            log.info("Ray would not drain the node")
            return
        log.info("Slurm wants the node back: draining for up to %g s", seconds)
        while node.is_up and _is_there(address, number) and time.monotonic() < deadline:
            time.sleep(_TICK_S)
    except HeadGoneError as error:
        log.info("the head is gone: %s", error)


def _is_there(address: str, number: str) -> bool:
    """Whether the node is one of the cluster's; once drained it leaves by itself."""
    host = ray_node.host()
    return any((n.job, n.host) == (number, host) for n in ray_node.look(address).nodes)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
