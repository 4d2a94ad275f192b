"""The Ray that a sweep runs on: the one it is pointed to, or one of its own on this machine."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

from cluster.capacity import Capacity
from cluster.errors import ClusterError

_ENVIRONMENT = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # also here: Ray stays on the loopback device
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",  # Ray's own, 15, starves training beside anything else that runs
}
_OF_WORKERS = ("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "RAY_worker_niceness")
"""What a worker reads; of a Ray that is not ours it does not inherit it from this process."""


@contextmanager
def connect() -> Iterator[Capacity]:
    """Yield what a Ray that is up has.

    It is the one this process has, or the one that `RAY_ADDRESS` names (a job on a cluster has it
    set), or one of its own. A Ray started here ends with the context. It listens on the loopback
    device alone, unless Ray was imported before.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import ray

    ours = not ray.is_initialized()
    elsewhere = os.environ.get("RAY_ADDRESS", "local") != "local"
    if ours and elsewhere:
        ray.init(
            log_to_driver=False,
            logging_level=logging.ERROR,
            runtime_env={"env_vars": _for_workers()},
        )
    elif ours:
        with _said_in_a_line():
            ray.init(
                address="local",
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                configure_logging=True,
                _node_ip_address="127.0.0.1",
            )
    try:
        yield Capacity.now(can_grow=elsewhere)
    finally:
        if ours:
            ray.shutdown()


@contextmanager
def _said_in_a_line() -> Iterator[None]:
    """Ray gives up on its own processes after some seconds, with a bare `Exception`."""
    try:
        yield
    except Exception as error:
        if "timed out during startup" not in str(error):
            raise
        raise ClusterError(
            "Ray did not start in time: this machine may be too busy. Nothing is lost; try again"
        ) from error


def _for_workers() -> dict[str, str]:
    """What the job does not set for them itself: Ray refuses to be told twice."""
    job = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}"))
    said = (job.get("runtime_env") or {}).get("env_vars") or {}
    return {name: os.environ[name] for name in _OF_WORKERS if name not in said}
