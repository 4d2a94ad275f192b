"""An S3 server on this machine, in a process of its own: moto's, with faults on demand.

`python object_store.py PORT` serves. What is asked of it beside S3 begins with `/-/`: `counts`
(requests by method since the last time), `fail?status=503&times=2&method=PUT` (the next two),
`fill?bucket=NAME&prefix=a/&count=1200` (empty objects).
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

SECRET = "c2VjcmV0LWtleS1vZi10aGUtdGVzdHM"


def environment(port: int) -> dict[str, str]:
    """What makes clients on this machine find it."""
    return {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "AKIATESTSTESTSTESTST",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


@dataclass(frozen=True, kw_only=True)
class ObjectStore:
    """A server that runs."""

    port: int
    process: subprocess.Popen[bytes]

    def make_bucket(self, name: str) -> str:
        """Make a bucket; its URL."""
        self._ask(f"/{name}", "PUT")
        return f"s3://{name}"

    def counts(self) -> dict[str, int]:
        """Requests by method since this was asked last."""
        counted: dict[str, int] = json.loads(self._ask("/-/counts"))
        return counted

    def fail(self, *, status: int = 503, times: int = 10**9, method: str = "") -> None:
        """Answer so many requests with an error; none of them takes effect."""
        self._ask(f"/-/fail?status={status}&times={times}&method={method}")

    def fill(self, bucket: str, prefix: str, count: int) -> None:
        """Put so many empty objects into a bucket."""
        self._ask(f"/-/fill?bucket={bucket}&prefix={prefix}&count={count}")

    def mend(self) -> None:
        """Answer as one should again."""
        self.fail(times=0)

    def _ask(self, path: str, method: str = "GET") -> bytes:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=10) as answer:
            data: bytes = answer.read()
        return data


@contextlib.contextmanager
def object_store(port: int) -> Iterator[ObjectStore]:
    """Run a server at a port; it keeps what it is given in memory."""
    command = [sys.executable, __file__, str(port)]
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=quiet, stderr=quiet)
    store = ObjectStore(port=port, process=process)
    try:
        deadline = time.monotonic() + 60
        while True:
            assert process.poll() is None, "the server ended"
            assert time.monotonic() < deadline, "the server does not answer"
            with contextlib.suppress(OSError):
                store.counts()
                break
            time.sleep(0.05)
        yield store
    finally:
        process.kill()
        process.communicate()


class _Faults:
    """In front of the server's application: counts requests, and fails some."""

    def __init__(self, application: Any) -> None:
        self._application = application
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._status, self._times, self._method = 503, 0, ""
        self._acts = {"/-/fail": self._set, "/-/fill": _fill}

    def __call__(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
        if path == "/-/counts":
            with self._lock:
                counts, self._counts = self._counts, Counter()
            start("200 OK", [])
            return [json.dumps(counts).encode()]
        if path in self._acts:
            self._acts[path]({k: v[0] for k, v in parse_qs(environ["QUERY_STRING"]).items()})
            start("200 OK", [])
            return [b""]
        with self._lock:
            self._counts[method] += 1
            fails = self._times > 0 and method.startswith(self._method)
            self._times -= fails
        if fails:
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start(f"{self._status} Failed", [("Content-Length", "0")])
            return [b""]
        answer: Iterable[bytes] = self._application(environ, start)
        return answer

    def _set(self, query: Mapping[str, str]) -> None:
        with self._lock:
            self._status, self._times = int(query["status"]), int(query["times"])
            self._method = query.get("method", "")


def _fill(query: Mapping[str, str]) -> None:
    from moto.core import DEFAULT_ACCOUNT_ID
    from moto.s3.models import s3_backends

    backend = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
    for number in range(int(query["count"])):
        backend.put_object(query["bucket"], f"{query['prefix']}{number:06d}", b"")


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(0)


def _serve(port: int) -> None:
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, run_simple

    threading.Thread(target=_end_with_parent, daemon=True).start()
    WSGIRequestHandler.protocol_version = "HTTP/1.1"
    application = _Faults(DomainDispatcherApplication(create_backend_app))
    run_simple("127.0.0.1", port, application, threaded=True)


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
