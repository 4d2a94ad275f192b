"""Whether a sweep's storage is there on every node of a cluster, and the same on all of them."""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.bucket import check_bucket, is_url
from cluster.errors import ClusterError

TIMEOUT_S = 20.0
"""How long the nodes may take: the first worker of a fresh one starts in seconds."""

_SEEN_S = 2.0
"""How long what one node wrote may take to be seen from another, as on NFS."""

_BY_DRIVER = "driver"


@dataclass(frozen=True, kw_only=True)
class NodeProbe:
    """What one node found."""

    node: str
    """Its host name and address."""
    free_bytes: int | None = None
    """The room there, as that node sees it."""
    error: str = ""
    """Why it cannot be used there, in a line; empty where it can."""
    answered: bool = True
    """Whether the node said so itself; else it was too slow, or died."""


def probe(path: str | os.PathLike[str], *, timeout_s: float = TIMEOUT_S) -> list[NodeProbe]:
    """Try a storage path from every node of the connected Ray, and leave it as it was.

    In a folder each node reads what this process writes there, and writes what this process reads
    back. In a bucket each writes an object and reads it back.

    Args:
        path: A folder, made where it is missing; or a URL such as s3://bucket/sweeps.
        timeout_s: How long the nodes may take to answer.

    Raises:
        ClusterError: This process itself cannot write there.
    """
    if is_url(path):
        url = str(path)
        check_bucket(url)
        return _from_each(lambda node: _ask(node, _try_bucket, url), _said, timeout_s)
    with _scratch(Path(path)) as (scratch, secret):
        return _from_each(
            lambda node: _ask(node, _try_here, str(scratch), node),
            lambda task, node: _answer(task, scratch / node, secret),
            timeout_s,
        )


def _from_each(
    ask: Callable[[str], Any], answer: Callable[[Any, str], dict[str, Any]], timeout_s: float
) -> list[NodeProbe]:
    """What comes of a task on each node, by what it answers."""
    import ray

    nodes: Any = ray.nodes()  # type: ignore[no-untyped-call]
    asked = {ask(node["NodeID"]): node for node in nodes if node["Alive"]}
    ready, late = ray.wait(list(asked), num_returns=len(asked), timeout=timeout_s)
    found = {task: answer(task, asked[task]["NodeID"]) for task in ready}
    for task in late:
        ray.cancel(task, force=True)
        found[task] = _no_answer(f"no answer within {timeout_s:g} s")
    return [NodeProbe(node=_name(node), **found[task]) for task, node in asked.items()]


@contextmanager
def _scratch(place: Path) -> Iterator[tuple[Path, str]]:
    """A folder of the probe's own, with a file of random content in it."""
    scratch, secret = place / f".probe-{secrets.token_hex(8)}", secrets.token_hex(16)
    try:
        scratch.mkdir(parents=True)
        _write(scratch / _BY_DRIVER, secret)
    except OSError as error:
        shutil.rmtree(scratch, ignore_errors=True)
        raise ClusterError(f"{place} cannot be written here: {error.strerror}") from error
    try:
        yield scratch, secret
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _ask(node: str, function: Callable[..., Any], *arguments: str) -> Any:
    """Start a task on that very node; it takes no slot."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    there = NodeAffinitySchedulingStrategy(node, soft=False)
    task = ray.remote(function).options(num_cpus=0, max_retries=0, scheduling_strategy=there)
    return task.remote(*arguments)


def _try_bucket(url: str) -> dict[str, Any]:
    """On a node: whether the bucket takes an object and gives it back."""
    try:
        check_bucket(url)
    except ClusterError as error:
        return {"error": str(error)}
    return {}


def _try_here(scratch: str, node: str) -> dict[str, Any]:
    """On a node: whether the driver's file is there and one beside it can be written."""
    folder = Path(scratch)
    try:
        said = _read(folder / _BY_DRIVER)
    except OSError as error:
        return {"error": f"what the driver wrote cannot be read there: {error.strerror}"}
    try:
        _write(folder / node, said)
    except OSError as error:
        return {"error": f"it cannot be written there: {error.strerror}"}
    return {"free_bytes": shutil.disk_usage(folder).free}


def _answer(task: Any, written: Path, secret: str) -> dict[str, Any]:
    """What a node said, checked against what it wrote."""
    said = _said(task)
    if "error" in said:
        return said
    try:
        same = _read(written) == secret
    except OSError as error:
        return {"error": f"what it wrote cannot be read here: {error.strerror}"}
    return said if same else {"error": "what it read there is not what was written here"}


def _said(task: Any, node: str = "") -> dict[str, Any]:
    import ray
    from ray.exceptions import RayError

    try:
        said: dict[str, Any] = ray.get(task)
    except RayError as error:
        return _no_answer(f"the probe failed there: {str(error).strip().splitlines()[-1]}")
    return said


def _no_answer(error: str) -> dict[str, Any]:
    return {"error": error, "answered": False}


def _name(node: dict[str, Any]) -> str:
    return f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"


def _write(file: Path, text: str) -> None:
    with file.open("w", encoding="ascii") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())


def _read(file: Path) -> str:
    """A file that another node wrote just now."""
    deadline = time.monotonic() + _SEEN_S
    while not file.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    return file.read_text(encoding="ascii")
