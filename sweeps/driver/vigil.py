"""Watches the cluster's head while a sweep runs: a driver without it can do nothing but say so."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator

from sweeps.errors import SweepError

_POLL_S = 0.5
_TIMEOUT_S = 2.0
_ENOUGH = 30
_REFUSED = 10
"""Nobody listens there: three times is enough."""
_SILENT = 3
"""The network may be cut for a while, and Ray gets over that: it takes ten times, 25 s."""
_LAST_RESORT_S = 2.0
"""Ray's client would wait a minute for a head that is gone, whatever the driver asks of it."""


@contextlib.contextmanager
def watching_head(address: str, *, end: Callable[[str], None]) -> Iterator[Callable[[], None]]:
    """Try the head's port, `host:port`, twice a second.

    Args:
        address: Where the head listens.
        end: Called with what there is to say where the process does not end by itself in time.

    Yields:
        What raises SweepError once the head is gone.
    """
    over, gone = threading.Event(), threading.Event()
    error = SweepError(
        f"the Ray cluster is gone: its head, {address}, does not answer any more. Nothing is lost: "
        f"run the sweep again, or caviar resume it, where there is a cluster"
    )

    def watch() -> None:
        strikes = 0
        while strikes < _ENOUGH:
            if over.wait(_POLL_S):
                return
            strike = _try(address)
            strikes = strikes + strike if strike else 0
        gone.set()
        if not over.wait(_LAST_RESORT_S):
            end(str(error))

    def check() -> None:
        if gone.is_set():
            raise error

    watcher = threading.Thread(target=watch, name="vigil", daemon=True)
    watcher.start()
    try:
        yield check
    finally:
        if not gone.is_set():  # else what is left to do may hang too
            over.set()
            watcher.join()


def end_process(message: str) -> None:
    """Say why, and end this process without asking anything of Ray."""
    sys.stderr.write(f"{message}\n")
    sys.stderr.flush()
    os._exit(1)


def _try(address: str) -> int:
    """How bad it looks: 0 where something listens there."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_TIMEOUT_S):
            return 0
    except ConnectionError:
        return _REFUSED
    except OSError:
        return _SILENT
