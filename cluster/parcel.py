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

_WHEN = "over 100 MiB, or where its cluster is not up yet"
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
    return to_storage(package, scratch=scratch, storage=storage)


def foresee(package: Package, storage: str) -> str:
    """Where `send` would probably put a package, for a preview: it is known once it is packed."""
    if package.size < MOST_BYTES:
        return "(uploaded with the request)"
    return f"{place_on(storage)}/(its hash).zip if it is over 100 MiB packed, else uploaded"


def to_storage(package: Package, *, scratch: Path, storage: str) -> str:
    """Put a package on the storage; the URI, for Ray's `working_dir`.

    Raises:
        ClusterError: It cannot be packed or written.
    """
    zipped = scratch / "package.zip"
    name = f"{package.zip(zipped, folder='project')[:40]}.zip"
    return _to_url(zipped, name, storage) if "://" in storage else _to_folder(zipped, name, storage)


def place_on(storage: str) -> str:
    """Where packages are put on a storage."""
    return f"{storage.rstrip('/')}/{_FOLDER}"


def _to_folder(zipped: Path, name: str, storage: str) -> str:
    folder = Path(place_on(storage))
    target, partial = folder / name, folder / f".{name}.{token_hex(4)}"
    try:
        folder.mkdir(exist_ok=True)  # the storage itself, made here, would be no shared one
        if not target.exists():
            shutil.copyfile(zipped, partial)
            partial.replace(target)
    except OSError as error:
        raise ClusterError(
            f"the project's package goes to the storage ({_WHEN}), and {folder} cannot be written "
            f"from here: {error.strerror}; mount the storage at the same path here, or see "
            "code.travels and code.excludes"
        ) from error
    return target.as_uri()


def _to_url(zipped: Path, name: str, storage: str) -> str:
    from pyarrow import fs

    target = f"{place_on(storage)}/{name}"
    try:
        there, path = fs.FileSystem.from_uri(target)
        if there.get_file_info(path).type == fs.FileType.NotFound:
            there.create_dir(path.rpartition("/")[0], recursive=True)
            fs.copy_files(str(zipped), path, destination_filesystem=there)
    except (OSError, ValueError) as error:
        raise ClusterError(
            f"the project's package goes to the storage ({_WHEN}), and {target} cannot be written "
            f"from here: {str(error).splitlines()[0]}"
        ) from error
    return target
