"""A checkpoint of one trial as the beginning of another's."""

from __future__ import annotations

import shutil

from sweeps.checkpoints import link
from sweeps.durable import sync, sync_tree
from sweeps.errors import SweepError
from sweeps.folder import SweepFolder
from sweeps.segment import Adopt, Segment


def adopting(folder: SweepFolder) -> Adopt:
    """Copies another trial's checkpoint into the job folder of the segment that goes on from it.

    On one file system its files are linked, so that it takes no time and no room. The driver does
    it between two reports, while it alone decides what becomes the other's newest checkpoint: that
    one is not deleted meanwhile.
    """

    def adopt(checkpoint: str, segment: Segment) -> str:
        source = folder.path / checkpoint
        job = folder.job(segment.trial, segment.run, exploits=segment.exploits, life=segment.life)
        place = job / "checkpoints" / source.name
        partial = place.with_name(f".{place.name}.partial")
        try:
            shutil.rmtree(partial, ignore_errors=True)
            shutil.rmtree(place, ignore_errors=True)  # of a driver that died before it was noted
            shutil.copytree(source, partial, copy_function=link)
            sync_tree(partial)
            partial.rename(place)
            sync(place.parent)
        except OSError as error:
            raise SweepError(
                f"trial {segment.trial} cannot go on from {source}: {error}"
            ) from error
        return folder.relative(place)

    return adopt
