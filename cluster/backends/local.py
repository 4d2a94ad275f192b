"""This machine, in the foreground: the default, with nothing to start."""

from __future__ import annotations

import contextlib
import sys
from typing import Any, ClassVar

from cluster.backends.process import Job, ProcessBackend


class LocalBackend(ProcessBackend):
    """As a process, but on the terminal where there is one; whoever submits waits for its end."""

    scheme: ClassVar[str] = "local"

    def output(self, job: Job) -> contextlib.AbstractContextManager[Any]:
        """The terminal, or else the log."""
        if sys.stdout.isatty() and sys.stderr.isatty():
            return contextlib.nullcontext()
        return super().output(job)
