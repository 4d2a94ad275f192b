"""Checkpoints on disk: which one of a trial is left, how one goes, and how one is held on to."""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sweeps.journal.trials import Trial

log = logging.getLogger(__name__)


There = Callable[[str], bool]
"""Whether a checkpoint is there, by the name that the journal gives it; see `SweepFolder`."""


def best_left(there: There, trial: Trial) -> str | None:
    """The checkpoint of the trial's best report while it is there, else its newest, else None."""
    return _first_there(there, trial.best_checkpoint, trial.checkpoint)


def newest_left(there: There, trial: Trial) -> str | None:
    """The trial's newest checkpoint while it is there, else that of its best report, else None."""
    return _first_there(there, trial.checkpoint, trial.best_checkpoint)


def _first_there(there: There, *names: str | None) -> str | None:
    return next((name for name in names if name is not None and there(name)), None)


_OURS = re.compile(r"\.?\d{6,}(\.(partial|deleted|old))*")


def is_ours(name: str) -> bool:
    """Whether what lies where checkpoints do is one, whole or not, and not a file of the app's.

    Many apps keep theirs in `${hydra:runtime.output_dir}/checkpoints` as well.
    """
    return _OURS.fullmatch(name) is not None


def delete(checkpoint: Path) -> None:
    """Delete a checkpoint: a reader finds it whole or not at all, also after a crash midway.

    Another process may delete it at the same time. What the file system does not let go is told in
    the log: no training ends for it.
    """
    try:
        if not checkpoint.name.startswith("."):
            hidden = checkpoint.with_name(f".{checkpoint.name}.deleted")
            _remove(hidden)
            checkpoint = checkpoint.rename(hidden)
        _remove(checkpoint)
    except FileNotFoundError:
        return  # another was faster
    except OSError as error:
        log.warning("%s cannot be deleted: %s", checkpoint, error)


def _remove(folder: Path) -> None:
    with suppress(FileNotFoundError):
        shutil.rmtree(folder)


@contextmanager
def held(checkpoint: Path, folder: Path) -> Iterator[Path]:
    """A checkpoint that stays whole within the context, whoever deletes the original meanwhile.

    Args:
        checkpoint: The original.
        folder: A folder to make and to delete; on the same file system nothing is copied into it.

    Raises:
        FileNotFoundError: It went before it could be held.
    """
    place = folder / checkpoint.name
    shutil.rmtree(folder, ignore_errors=True)
    try:
        shutil.copytree(checkpoint, place, copy_function=link)
        yield place
    except shutil.Error as error:
        if checkpoint.exists():
            raise
        raise FileNotFoundError(f"{checkpoint} was deleted while it was read") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def link(source: str, target: str) -> str:
    """Put a file in a second place: at no cost on one file system, as a copy elsewhere."""
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:  # another file system, or one without links
        shutil.copy2(source, target)
    return target
