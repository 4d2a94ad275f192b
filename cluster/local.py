"""The Ray that a sweep runs on: the one it is pointed to, or one of its own on this machine."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

_ENVIRONMENT = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # also here: Ray stays on the loopback device
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",  # Ray's own, 15, starves training beside anything else that runs
}


@contextmanager
def connect() -> Iterator[Mapping[str, float]]:
    """Yield the resources of a Ray that is up.

    It is the one this process has, or the one that `RAY_ADDRESS` names (a job on a cluster has it
    set), or one of its own. A Ray started here ends with the context. It listens on the loopback
    device alone, unless Ray was imported before.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import ray

    ours = not ray.is_initialized()
    if ours and os.environ.get("RAY_ADDRESS", "local") != "local":
        ray.init(log_to_driver=False, logging_level=logging.ERROR)
    elif ours:
        ray.init(
            address="local",
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            configure_logging=True,
            _node_ip_address="127.0.0.1",
        )
    try:
        yield ray.cluster_resources()  # type: ignore[no-untyped-call]
    finally:
        if ours:
            ray.shutdown()
