"""A submission's folder, on a file system that all nodes share. This module alone knows its names.

```
<folder>/<key>/        mode 0700; the key is the driver job's name in Slurm
  submission.json      what is to run, for the driver and the workers
  driver.sh worker.sh  the scripts
  token                of this submission's Ray clusters, mode 0600
  head.json            the head that workers join, while there is one
  state.json           how it stands, for `status` where Slurm has forgotten the job
  driver.log           what the driver printed, over all its jobs
  head.log             what Ray's heads printed
  worker-<job>.log     what a worker printed
  ray-<job>-<host>.log what its Ray printed
  code/                the project, where it does not lie on a shared path
<folder>/jobs/<place>.<job>  -> ../<key>
```
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cluster.files import private_folder, write_private


@dataclass(frozen=True, kw_only=True)
class Spec:
    """What is to run."""

    name: str
    """The sweep's."""
    mode: str
    arguments: tuple[str, ...]
    """Behind `python -m sweeps.cli`."""
    cwd: str
    """The project's root on the nodes."""
    import_paths: tuple[str, ...]
    """Absolute."""
    env: Mapping[str, str]
    least: int
    """Of the workers; in an allocation all of them."""
    most: int
    signal_delay_s: int
    cpus: int | None = None
    """Of a node that trains; what Slurm gave the job there without."""
    cluster: str | None = None


@dataclass(frozen=True, kw_only=True)
class Noted:
    """How a submission stands, as its driver says."""

    restarts: int
    """How often Slurm had requeued the driver's job when it began."""
    over: bool = False
    exit_code: int | None = None
    """Of the command, once it has ended."""
    message: str = ""
    nodes: tuple[str, ...] = ()
    heads_lost: int = 0
    """How many Ray heads died under it."""


@dataclass(frozen=True)
class JobFolder:
    """The paths of one submission."""

    path: Path

    @property
    def key(self) -> str:
        """The driver job's name in Slurm; no other submission has it."""
        return self.path.name

    @property
    def workers(self) -> str:
        """The worker jobs' name in Slurm."""
        return f"{self.key}-w"

    @property
    def driver_script(self) -> Path:
        """The driver's job."""
        return self.path / "driver.sh"

    @property
    def worker_script(self) -> Path:
        """A worker's job, or its step in an allocation."""
        return self.path / "worker.sh"

    @property
    def token(self) -> Path:
        """Of its Ray clusters."""
        return self.path / "token"

    @property
    def log(self) -> Path:
        """What the driver printed."""
        return self.path / "driver.log"

    @property
    def code(self) -> Path:
        """The project's copy."""
        return self.path / "code"

    def worker_log(self, job: str) -> Path:
        """What a worker printed; Slurm writes `%j` as the job's number."""
        return self.path / f"worker-{job}.log"

    @property
    def head_log(self) -> Path:
        """What Ray's heads printed."""
        return self.path / "head.log"

    def ray_log(self, job: str, host: str) -> Path:
        """What a worker's Ray printed."""
        return self.path / f"ray-{job}-{host}.log"

    # What the jobs tell each other

    def write_spec(self, spec: Spec) -> None:
        """Keep what is to run."""
        write_private(self._spec, json.dumps(asdict(spec), indent=1))

    def read_spec(self) -> Spec:
        """What is to run."""
        told = json.loads(self._spec.read_text(encoding="utf-8"))
        tuples = {name: tuple(told[name]) for name in ("arguments", "import_paths")}
        return Spec(**{**told, **tuples})

    def write_head(self, address: str | None) -> None:
        """Say where the head is, or that there is none."""
        if address is None:
            self._head.unlink(missing_ok=True)
        else:
            write_private(self._head, json.dumps({"address": address}))

    def read_head(self) -> str | None:
        """Where the head is; None where there is none."""
        told = _read(self._head)
        return None if told is None else str(told["address"])

    def note(self, noted: Noted) -> None:
        """Keep how it stands."""
        write_private(self._state, json.dumps(asdict(noted)))

    def noted(self) -> Noted | None:
        """How it stands, as the driver last said."""
        told = _read(self._state)
        return None if told is None else Noted(**{**told, "nodes": tuple(told["nodes"])})

    @property
    def _spec(self) -> Path:
        return self.path / "submission.json"

    @property
    def _head(self) -> Path:
        return self.path / "head.json"

    @property
    def _state(self) -> Path:
        return self.path / "state.json"


@dataclass(frozen=True)
class Folders:
    """All submissions of a profile's `folder`."""

    path: Path

    def new(self, key: str) -> JobFolder:
        """Make a submission's."""
        return JobFolder(private_folder(self.path / key))

    def link(self, job: JobFolder, place: str, number: str) -> None:
        """Let a job's number lead to its submission."""
        link = self._link(place, number)
        private_folder(link.parent)
        link.unlink(missing_ok=True)  # Slurm counts anew where it was set up anew
        link.symlink_to(Path(os.pardir) / job.key)

    def find(self, place: str, number: str) -> JobFolder | None:
        """The submission of a job; None where it is not among these."""
        with suppress(OSError):
            return JobFolder(self._link(place, number).resolve(strict=True))
        return None

    def _link(self, place: str, number: str) -> Path:
        return self.path / "jobs" / f"{place}.{number}"


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
