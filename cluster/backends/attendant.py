"""Runs a job's command and notes its exit code, whoever else is gone by then.

    python -P attendant.py FOLDER READY COMMAND...

It goes on in a child of its own, whose parent ends at once: whoever began it has nothing to wait
for. To the file descriptor READY it writes its process id, or why the command cannot be started; to
FOLDER/exit, once and whole, the exit code. It stands alone, so that it starts in milliseconds.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys

EXIT = "exit"
"""The name of the file with the exit code."""


def main(folder: str, ready: str, *command: str) -> None:
    """Attend to a command until it has ended."""
    if os.fork():
        return
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # heard and not followed, so that this outlives the command, which has the default ones
        signal.signal(number, lambda *_: None)
    with open(int(ready), "w") as told:
        try:
            process = subprocess.Popen(command)  # noqa: S603
        except OSError as error:
            told.write(f"{error.filename}: {error.strerror}")
            return
        told.write(str(os.getpid()))
    code = process.wait()
    partial = os.path.join(folder, f".{EXIT}.partial")
    with open(partial, "w") as file:
        file.write(str(code if code >= 0 else 128 - code))  # as a shell says of a signal
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, os.path.join(folder, EXIT))


if __name__ == "__main__":
    main(*sys.argv[1:])
