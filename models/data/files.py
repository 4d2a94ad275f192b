"""Finding the files of a data set."""

from __future__ import annotations

from pathlib import Path


def find_file(path: str, *, key: str = "data.path") -> Path:
    """The file at `path`; `~` is the home folder.

    Raises:
        FileNotFoundError: There is no such file; the message names the key.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        what = "is a folder, not a file" if file.is_dir() else "does not exist"
        raise FileNotFoundError(f"{key} is {path!r}, which {what} (looked in {Path.cwd()})")
    return file


def find_files(path: str, pattern: str, *, key: str = "data.path") -> list[Path]:
    """The file at `path`, or every file of a folder that fits the pattern, by name.

    Raises:
        FileNotFoundError: There is none; the message names the key.
    """
    folder = Path(path).expanduser()
    if not folder.is_dir():
        return [find_file(path, key=key)]
    files = sorted(file for file in folder.rglob(pattern) if file.is_file())
    if not files:
        raise FileNotFoundError(f"{key} is {path!r}, a folder without any {pattern}")
    return files


def version(file: Path) -> tuple[str, int, int]:
    """What changes when a file does."""
    status = file.stat()
    return str(file.resolve()), status.st_mtime_ns, status.st_size
