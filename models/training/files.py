"""Folders that appear whole."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path


class CheckpointError(OSError):
    """A checkpoint is missing, damaged or of another kind; go on from another one."""


def write_folder(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Write a folder of files: beside its place, synced, renamed; an older one is replaced.

    Raises:
        OSError: It cannot be written.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    for name, data in files.items():
        _write(partial / name, data)
    _sync(partial)
    _move(partial, folder)
    return folder


def read_file(file: Path) -> bytes:
    """The content of a checkpoint's file.

    Raises:
        CheckpointError: It is missing or cannot be read.
    """
    try:
        return file.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{file} cannot be read: {error.strerror}") from error


def _write(file: Path, data: bytes) -> None:
    with file.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def _move(source: Path, target: Path) -> None:
    """Rename, after moving an older one of the same name out of the way."""
    old = target.with_name(f"{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    source.rename(target)
    _sync(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
