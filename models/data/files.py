"""Finding the file of a data set."""

from __future__ import annotations

from pathlib import Path


def find_file(path: str) -> Path:
    """The file at `data.path`; `~` is the home folder.

    Raises:
        FileNotFoundError: There is no such file; the message names the key.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        what = "is a folder, not a file" if file.is_dir() else "does not exist"
        raise FileNotFoundError(f"data.path is {path!r}, which {what} (looked in {Path.cwd()})")
    return file


def version(file: Path) -> tuple[str, int, int]:
    """What changes when a file does."""
    status = file.stat()
    return str(file.resolve()), status.st_mtime_ns, status.st_size
