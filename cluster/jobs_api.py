"""The Jobs API of a Ray cluster over plain HTTP: every request goes where it is told, and ends.

Ray's own client goes elsewhere where RAY_ADDRESS is set, waits for ever for a server that takes the
connection and says nothing, and takes 40 s to find that an address has no scheme.
"""

from __future__ import annotations

import asyncio
import http.client
import ipaddress
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

from cluster.auth import token_headers
from cluster.errors import ClusterError

REACH_S = 5.0
"""How long a cluster may take to say that it is there."""

_ANSWER_S = 30.0
"""How long one that is there may take over a request."""

_UPLOAD_S = 300.0
_OVER = ("SUCCEEDED", "FAILED", "STOPPED")
_AGAIN_S = 1.0
_HEARTBEAT_S = 15.0
_MOST_BYTES = 1 << 20
"""Of what a stranger may answer to the first question."""

Result = TypeVar("Result")


class Trouble(ClusterError):  # noqa: N818 - it is a finding too
    """A cluster refused, or is not there: what was found, and what to do."""

    def __init__(self, what: str, todo: str) -> None:
        super().__init__(f"{what}; {todo}")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the token to wherever it points."""

    def redirect_request(self, *_: Any) -> None:
        """Follow none."""


@dataclass(frozen=True, kw_only=True)
class JobsApi:
    """A cluster's Jobs API."""

    address: str
    """http://HOST:PORT or https://HOST:PORT."""
    token: str = field(default="", repr=False)

    def authentication_mode(self) -> str:
        """`token` or `disabled`, asked without a token; a Ray from before there was one has none.

        Raises:
            Trouble: It does not answer within 5 s, or is no Ray.
        """
        stranger = JobsApi(address=self.address)
        status, body = _within(
            REACH_S,
            lambda: stranger._send("GET", "/api/authentication_mode", timeout_s=REACH_S),
            late=lambda: self._silent(REACH_S),
        )
        with suppress(ValueError, KeyError, TypeError):
            if status == http.client.OK:
                return str(json.loads(body)["authentication_mode"])
        if status == http.client.NOT_FOUND and "ray_version" in stranger._version(REACH_S):
            return "disabled"
        raise self._stranger(status)

    def ray_version(self) -> str:
        """Of the cluster; the first request that needs the token.

        Raises:
            Trouble: It does not take the token, or does not answer.
        """
        return str(self._version(REACH_S)["ray_version"])

    def submit(self, request: Mapping[str, Any]) -> bool:
        """Send a job; False where its `submission_id` is taken."""
        status, body = self._ask("POST", "/api/jobs/", json.dumps(request).encode())
        if status == http.client.OK:
            return True
        if b"already exists" in body:
            return False
        raise self._refused("the job", status, body)

    def info(self, job: str) -> dict[str, Any] | None:
        """What the cluster knows of a job; None where it knows no such job."""
        status, body = self._ask("GET", f"/api/jobs/{quote(job, safe='')}")
        if status == http.client.NOT_FOUND:
            return None
        return dict(self._read("the status", status, body))

    def stop(self, job: str) -> None:
        """Ask for its end; it comes later."""
        status, body = self._ask("POST", f"/api/jobs/{quote(job, safe='')}/stop")
        if status != http.client.NOT_FOUND:
            self._read("the stop", status, body)

    def logs(self, job: str) -> str:
        """All that its driver printed so far.

        Raises:
            Trouble: The job is not known, or its log is gone with its node.
        """
        status, body = self._ask("GET", f"/api/jobs/{quote(job, safe='')}/logs")
        if status == http.client.NOT_FOUND:
            raise _unknown(job)
        return str(self._read("the log", status, body)["logs"])

    def upload(self, name: str, data: bytes) -> str:
        """Put a package on the head, where it is not there yet; its URI."""
        path = f"/api/packages/gcs/{name}"
        if self._ask("GET", path)[0] != http.client.OK:
            status, body = self._ask("PUT", path, data, timeout_s=_UPLOAD_S)
            if status != http.client.OK:
                raise self._refused("the package", status, body)
        return f"gcs://{name}"

    def follow(self, job: str) -> Iterator[str]:
        """What its driver prints, from the beginning, until the job is over.

        A stream that breaks is taken up again where it broke.
        """
        seen = 0
        while True:
            for piece in self._stream(job, skip=seen):
                seen += len(piece)
                yield piece
            info = self.info(job)
            if info is None:
                raise _unknown(job)
            if info["status"] in _OVER:
                break
            time.sleep(_AGAIN_S)
        if rest := self.logs(job)[seen:]:
            yield rest

    def _stream(self, job: str, *, skip: int) -> Iterator[str]:
        """What one connection gives, without the first characters."""
        pieces = self._tail(job)

        async def following() -> str | None:
            return await anext(pieces, None)

        with asyncio.Runner() as runner:  # Ctrl-C ends what waits, and the connection with it
            while (piece := runner.run(following())) is not None:
                if new := piece[skip:]:
                    yield new
                skip = max(0, skip - len(piece))

    async def _tail(self, job: str) -> AsyncIterator[str]:
        try:
            import aiohttp
        except ImportError as error:
            raise Trouble(
                "aiohttp, which follows a job's log, is not installed here",
                "pip install 'caviar[cluster]'",
            ) from error
        url = f"{self.address}/api/jobs/{quote(job, safe='')}/logs/tail"
        bound = aiohttp.ClientTimeout(total=None, sock_connect=REACH_S)
        async with aiohttp.ClientSession(timeout=bound) as session:
            try:
                async with session.ws_connect(
                    url,
                    headers=token_headers(self.token),
                    heartbeat=_HEARTBEAT_S,
                    max_msg_size=0,
                ) as stream:
                    async for message in stream:
                        if message.type == aiohttp.WSMsgType.TEXT:
                            yield message.data
            except aiohttp.WSServerHandshakeError as error:
                if error.status == http.client.NOT_FOUND:
                    raise _unknown(job) from None
                raise self._refused("the log", error.status, b"") from None
            except (aiohttp.ClientError, OSError) as error:
                raise self._unreachable(error) from None

    # one request

    def _version(self, timeout_s: float) -> dict[str, Any]:
        status, body = _within(
            timeout_s,
            lambda: self._ask("GET", "/api/version", timeout_s=timeout_s),
            late=lambda: self._silent(timeout_s),
        )
        if status == http.client.OK:
            with suppress(ValueError):
                told = json.loads(body)
                if isinstance(told, dict) and "ray_version" in told:
                    return told
        raise self._stranger(status)

    def _ask(
        self, method: str, path: str, data: bytes | None = None, *, timeout_s: float = _ANSWER_S
    ) -> tuple[int, bytes]:
        """The status and what came with it, where the cluster took the token."""
        status, body = self._send(method, path, data, timeout_s=timeout_s)
        if status == http.client.UNAUTHORIZED:
            raise Trouble(
                f"{self.address} asks for a token and got none",
                "name the file that holds it with token_file in the cluster's profile; if it does, "
                "a proxy on the way drops the Authorization header",
            )
        if status == http.client.FORBIDDEN:
            raise Trouble(
                f"{self.address} has another token than ours",
                "copy the cluster's (on its head: `ray get-auth-token`) into the profile's "
                "token_file",
            )
        return status, body

    def _send(
        self, method: str, path: str, data: bytes | None = None, *, timeout_s: float
    ) -> tuple[int, bytes]:
        request = urllib.request.Request(  # noqa: S310 - the scheme is checked with the profile
            self.address + path, data=data, method=method, headers=token_headers(self.token)
        )
        request.add_header("Content-Type", "application/json")
        try:
            with self._opener().open(request, timeout=timeout_s) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return self._not_ok(error)
        except TimeoutError:
            raise self._silent(timeout_s) from None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            if isinstance(reason, TimeoutError):
                raise self._silent(timeout_s) from None
            raise self._unreachable(reason) from None

    def _not_ok(self, error: urllib.error.HTTPError) -> tuple[int, bytes]:
        if error.code in (301, 302, 303, 307, 308):
            raise Trouble(
                f"{self.address} sends us on to {error.headers.get('Location')}",
                "if that is the cluster, put its address into the profile",
            )
        return error.code, error.read(_MOST_BYTES)

    def _opener(self) -> urllib.request.OpenerDirector:
        """Follows no redirect, and asks no proxy for what is on this machine."""
        handlers: list[Any] = [_NoRedirect()]
        if is_loopback(self.address):
            handlers.append(urllib.request.ProxyHandler({}))
        return urllib.request.build_opener(*handlers)

    def _read(self, what: str, status: int, body: bytes) -> dict[str, Any]:
        if status == http.client.OK:
            with suppress(ValueError):
                return dict(json.loads(body))
        raise self._refused(what, status, body)

    def _refused(self, what: str, status: int, body: bytes) -> Trouble:
        """With the last line of what came: where Ray sends a traceback, it says why."""
        lines = body.decode(errors="replace").strip().splitlines()
        why = f": {lines[-1][:300]}" if lines else ""
        return Trouble(
            f"{self.address} refused {what} (HTTP {status}){why}",
            "the cluster's dashboard.log and dashboard_agent.log say more",
        )

    def _unreachable(self, why: object) -> Trouble:
        said = getattr(why, "strerror", None) or str(why) or type(why).__name__
        return Trouble(f"{self.address} cannot be reached: {said}", _REACH)

    def _silent(self, seconds: float) -> Trouble:
        return Trouble(f"{self.address} gave no answer within {seconds:g} s", _REACH)

    def _stranger(self, status: int) -> Trouble:
        return Trouble(
            f"{self.address} answers, but not as Ray's dashboard does (HTTP {status})",
            "check host and port; Ray's own port for it is 8265",
        )


_REACH = (
    "check that the cluster is up and the address is its dashboard's; to one in a network of its "
    "own: ssh -N -L 8265:127.0.0.1:8265 HEAD, and address: http://127.0.0.1:8265"
)


def is_loopback(address: str) -> bool:
    """Whether an address is on this machine."""
    host = urlsplit(address).hostname or ""
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def printed(log: str) -> list[str]:
    """A command's lines; what Ray says before it, Ray may write after what a quick one said."""
    lines = (line.strip() for line in log.splitlines())
    return [line for line in lines if line and not line.startswith("Running entrypoint for job")]


def _unknown(job: str) -> Trouble:
    return Trouble(
        f"the cluster knows no job {job}",
        "it was restarted or is another one; the sweep goes on with `caviar resume`",
    )


def _within(seconds: float, call: Callable[[], Result], *, late: Callable[[], Trouble]) -> Result:
    """A call's result in time, also of a server that sends one byte now and then.

    The thread of one that is late ends with its own time limit.
    """
    results: list[Result] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(call())
        except BaseException as error:  # noqa: BLE001 - raised again below
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise late()
    if errors:
        raise errors[0]
    return results[0]
