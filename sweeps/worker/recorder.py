"""A worker's notes of what it trains a trial on, beside the trial's job."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sweeps.journal.status import Decision
from sweeps.planning.resources import Resources
from sweeps.provenance.machine import identity, machine
from sweeps.provenance.numerics import numerics
from sweeps.provenance.segments import FORMAT, read_record
from sweeps.session import Send
from sweeps.storage.folder import SweepFolder
from sweeps.usage.measured import Usage


class Recorder:
    """What one process notes of all the segments that it trains."""

    def __init__(self, folder: SweepFolder, resources: Resources) -> None:
        self._folder = folder
        self._resources = resources
        self._kept: set[str] = set()

    def segment(self, job: Path, *, seed: int, data: Mapping[str, str]) -> SegmentRecorder:
        """Of a segment that begins.

        Args:
            job: The trial's job folder, in this process.
            seed: Of its generators.
            data: The session's fingerprints, which the task may add to.
        """
        return SegmentRecorder(self, self._folder.provenance(job), seed=seed, data=data)

    def describe(self, *, seed: int) -> dict[str, Any]:
        """What holds just now; the machine is kept, if this is its first time."""
        here = machine()
        name = identity(here)
        if name not in self._kept:
            self._keep(name, here)
        return {
            "environment": name,
            "host": socket.gethostname(),
            "resources": asdict(self._resources),
            "seed": seed,
            "numerics": numerics(),
        }

    def _keep(self, name: str, here: Mapping[str, Any]) -> None:
        file, text = self._folder.environment(name), json.dumps(here, indent=1) + "\n"
        if (remote := self._folder.remote) is not None:
            remote.place.put(remote.key(file), text.encode())
        elif not file.exists():
            file.parent.mkdir(exist_ok=True)
            _write(file, text)
        self._kept.add(name)


class SegmentRecorder:
    """Of one segment: noted at its first report, when what it computes with is set."""

    def __init__(
        self, recorder: Recorder, file: Path, *, seed: int, data: Mapping[str, str]
    ) -> None:
        self._recorder, self._file, self._seed, self._data = recorder, file, seed, data
        self._noted: dict[str, Any] | None = None

    def before(self, send: Send) -> Send:
        """A `send` that notes before the first report goes to the driver."""

        def noting(
            step: int, metrics: dict[str, float], checkpoint: Path | None, can_wait: bool
        ) -> Decision:
            if self._noted is None:
                self._note(step)
            return send(step, metrics, checkpoint, can_wait)

        return noting

    def end(self, usage: Usage | None = None) -> None:
        """The segment is over; note what was recorded since, or of a task that reported nothing.

        Args:
            usage: What it used; of a job's segments that of the one measured longest is kept.
        """
        if self._noted is None:
            self._note(0)
        elif self._noted["data"] != self._data:
            self._write(self._noted["step"])
        if usage is not None:
            self._keep(usage)

    def _note(self, step: int) -> None:
        self._noted = {"step": step, **self._recorder.describe(seed=self._seed)}
        self._write(step)

    def _write(self, step: int) -> None:
        """Add the segment to its job's, unless the last one was the same."""
        assert self._noted is not None
        self._noted["data"] = dict(self._data)
        record = read_record(self._file)
        before = [each for each in record.get("segments", []) if each["step"] != step]
        if before and _without_step(before[-1]) == _without_step(self._noted):
            return
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._replace({**record, "format": FORMAT, "segments": [*before, self._noted]})

    def _keep(self, usage: Usage) -> None:
        record = read_record(self._file)
        if record.get("usage", {}).get("seconds", 0.0) < usage.seconds:
            self._replace({**record, "usage": asdict(usage)})

    def _replace(self, record: Mapping[str, Any]) -> None:
        _write(self._file, json.dumps(record, indent=1) + "\n")


def _without_step(segment: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in segment.items() if key != "step"}


def _write(file: Path, text: str) -> None:
    """Write a file whole. Not to the disk at once: that takes longer than a short segment."""
    partial = file.with_name(f".{file.name}.{os.getpid()}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(file)
