"""`ray up` and `ray dashboard` of a cluster whose machines are up already.

`$FAKE_RAY` is a folder: `target` there holds the port that stands for the head's dashboard, `calls`
what was asked, and `fails` what goes wrong, a command's first word.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

ROOT = Path(os.environ["FAKE_RAY"])


def main(arguments: list[str]) -> int:
    with (ROOT / "calls").open("a") as calls:
        calls.write(" ".join(arguments) + "\n")
    verb = arguments[0]
    fault = (ROOT / verb).read_text() if (ROOT / verb).exists() else ""
    if fault == "hang":
        time.sleep(600)
    if fault:
        sys.stderr.write(f"Some log line\n{fault}\n")
        return 1
    if verb == "dashboard":
        asyncio.run(_forward(int(arguments[arguments.index("--port") + 1])))
    print("New status: up-to-date")
    return 0


async def _forward(port: int) -> None:
    """What ssh -L does; ends, as the shell at the far end, with its standard input."""
    target = int((ROOT / "target").read_text())

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", target)
        await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))

    async with await asyncio.start_server(connect, "127.0.0.1", port):
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while piece := await source.read(1 << 16):
        sink.write(piece)
        await sink.drain()
    sink.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
