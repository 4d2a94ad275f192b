"""Telling storage that takes nothing more from a bug, and saying so."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from sweeps.errors import SweepError

STORAGE: Final = "storage"
"""The cause of a trial's failure that no trial is to blame for."""

_FULL_OR_READ_ONLY = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_GONE = (errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.EHOSTDOWN)
_TEXTS = tuple(os.strerror(number) for number in _FULL_OR_READ_ONLY)
_PROBE = bytes(1 << 16)


def is_refusal(error: OSError) -> bool:
    """Whether a file system took nothing: it is full, read-only or gone."""
    return error.errno in (*_FULL_OR_READ_ONLY, *_GONE)


def refusal(path: Path, error: object) -> SweepError:
    """What to tell a user of storage that took nothing; `error` says why."""
    said = error.strerror if isinstance(error, OSError) and error.strerror else error
    return SweepError(
        f"{path} cannot be written: {said} ({_free(path)}). Nothing is lost: when it can be "
        f"written again, run the sweep again, or caviar resume it"
    )


def cannot_be_written(folder: Path, error: BaseException) -> bool:
    """Whether a task raised because the folder's file system takes nothing more.

    What a library raises need not be an `OSError` (torch's is none), so the folder is tried too.
    """
    return any(_says_so(link, folder) for link in _chain(error)) or not _takes(folder)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen = set[int]()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _says_so(error: BaseException, folder: Path) -> bool:
    if isinstance(error, shutil.Error):  # of many files
        return any(text in str(error) for text in _TEXTS)
    if not isinstance(error, OSError) or error.errno not in _FULL_OR_READ_ONLY:
        return False
    named = error.filename2 or error.filename
    return named is None or _device(Path(os.fsdecode(named))) == _device(folder)


def _device(path: Path) -> int:
    there = next(each for each in (path, *path.absolute().parents) if each.exists())
    return there.stat().st_dev


def _takes(folder: Path) -> bool:
    """Whether the folder takes a small file; one that is not there is no sign."""
    if not folder.is_dir():
        return True
    probe = folder / f".probe-{os.getpid()}"
    try:
        with probe.open("wb") as file:
            file.write(_PROBE)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error.errno not in _FULL_OR_READ_ONLY
    finally:
        _remove(probe)
    return True


def _remove(probe: Path) -> None:
    try:
        probe.unlink(missing_ok=True)
    except OSError as error:
        if not is_refusal(error):
            raise


def _free(path: Path) -> str:
    there = next(each for each in (path, *path.absolute().parents) if each.exists())
    try:
        free = shutil.disk_usage(there).free
    except OSError as error:
        return f"its free space cannot be read: {error.strerror}"
    return f"{free} bytes free there"
