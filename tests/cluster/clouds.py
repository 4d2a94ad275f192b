"""Clusters of `ray up` whose `ray` is a fake: its tunnel leads to a port of this machine."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock


@dataclass(frozen=True)
class FakeCloud:
    """What the fake ray sees."""

    root: Path

    @property
    def calls(self) -> list[str]:
        """Every command line of `ray`."""
        file = self.root / "calls"
        return file.read_text().splitlines() if file.exists() else []

    def fault(self, verb: str, what: str) -> None:
        """Let a command fail with that last line, or hang."""
        (self.root / verb).write_text(what)


@contextlib.contextmanager
def fake_cloud(root: Path, dashboard_port: int) -> Iterator[FakeCloud]:
    """The state of the user is in there too."""
    root.mkdir(parents=True, exist_ok=True)
    ray = root / "ray.sh"
    fake = Path(__file__).with_name("fake_ray.py")
    ray.write_text(f'#!/bin/sh\nexec {sys.executable} -S {fake} "$@"\n')
    ray.chmod(0o755)
    (root / "target").write_text(str(dashboard_port))
    environment = {"FAKE_RAY": str(root), "XDG_STATE_HOME": str(root / "state")}
    with (
        mock.patch.dict(os.environ, environment),
        mock.patch("cluster.backends.ray_up._ray", return_value=str(ray)),
    ):
        yield FakeCloud(root)
