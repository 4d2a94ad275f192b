"""The project's code as a zip on the storage, from where Ray fetches it on every node."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster.backend import Code
from cluster.errors import ClusterError, ConfigError
from cluster.project import Package

_FOLDER = ".code"


def package_url(code: Code, storage: str) -> str:
    """Where `deliver` would put it; sends nothing.

    Raises:
        ConfigError: The storage cannot be written from here.
    """
    _check(storage)
    with _packed(code) as (_, digest):
        return _url(storage, digest)


def deliver(code: Code, storage: str) -> str:
    """Put the code on the storage, named after what it holds; its URL for a `working_dir`.

    Raises:
        ConfigError: The storage cannot be written from here.
        ClusterError: It could not be written.
    """
    _check(storage)
    with _packed(code) as (file, digest):
        url = _url(storage, digest)
        try:
            _put(file, storage, url)
        except OSError as error:
            raise ClusterError(
                f"the code could not be put on {storage}: {error}; is it writable from here?"
            ) from error
    return url


def _check(storage: str) -> None:
    if "://" in storage or Path(storage).is_dir():
        return
    raise ConfigError(
        f"storage is {storage!r}, which is not mounted here, so the code cannot be put there; set "
        "code.travels to image (and code.path) or to shared, or use a bucket such as "
        "s3://bucket/sweeps"
    )


@contextmanager
def _packed(code: Code) -> Iterator[tuple[Path, str]]:
    with tempfile.TemporaryDirectory(prefix="caviar-") as folder:
        file = Path(folder) / "code.zip"
        yield file, Package.of(code).zip(file, folder="project")


def _url(storage: str, digest: str) -> str:
    name = f"{_FOLDER}/{digest[:20]}.zip"
    return f"{storage.rstrip('/')}/{name}" if "://" in storage else (Path(storage) / name).as_uri()


def _put(file: Path, storage: str, url: str) -> None:
    """Write it whole, unless it is there: its name says what it holds."""
    if "://" in storage:
        _upload(file, url)
        return
    place = Path(storage, _FOLDER, url.rpartition("/")[2])
    if place.exists():
        return
    place.parent.mkdir(exist_ok=True)
    with (
        tempfile.NamedTemporaryFile(dir=place.parent, delete=False) as part,
        file.open("rb") as own,
    ):
        shutil.copyfileobj(own, part)
        os.fchmod(part.fileno(), 0o644)  # pods read it, perhaps as another user
    Path(part.name).rename(place)


def _upload(file: Path, url: str) -> None:
    from pyarrow.fs import FileSystem, FileType

    where, path = FileSystem.from_uri(url)
    if where.get_file_info(path).type == FileType.NotFound:
        with file.open("rb") as source, where.open_output_stream(path) as sink:
            shutil.copyfileobj(source, sink)
