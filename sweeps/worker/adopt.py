"""A checkpoint of one trial as the beginning of another's."""

from __future__ import annotations

import shutil
from pathlib import Path

from cluster.bucket import BucketError
from sweeps.core.segment import Adopt, Segment
from sweeps.errors import SweepError
from sweeps.storage.checkpoints import link
from sweeps.storage.durable import sync, sync_tree
from sweeps.storage.folder import SweepFolder


def adopting(folder: SweepFolder) -> Adopt:
    """Copies another trial's checkpoint into the job folder of the segment that goes on from it.

    On one file system its files are linked, so that it takes no time and no room; a bucket copies
    them by itself. The driver does it between two reports, while it alone decides what becomes the
    other's newest checkpoint: that one is not deleted meanwhile.
    """

    def adopt(checkpoint: str, segment: Segment) -> str:
        source = folder.path / checkpoint
        job = folder.job(segment.trial, segment.run, exploits=segment.exploits, life=segment.life)
        place = job / "checkpoints" / source.name
        try:
            if folder.remote is None:
                _link(source, place)
            else:
                folder.remote.copy_checkpoint(checkpoint, folder.relative(place))
        except (OSError, BucketError) as error:
            raise SweepError(
                f"trial {segment.trial} cannot go on from {folder.shown(source)}: {error}"
            ) from error
        return folder.relative(place)

    return adopt


def _link(source: Path, place: Path) -> None:
    """Give a checkpoint a second place on the disk, whole and durable."""
    partial = place.with_name(f".{place.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(place, ignore_errors=True)  # of a driver that died before it was noted
    shutil.copytree(source, partial, copy_function=link)
    sync_tree(partial)
    partial.rename(place)
    sync(place.parent)
