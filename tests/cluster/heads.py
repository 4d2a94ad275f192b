"""Servers that answer as a head's dashboard does, or as it should not."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiohttp import web

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


@contextlib.contextmanager
def breaking_head(
    *streams: str, states: Sequence[str] = (), log: str = "", breaks: bool = True
) -> Iterator[str]:
    """A job whose log breaks off: each connection gets the next stream, each question a state."""
    left, told = iter(streams), iter(states)

    async def tail(request: web.Request) -> web.WebSocketResponse:
        socket_ = web.WebSocketResponse()
        await socket_.prepare(request)
        await socket_.send_str(next(left))
        if not breaks:
            await socket_.receive()
        await socket_.close()
        return socket_

    async def info(_: web.Request) -> web.Response:
        return web.json_response({"status": next(told)})

    async def logs(_: web.Request) -> web.Response:
        return web.json_response({"logs": log})

    app = web.Application()
    app.router.add_get("/api/jobs/j/logs/tail", tail)
    app.router.add_get("/api/jobs/j/logs", logs)
    app.router.add_get("/api/jobs/j", info)
    runner, loop = web.AppRunner(app, shutdown_timeout=0.1), asyncio.new_event_loop()
    loop.run_until_complete(runner.setup())
    site = web.TCPSite(runner, "127.0.0.1", 0)
    loop.run_until_complete(site.start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
