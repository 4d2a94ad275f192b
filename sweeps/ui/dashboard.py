"""A sweep in optuna-dashboard, which gets a copy of the journal; the copy follows the sweep."""

from __future__ import annotations

import logging
import socket
import tempfile
import threading
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from cluster.errors import ClusterError
from sweeps.errors import SweepError
from sweeps.journal.following import Follower, never_began
from sweeps.journal.records import encode
from sweeps.storage.folder import SweepFolder
from sweeps.storage.scratch import scratch

log = logging.getLogger(__name__)

_FOLLOW_S = 2.0

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]


class JournalCopy:
    """A sweep's journal in a file of this process; the sweep's own is only read."""

    def __init__(self, folder: SweepFolder, path: Path) -> None:
        self._folder = folder
        self._backend = JournalFileBackend(str(path))
        self._follower = Follower(folder)
        self._copied = 0

    def storage(self) -> JournalStorage:
        """What Optuna reads it with."""
        return JournalStorage(self._backend)

    def update(self) -> None:
        """Copy what the journal gained.

        Raises:
            SweepError: The journal is missing or cannot be read.
        """
        try:
            gained = self._follower.read()
        except FileNotFoundError:
            raise never_began(self._folder) from None
        known = self._copied if gained.afresh else 0  # the next driver's begins with the same
        records = [encode(event) for event in islice(gained.events, known, None)]
        if records:
            self._backend.append_logs(records)
        self._copied += len(records)

    def follow(self, ended: threading.Event) -> None:
        """Copy what it gains until that event; storage that is away may come back."""
        away = False
        while not ended.wait(_FOLLOW_S):
            try:
                self.update()
                away = False
            except SweepError as error:
                log.warning("the copy is no longer kept up to date: %s", error)
                return
            except (ClusterError, OSError) as error:
                if not away:
                    log.warning("the copy is not up to date: %s; trying again", error)
                away = True


def serve_dashboard(
    folder: SweepFolder, *, address: str, port: int, ready: Callable[[], None]
) -> None:
    """Serve a copy of a sweep's journal in optuna-dashboard until it is interrupted.

    Raises:
        SweepError: The journal is missing or cannot be read.
    """
    from optuna_dashboard import wsgi

    with tempfile.TemporaryDirectory(dir=scratch()) as place:
        copy = JournalCopy(folder, Path(place) / folder.journal.name)
        copy.update()
        ended = threading.Event()
        application = only_for({address, "localhost"}, wsgi(copy.storage()))
        with make_server(
            address, port, application, server_class=_server(address), handler_class=_Quiet
        ) as server:
            threading.Thread(target=copy.follow, args=(ended,), daemon=True).start()
            ready()
            try:
                server.serve_forever()
            finally:
                ended.set()


def only_for(hosts: set[str], application: Application) -> Application:
    """The same, refused where a browser was led here under another name (DNS rebinding)."""

    def guarded(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        host = environ.get("HTTP_HOST", "").rpartition(":")[0] or environ.get("HTTP_HOST", "")
        if host.strip("[]") not in hosts:
            start("403 Forbidden", [("Content-Type", "text/plain")])
            return [b"This address is not served under that name.\n"]
        return application(environ, start)

    return guarded


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, *arguments: Any) -> None:
        """Requests are not told."""


def _server(address: str) -> type[_Server]:
    """Of the address's family."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return type("Server", (_Server,), {"address_family": family})
