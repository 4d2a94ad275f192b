"""What an append to the journal and a checkpoint cost in a bucket, against a local disk.

    python benchmarks/storage.py [--seconds 3]

The bucket is on a server on this machine (moto's, one process of Python), so the network is left
out and the server's own time is in. Requests are counted: on another store a request takes the time
that it takes there.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SIZES = {"1 KiB": 1 << 10, "1 MiB": 1 << 20, "32 MiB": 32 << 20}


def _object_store() -> Any:
    path = Path(__file__).parents[1] / "tests" / "object_store.py"
    spec = importlib.util.spec_from_file_location("object_store", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["object_store"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def median_ms(act: Callable[[int], object], seconds: float) -> float:
    """The median of calls, for so long; the first one does not count."""
    act(0)
    took, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end or len(took) < 3:
        began = time.perf_counter()
        act(len(took) + 1)
        took.append(time.perf_counter() - began)
    return 1e3 * statistics.median(took)


def requests(store: Any, act: Callable[[], object]) -> str:
    """What a call asks of the store, once."""
    store.counts()
    act()
    return " ".join(f"{count} {method}" for method, count in sorted(store.counts().items()))


def show(name: str, local: float, bucket: float, asked: str) -> None:
    """A row of the table."""
    print(f"| {name} | {local:.2f} | {bucket:.1f} | {bucket / local:.0f} | {asked} |", flush=True)


def journal_rows(store: Any, bucket: Any, disk: Path, seconds: float) -> None:
    """An append; reading what a driver that ended in order, or died, has left."""
    from sweeps.journal.events import Opened
    from sweeps.journal.file import Journal, read_journal
    from sweeps.journal.segments import BucketJournal, Segments

    event = Opened(run=1, time=1.0)
    local, there = Journal(disk / "journal.log"), BucketJournal(bucket, check=lambda: None)
    show(
        "append an event",
        median_ms(lambda _: local.append(event), seconds),
        median_ms(lambda _: there.append(event), seconds),
        requests(store, lambda: there.append(event)),
    )
    for _ in range(100):
        there.append(event)
    count = len(Segments(bucket).lines())
    short = disk / "short.log"
    again = Journal(short)
    again.append(*[event] * count)
    for state in ("open", "closed"):
        show(
            f"read {count} events, journal {state}",
            median_ms(lambda _: list(read_journal(short)), seconds),
            median_ms(lambda _: Segments(bucket).lines(), seconds),
            requests(store, lambda: Segments(bucket).lines()),
        )
        there.close()


def checkpoint_rows(store: Any, bucket: Any, disk: Path, seconds: float) -> None:
    """Keeping a checkpoint of three files, and fetching it."""
    from sweeps.storage.durable import sync_tree
    from sweeps.storage.remote import Remote

    remote, back = Remote(bucket, disk / "stage"), disk / "back"

    def make(folder: Path, size: int) -> Path:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name in ("weights", "optimizer", "state"):
            (folder / name).write_bytes(os.urandom(size // 3))
        return folder

    def keep(source: Path, place: Path) -> None:
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(source, place)
        sync_tree(place)

    for label, size in SIZES.items():
        folder = make(remote.stage / "trials/0/1/checkpoints/000001", size)
        name = remote.key(folder)
        show(
            f"keep a checkpoint of {label}",
            median_ms(lambda _, f=folder: keep(f, disk / "kept"), seconds),
            median_ms(lambda _, f=folder: remote.put_checkpoint(f), seconds),
            requests(store, lambda f=folder: remote.put_checkpoint(f)),
        )
        show(
            f"go on from a checkpoint of {label}",
            median_ms(lambda _, f=folder: keep(f, back), seconds),
            median_ms(lambda _, n=name: remote.get_checkpoint(n, back), seconds),
            requests(store, lambda n=name: remote.get_checkpoint(n, back)),
        )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="for each number")
    seconds = parser.parse_args().seconds
    module, port = _object_store(), _port()
    os.environ.update(module.environment(port))
    from cluster.bucket import Bucket

    with module.object_store(port) as store, tempfile.TemporaryDirectory() as folder:
        place = Bucket.parse(store.make_bucket("bench"))
        print("| | local ms | bucket ms | ratio | requests |\n|---|---|---|---|---|")
        journal_rows(store, place / "journal", Path(folder), seconds)
        checkpoint_rows(store, place / "sweep", Path(folder), seconds)
        load = os.getloadavg()[0]
        print(json.dumps({"load": round(load, 1), "cpus": os.cpu_count()}))


if __name__ == "__main__":
    main()
