"""A fingerprint of data: the same bytes give the same one, other bytes another.

    sha256:<hash>            of text or bytes that the app gives, or of a file's bytes
    tree:<hash>              of a folder: each file's relative path and sha256, in order
    sampled:<hash>           of what is larger than `WHOLE_BYTES`

What is larger is not read whole, since a trial must not wait for it: of each file that is so large
count its size and `SAMPLES` blocks of `BLOCK_BYTES`, spread evenly from its first to its last byte.
A change that leaves the size and falls between two blocks is not seen.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

WHOLE_BYTES = 256 << 20
"""Up to so many bytes of a file or a folder are read whole: a second or two."""
BLOCK_BYTES = 1 << 20
SAMPLES = 64
_MOST_FILES = 10_000
"""Of a folder with more, the names and sizes of all count, and the bytes of none."""


def fingerprint(of: str | bytes | os.PathLike[str]) -> str:
    """The fingerprint of a file or a folder, or of bytes; text is taken as one that is given.

    Raises:
        OSError: A path cannot be read.
    """
    if isinstance(of, bytes):
        return f"sha256:{hashlib.sha256(of).hexdigest()}"
    if isinstance(of, str):
        return of
    path = Path(of)
    return _of_folder(path) if path.is_dir() else _of_file(path)


def _of_file(path: Path) -> str:
    stat = path.stat()
    return _read(path.resolve(), stat.st_size, stat.st_mtime_ns)


@functools.lru_cache(maxsize=1024)
def _read(path: Path, size: int, changed: int) -> str:
    """A file's fingerprint, computed once in a process for as long as it is not written to."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        if size <= WHOLE_BYTES:
            while block := file.read(BLOCK_BYTES):
                digest.update(block)
            return f"sha256:{digest.hexdigest()}"
        digest.update(str(size).encode())
        for i in range(SAMPLES):
            file.seek(i * (size - BLOCK_BYTES) // (SAMPLES - 1))
            digest.update(file.read(BLOCK_BYTES))
    return f"sampled:{digest.hexdigest()}"


def _of_folder(folder: Path) -> str:
    files = list(_files(folder))
    sizes = {path: path.stat().st_size for path in files}
    whole = sum(sizes.values()) <= WHOLE_BYTES and len(files) <= _MOST_FILES
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.relative_to(folder).as_posix()}\0{sizes[path]}\0".encode())
        if whole:
            digest.update(f"{_of_file(path)}\n".encode())
        elif len(files) <= SAMPLES:
            digest.update(f"{_sampled(path, sizes[path])}\n".encode())
    return f"{'tree' if whole else 'sampled'}:{digest.hexdigest()}"


def _sampled(path: Path, size: int) -> str:
    """The first and the last block of one of a large folder's files."""
    with path.open("rb") as file:
        first = file.read(BLOCK_BYTES)
        file.seek(max(0, size - BLOCK_BYTES))
        return hashlib.sha256(first + file.read(BLOCK_BYTES)).hexdigest()


def _files(folder: Path) -> Iterator[Path]:
    """All files below a folder, in an order that does not depend on the file system."""
    for root, folders, names in os.walk(folder):
        folders.sort()
        yield from (Path(root) / name for name in sorted(names))
