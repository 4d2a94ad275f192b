"""A folder of this process alone, for what is on its way to or from an object store."""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import IO

_PREFIX = "caviar-stage-"
_LOCK = ".lock"


@cache
def scratch() -> Path:
    """This process's folder, new and private, under `TMPDIR`; it goes when the process ends.

    Those of processes that were killed go now. A lock says which these are: unlike a process's
    number it holds between containers that share the folder above.
    """
    base = Path(tempfile.gettempdir()).resolve()
    for other in base.glob(f"{_PREFIX}*"):
        _remove_if_left(other)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))
    lock = (folder / _LOCK).open("wb")
    fcntl.flock(lock, fcntl.LOCK_EX)
    atexit.register(_remove, folder, lock, os.getpid())
    return folder


def _remove_if_left(folder: Path) -> None:
    try:
        with (folder / _LOCK).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
    except OSError:  # it is in use, or another user's, or gone
        return


def _remove(folder: Path, lock: IO[bytes], pid: int) -> None:
    if os.getpid() == pid:  # not in a child that was forked
        shutil.rmtree(folder, ignore_errors=True)
        lock.close()
