"""Servers that answer as a head's dashboard does, or as it should not."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODE = "/api/authentication_mode"
VERSION = "/api/version"


@dataclass
class Head:
    """Path -> status and JSON; notes each request with its headers."""

    answers: dict[str, tuple[int, Any]]
    address: str = ""
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    @property
    def tokens(self) -> set[str | None]:
        """What came as authorization."""
        return {headers.get("Authorization") for _, headers in self.asked}


@contextlib.contextmanager
def head(
    answers: dict[str, tuple[int, Any]] | None = None, *, mode: str = "token", ray: str = "2.60.0"
) -> Iterator[Head]:
    """A dashboard of that authentication mode and version; `answers` come first."""
    usual = {MODE: (200, {"authentication_mode": mode}), VERSION: (200, {"ray_version": ray})}
    made = Head({**usual, **(answers or {})})

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            made.asked.append((self.path, dict(self.headers)))
            status, told = made.answers.get(self.path, (404, "<html>not found</html>"))
            body = (told if isinstance(told, str) else json.dumps(told)).encode()
            self.send_response(status)
            if status == 302:
                self.send_header("Location", told)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        made.address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield made
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def silent_head(drip_s: float | None = None) -> Iterator[str]:
    """Takes every connection and says nothing, or one byte of a header now and then."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        held: list[socket.socket] = []

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    held.append(server.accept()[0])

        def drip() -> None:
            while drip_s is not None and not over.wait(drip_s):
                for connection in list(held):
                    with contextlib.suppress(OSError):
                        connection.sendall(b"H")

        threads = [threading.Thread(target=task, daemon=True) for task in (accept, drip)]
        for thread in threads:
            thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        over.set()
        server.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join()
        for connection in held:
            connection.close()


def took(began: float) -> float:
    return time.monotonic() - began
