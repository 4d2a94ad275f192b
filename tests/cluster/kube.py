"""A Kubernetes cluster that is a folder, with the fake `kubectl` on the PATH."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

_RIGHTS = [["create", "rayjobs.ray.io"], ["get", "rayjobs.ray.io"], ["delete", "rayjobs.ray.io"]]


@dataclass(frozen=True)
class FakeKube:
    """What the fake kubectl sees."""

    root: Path

    @property
    def calls(self) -> list[list[str]]:
        """Every command line that kubectl was given."""
        file = self.root / "calls.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()]

    def fault(self, **faults: Any) -> None:
        """Let commands fail from now on, by their first word; `_` stands for a space."""
        named = {name.replace("_", " "): fault for name, fault in faults.items()}
        (self.root / "faults.json").write_text(json.dumps(named))

    def add(self, kind: str, name: str, **thing: Any) -> None:
        """Put an object into the namespace."""
        (self.root / kind).mkdir(exist_ok=True)
        (self.root / kind / f"{name}.json").write_text(
            json.dumps({"metadata": {"name": name}, **thing})
        )

    def allow(self, *rights: list[str]) -> None:
        """What the user may do; all that is needed unless this is said."""
        (self.root / "allowed.json").write_text(json.dumps(list(rights)))

    def job(self, name: str) -> dict[str, Any]:
        """A RayJob as it was sent."""
        return dict(json.loads((self.root / "jobs" / name / "job.json").read_text()))

    def end(self) -> None:
        """Kill the drivers that still run."""
        for file in self.root.glob("*/*/pid"):
            with contextlib.suppress(psutil.NoSuchProcess, ValueError):
                process = psutil.Process(int(file.read_text()))
                if process.environ().get("FAKE_KUBE") == str(self.root):
                    for each in [*process.children(recursive=True), process]:
                        each.kill()


@contextlib.contextmanager
def fake_kube(root: Path) -> Iterator[FakeKube]:
    """A cluster with KubeRay and a namespace `lab`; the PATH of this process leads to it."""
    root.mkdir(parents=True, exist_ok=True)
    binaries = root / "bin"
    binaries.mkdir()
    kubectl = binaries / "kubectl"
    fake = Path(__file__).with_name("fake_kubectl.py")
    kubectl.write_text(f'#!/bin/sh\nexec {sys.executable} -S {fake} "$@"\n')
    kubectl.chmod(0o755)
    kube = FakeKube(root)
    kube.add("namespace", "lab")
    kube.allow(*_RIGHTS, ["create", "pods", "--subresource=exec"])
    (root / "api-resources.txt").write_text("rayclusters.ray.io\nrayjobs.ray.io\n")
    before = {name: os.environ.get(name) for name in ("PATH", "FAKE_KUBE")}
    os.environ |= {"PATH": f"{binaries}:{os.environ['PATH']}", "FAKE_KUBE": str(root)}
    try:
        yield kube
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        kube.end()
