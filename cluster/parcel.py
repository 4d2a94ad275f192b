"""A package on its way to Ray: to the head, or to the storage where it is too large for that."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from secrets import token_hex

from cluster.errors import ClusterError
from cluster.project import Package

MOST_BYTES = 100 << 20
"""What a head takes; more it answers with HTTP 413."""

WARN_BYTES = 90 << 20

_FOLDER = ".packages"
"""In the storage; its name says that nothing in it is a sweep."""


def send(
    package: Package, *, scratch: Path, upload: Callable[[str, bytes], str], storage: str
) -> str:
    """Put a package where every node can fetch it; the URI, for Ray's `working_dir`.

    The name holds the content's hash: what is there already is not sent again, and a node never
    takes another's for it.

    Args:
        package: The project.
        scratch: A folder for the zip.
        upload: Puts bytes of that name on the head; answers with the URI.
        storage: Where the sweeps are kept: a folder that all nodes share, or a URL.

    Raises:
        ClusterError: It cannot be packed or written.
    """
    zipped = scratch / "package.zip"
    digest = package.zip(zipped)
    if zipped.stat().st_size < MOST_BYTES:
        return upload(f"_ray_pkg_{digest[:40]}.zip", zipped.read_bytes())
    digest = package.zip(zipped, folder="project")
    name = f"{digest[:40]}.zip"
    return _to_url(zipped, name, storage) if "://" in storage else _to_folder(zipped, name, storage)


def _to_folder(zipped: Path, name: str, storage: str) -> str:
    folder = Path(storage) / _FOLDER
    target, partial = folder / name, folder / f".{name}.{token_hex(4)}"
    try:
        folder.mkdir(exist_ok=True)  # the storage itself, made here, would be no shared one
        if not target.exists():
            shutil.copyfile(zipped, partial)
            partial.replace(target)
    except OSError as error:
        raise ClusterError(
            f"the project's package is over {MOST_BYTES >> 20} MiB and goes to the storage, and "
            f"{folder} cannot be written from here: {error.strerror}; mount the storage at the "
            "same path here, or leave out more with code.excludes"
        ) from error
    return target.as_uri()


def _to_url(zipped: Path, name: str, storage: str) -> str:
    from pyarrow import fs

    target = f"{storage.rstrip('/')}/{_FOLDER}/{name}"
    try:
        there, path = fs.FileSystem.from_uri(target)
        if there.get_file_info(path).type == fs.FileType.NotFound:
            there.create_dir(path.rpartition("/")[0], recursive=True)
            fs.copy_files(str(zipped), path, destination_filesystem=there)
    except (OSError, ValueError) as error:
        raise ClusterError(
            f"the project's package is over {MOST_BYTES >> 20} MiB and goes to the storage, and "
            f"{target} cannot be written from here: {str(error).splitlines()[0]}"
        ) from error
    return target
