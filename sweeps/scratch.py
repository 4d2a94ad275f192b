"""A folder of this process alone, for what is on its way to or from an object store."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path

import psutil

_PREFIX = "caviar-stage-"


@cache
def scratch() -> Path:
    """This process's folder, new and private; it goes when the process ends.

    It is made under `TMPDIR`. What processes left there that were killed goes now.
    """
    base = Path(tempfile.gettempdir()).resolve()
    for left in base.glob(f"{_PREFIX}*"):
        if _is_orphan(left):
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=base))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _is_orphan(folder: Path) -> bool:
    """Whether the process that made it is gone."""
    pid = folder.name.removeprefix(_PREFIX).partition("-")[0]
    try:
        ours = folder.stat().st_uid == os.getuid()
    except OSError:
        return False
    return ours and pid.isdigit() and not psutil.pid_exists(int(pid))
