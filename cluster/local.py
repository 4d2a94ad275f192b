"""The Ray that a sweep runs on: the one it is pointed to, or one of its own on this machine."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from cluster.capacity import Capacity
from cluster.errors import ClusterError

_log = logging.getLogger(__name__)

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
        with _notes_logged() if ours else nullcontext():
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


@contextmanager
def _notes_logged() -> Iterator[None]:
    """Log what Ray notes of lost nodes and workers; it prints that, `log_to_driver` or not."""
    from ray._private import worker

    printed = worker.print_to_stdstream

    def log(data: dict[str, Any], ignore_prefix: bool) -> None:
        _log.warning("Ray: %s", "\n".join(data["lines"]))

    worker.print_to_stdstream = log
    try:
        yield
    finally:
        worker.print_to_stdstream = printed


def _for_workers() -> dict[str, str]:
    """What the job does not set for them itself: Ray refuses to be told twice."""
    job = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}"))
    said = (job.get("runtime_env") or {}).get("env_vars") or {}
    return {name: os.environ[name] for name in _OF_WORKERS if name not in said}
