"""Where this process's copy of the project is, when Ray sent it along to every node."""

from __future__ import annotations

import os
from pathlib import Path

_WORKING_DIRS = "working_dir_files"
"""The folder of a node's Ray session that holds the copies, one a package."""


def own_copy() -> Path | None:
    """This node's copy of the job's `working_dir`; None where no code was sent.

    Ray puts it first on the PYTHONPATH of a job's driver and workers.
    """
    for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep):
        path = Path(entry)
        if path.parent.name == _WORKING_DIRS:
            return path
    return None
