"""A sweep in a bucket: what of it is on this machine, and how files come and go.

The bucket alone holds the truth. A process stages what it works on in a folder of its own (see
`sweeps.storage.scratch`), which mirrors the sweep's, so that all code goes on reading and writing
paths.

    trials/3/1/...                   a job folder, as on a disk, without its checkpoints
    checkpoints/3/1/000009/ID/...    the files of a checkpoint
    checkpoints/3/1/000009.json      its manifest, written last: without one there is no checkpoint
"""

from __future__ import annotations

import json
import os
import re
import shutil
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.bucket import Bucket

_CHECKPOINTS = "checkpoints"
_KEY = re.compile(
    rf"{_CHECKPOINTS}/(?P<job>\d+/[\d.-]+(?:/rung-\d+)?)/(?P<step>\d+)(?P<rest>\.json$|/)"
)


@dataclass(frozen=True)
class Remote:
    """A sweep's place in a bucket, and the folder in which this process stages it."""

    place: Bucket
    stage: Path

    # Files

    def key(self, path: Path) -> str:
        """What a staged path is called in the bucket."""
        return path.relative_to(self.stage).as_posix()

    def push(self, *paths: Path) -> None:
        """Upload staged files; each takes the place of an older one whole."""
        self.place.upload({self.key(path): path for path in paths})

    def pull(self, path: Path) -> bool:
        """Download a file; whether it is there. What was staged under its name is gone if not."""
        path.unlink(missing_ok=True)
        try:
            self.place.download({self.key(path): path})
        except FileNotFoundError:
            path.unlink(missing_ok=True)
            return False
        return True

    def push_folder(self, folder: Path, *, last: str) -> None:
        """Upload a folder in the place of an older one; a reader takes it whole by its last file.

        Args:
            folder: Staged.
            last: The name of the file that says that the folder is whole.
        """
        key = self.key(folder)
        self.place.delete(f"{key}/{last}")
        self.place.delete_below(key)
        files = {path for path in folder.rglob("*") if path.is_file()}
        self.push(*files - {folder / last})
        self.push(folder / last)

    def pull_folder(self, folder: Path) -> None:
        """Download all that is below a folder."""
        keys = self.place.sizes(self.key(folder))
        self.place.download({key: self.stage / key for key in keys})

    # Checkpoints, by the name that the journal gives them: trials/3/1/checkpoints/000009

    def checkpoints(self, trial: int | None = None) -> set[str]:
        """The names of those that are there whole, of a trial or of all."""
        below = _CHECKPOINTS if trial is None else f"{_CHECKPOINTS}/{trial}"
        return _names(self.place.sizes(below), whole=True)

    def has_checkpoint(self, name: str) -> bool:
        """Whether it is there whole."""
        return self.place.has(_manifest(name))

    def put_checkpoint(self, folder: Path) -> None:
        """Upload a checkpoint; it is there, whole and durable, when this returns, and not before.

        Each upload has a place of its own. So an older one of the same name is there until this
        one is, and another process that writes that name too never mixes with it.
        """
        name, upload = self.key(folder), uuid.uuid4().hex[:12]
        files = {path.relative_to(folder).as_posix(): path for path in _files(folder)}
        place = f"{_data(name)}/{upload}"
        self.place.upload({f"{place}/{file}": path for file, path in files.items()})
        manifest = {
            "upload": upload,
            "files": {file: path.stat().st_size for file, path in files.items()},
            "folders": sorted(_folders(folder)),
        }
        self.place.put(_manifest(name), json.dumps(manifest).encode())

    def get_checkpoint(self, name: str, folder: Path) -> Path:
        """Download a checkpoint into a folder.

        Raises:
            FileNotFoundError: It is not there, or not whole, or it went meanwhile.
        """
        manifest = self._manifest(name)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for inner in manifest["folders"]:
            (folder / inner).mkdir(parents=True, exist_ok=True)
        place = f"{_data(name)}/{manifest['upload']}"
        self.place.download({f"{place}/{file}": folder / file for file in manifest["files"]})
        for file, size in manifest["files"].items():
            if (folder / file).stat().st_size != size:
                raise FileNotFoundError(f"{self.place / place}/{file} is not whole")
        return folder

    def copy_checkpoint(self, source: str, target: str) -> None:
        """Give a checkpoint a second name, with data of its own; as `put_checkpoint`.

        Raises:
            FileNotFoundError: The source is not there.
        """
        manifest, upload = self._manifest(source), uuid.uuid4().hex[:12]
        here, there = f"{_data(source)}/{manifest['upload']}", f"{_data(target)}/{upload}"
        self.place.copy({f"{here}/{file}": f"{there}/{file}" for file in manifest["files"]})
        self.place.put(_manifest(target), json.dumps({**manifest, "upload": upload}).encode())

    def delete_checkpoints(self, names: Iterable[str]) -> None:
        """Delete checkpoints, manifests first: a reader finds one whole or not at all."""
        gone = sorted(names)
        for name in gone:
            self.place.delete(_manifest(name))
        for name in gone:
            self.place.delete_below(_data(name))

    def delete_all_but(self, needed: set[str]) -> None:
        """Delete all other checkpoints, half uploaded ones too; nobody may be writing."""
        there = _names(self.place.sizes(_CHECKPOINTS), whole=False)
        self.delete_checkpoints(there - needed)

    def _manifest(self, name: str) -> dict[str, Any]:
        try:
            manifest: dict[str, Any] = self.place.get_json(_manifest(name))
        except ValueError:
            raise FileNotFoundError(f"{self.place / _manifest(name)} cannot be read") from None
        return manifest


def _data(name: str) -> str:
    """Where a checkpoint's files lie: trials/3/1/checkpoints/000009 -> checkpoints/3/1/000009."""
    job, step = name.removeprefix("trials/").split("/checkpoints/")
    return f"{_CHECKPOINTS}/{job}/{step}"


def _manifest(name: str) -> str:
    return f"{_data(name)}.json"


def _names(keys: Iterable[str], *, whole: bool) -> set[str]:
    """The checkpoints that objects belong to; those that are whole, or all."""
    found = (_KEY.match(key) for key in keys)
    return {
        f"trials/{match['job']}/checkpoints/{match['step']}"
        for match in found
        if match is not None and (match["rest"] == ".json" or not whole)
    }


def _files(folder: Path) -> Iterable[Path]:
    return (Path(root) / name for root, _, names in _walk(folder) for name in names)


def _folders(folder: Path) -> Iterable[str]:
    return (
        (Path(root) / name).relative_to(folder).as_posix()
        for root, names, _ in _walk(folder)
        for name in names
    )


def _walk(folder: Path) -> Iterable[tuple[str, list[str], list[str]]]:
    return os.walk(folder, followlinks=True)
