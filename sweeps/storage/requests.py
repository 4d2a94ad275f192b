"""What others ask of a sweep: files that they put into its folder, and its driver takes away."""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from sweeps.storage.durable import write_whole
from sweeps.storage.folder import SweepFolder

_NAME = re.compile(r"(?P<id>\d{20}-[0-9a-f]{8})\.json")
_LONGEST = 2**16
"""Bytes; no request is longer."""


class Requests:
    """A sweep's requests, each a whole JSON mapping; see `sweeps.journal.events.Requested`.

    Their ids are sorted as they were put, as far as the clocks of those who put them agree.
    """

    def __init__(self, folder: SweepFolder) -> None:
        self._folder = folder
        self._remote = folder.remote

    def put(self, asked: Mapping[str, Any]) -> str:
        """Ask for something; the request's id. It is there whole, and stays until it is taken.

        Raises:
            OSError: The folder cannot be written.
            BucketError: The bucket cannot be.
        """
        request = f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}"
        path, text = self._path(request), json.dumps(asked)
        if self._remote is None:
            path.parent.mkdir(exist_ok=True)
            write_whole(path, text)
        else:
            self._remote.place.put(self._remote.key(path), text.encode())
        return request

    def waiting(self) -> list[str]:
        """The ids of those that are there, in order; other files are passed over."""
        if self._remote is None:
            with suppress(FileNotFoundError):
                return _ids(path.name for path in self._folder.requests.iterdir())
            return []
        below = self._remote.place.sizes(self._remote.key(self._folder.requests))
        return _ids(key.rpartition("/")[2] for key in below)

    def read(self, request: str) -> dict[str, Any]:
        """What is asked; empty where that cannot be read.

        Raises:
            FileNotFoundError: It was taken away.
        """
        path = self._path(request)
        if self._remote is None:
            data = path.read_bytes()
        else:
            data = self._remote.place.get(self._remote.key(path))
        with suppress(ValueError, RecursionError):
            asked = json.loads(data) if len(data) <= _LONGEST else None
            if isinstance(asked, dict):
                return asked
        return {}

    def discard(self, request: str) -> None:
        """Take one away, if it is there."""
        path = self._path(request)
        if self._remote is None:
            path.unlink(missing_ok=True)
        else:
            self._remote.place.delete(self._remote.key(path))

    def _path(self, request: str) -> Path:
        return self._folder.requests / f"{request}.json"


def _ids(names: Iterable[str]) -> list[str]:
    return sorted(match["id"] for match in map(_NAME.fullmatch, names) if match)
