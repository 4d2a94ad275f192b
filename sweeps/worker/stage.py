"""A segment's files in a worker: on a disk where the driver says, of a bucket on a stage.

What a trial left in a bucket is fetched when a segment of it begins. Checkpoints are uploaded as
they are reported, all else when the segment ends, and then the stage is gone: a machine keeps
nothing of trials that it does not train.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cluster.bucket import BucketError
from sweeps.journal.status import Decision
from sweeps.session import Keeper, OnDisk, Send
from sweeps.storage.checkpoints import is_ours
from sweeps.storage.remote import Remote
from sweeps.storage.scratch import scratch
from sweeps.worker.messages import Job

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Staged:
    """Where a segment finds and leaves its files."""

    folder: Path
    checkpoint: Path | None
    send: Send
    keeper: Keeper = field(default_factory=OnDisk)


@contextmanager
def staged(job: Job, send: Send, remote: Remote | None) -> Iterator[Staged]:
    """The files of a segment that this process is about to train.

    Args:
        job: The segment, with paths as the driver has them.
        send: Hands a report to the driver.
        remote: Where the sweep is in a bucket, and where the driver stages it.

    Raises:
        BucketError: What the segment needs cannot be fetched.
    """
    if remote is None:
        yield Staged(folder=job.folder, checkpoint=job.checkpoint, send=send)
        return
    stage = Path(tempfile.mkdtemp(dir=scratch()))
    try:
        with ThreadPoolExecutor(1, thread_name_prefix="stage") as behind:
            files = _InBucket(Remote(remote.place, stage / "sweep"), remote, job, behind)
            checkpoint = files.fetch(stage / "from")
            try:
                yield Staged(
                    folder=files.folder,
                    checkpoint=checkpoint,
                    send=files.naming(send),
                    keeper=files,
                )
            finally:
                files.leave()
    finally:
        shutil.rmtree(stage, ignore_errors=True)


class _InBucket(Keeper):
    """The files of a segment whose sweep is in a bucket."""

    def __init__(self, here: Remote, there: Remote, job: Job, behind: ThreadPoolExecutor) -> None:
        self._here = here
        """As this process stages it."""
        self._there = there
        """As the driver does."""
        self._job = job
        self._behind = behind
        """Deletes: nobody waits for that."""
        self.folder = here.stage / there.key(job.folder)
        self._pushed: dict[Path, tuple[int, int]] = {}
        self._has_pushed = False
        self._steps = self._steps_before()
        """Whose checkpoints this job folder has in the bucket."""

    def fetch(self, place: Path) -> Path | None:
        """Fetch the job folder, so that logs go on, and what the segment goes on from."""
        self._here.pull_folder(self.folder)
        self._pushed = self._files()
        if self._job.checkpoint is None:
            return None
        name = self._there.key(self._job.checkpoint)
        return self._here.get_checkpoint(name, place / self._job.checkpoint.name)

    def naming(self, send: Send) -> Send:
        """A `send` that names checkpoints as the driver does."""

        def send_named(
            step: int, metrics: dict[str, float], checkpoint: Path | None, can_wait: bool
        ) -> Decision:
            named = checkpoint and self._there.stage / self._here.key(checkpoint)
            return send(step, metrics, named, can_wait)

        return send_named

    def keep(self, checkpoint: Path) -> None:
        """Upload a checkpoint; with the first one, the config of the job that it belongs to."""
        if not self._has_pushed:
            self._push()
        self._here.put_checkpoint(checkpoint)
        self._steps.add(checkpoint.name)

    def drop_others(self, checkpoints: Path, keep: set[str]) -> None:
        """Delete here and, in a thread, in the bucket."""
        OnDisk().drop_others(checkpoints, keep)
        superfluous = self._steps - keep
        self._steps -= superfluous
        names = [self._here.key(checkpoints / step) for step in superfluous]
        self._behind.submit(_telling, self._here.delete_checkpoints, names)

    def leave(self) -> None:
        """Upload what the segment wrote; its result counts also where that fails."""
        _telling(self._push)

    def _push(self) -> None:
        now = self._files()
        self._here.push(*(path for path in now if now[path] != self._pushed.get(path)))
        self._pushed, self._has_pushed = now, True

    def _files(self) -> dict[Path, tuple[int, int]]:
        """The job folder's files but for the sweep's checkpoints, and what tells of a change."""
        found = {}
        for root, folders, names in os.walk(self.folder):
            if Path(root) == self.folder / "checkpoints":
                folders[:] = [name for name in folders if not is_ours(name)]
            for path in (Path(root) / name for name in names):
                if path.is_file():
                    stat = path.stat()
                    found[path] = stat.st_mtime_ns, stat.st_size
        return found

    def _steps_before(self) -> set[str]:
        job = self._job
        steps = set() if job.best_step is None else {f"{job.best_step:06d}"}
        if job.checkpoint is not None and job.checkpoint.is_relative_to(job.folder):
            steps.add(job.checkpoint.name)
        return steps


def _telling(act: Callable[..., None], *arguments: Any) -> None:
    """Carry out what no training ends for; a failure is told in the log."""
    try:
        act(*arguments)
    except (BucketError, OSError) as error:
        log.warning("%s", error)
