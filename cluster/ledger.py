"""The ledger: what was submitted from this machine, where to, and how to submit it again.

One JSON file a submission among caviar's own files, written whole, that its owner alone can read;
so `caviar list` works after a reboot too. It holds no secret.
"""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self

from cluster.errors import ConfigError
from cluster.files import private_folder, state_home, write_private
from cluster.handle import Handle

_FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One submission."""

    handle: str
    name: str
    """The sweep's."""
    cluster: str
    """The profile's name."""
    storage: str
    arguments: tuple[str, ...]
    """Behind `python -m sweeps.cli`; secrets are masked."""
    root: str
    """The project's, on this machine."""
    cwd: str
    """Where `caviar submit` was called."""
    insecure: bool = False
    id: str = field(default_factory=lambda: secrets.token_hex(4))
    time: float = field(default_factory=time.time)
    format: int = _FORMAT

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read one.

        Raises:
            ValueError: It is none, or of a later format.
        """
        fields = json.loads(text)
        if not isinstance(fields, dict) or fields.get("format") != _FORMAT:
            raise ValueError("it is no entry of this caviar's")
        try:
            entry = cls(**{**fields, "arguments": tuple(fields["arguments"])})
            Handle.parse(entry.handle)
        except (TypeError, KeyError) as error:
            raise ValueError(str(error)) from error
        return entry


class Ledger:
    """All submissions from this machine by this user."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or state_home() / "submissions"

    def add(self, entry: Entry) -> None:
        """Note a submission."""
        path = private_folder(self.folder) / f"{entry.id}.json"
        write_private(path, json.dumps(asdict(entry), indent=2) + "\n")

    def read(self) -> tuple[list[Entry], list[Path]]:
        """All entries, oldest first, and the files that cannot be read."""
        entries, damaged = [], []
        for path in sorted(self.folder.glob("*.json")):
            try:
                entries.append(Entry.from_json(path.read_text(encoding="utf-8")))
            except (OSError, ValueError):
                damaged.append(path)
        return sorted(entries, key=lambda entry: entry.time), damaged

    def find(self, text: str) -> Entry | None:
        """The entry of that handle, or id, or sweep's name (its latest), or start of one of them.

        Raises:
            ConfigError: It is the start of several.
        """
        named = self.named()
        if text in named:
            return named[text]
        found = {entry.id: entry for name, entry in named.items() if name.startswith(text)}
        if len(found) > 1:
            several = ", ".join(f"{entry.id} ({entry.name})" for entry in found.values())
            raise ConfigError(f"{text!r} may be {several}: say more of it")
        return next(iter(found.values()), None)

    def of_sweep(self, name: str, storage: str) -> list[Entry]:
        """The submissions of one sweep, oldest first."""
        return [e for e in self.read()[0] if (e.name, e.storage) == (name, storage)]

    def named(self) -> dict[str, Entry]:
        """Every name of an entry: handles, ids, and the names of sweeps for their latest."""
        entries, _ = self.read()
        ids = {entry.id: entry for entry in entries}
        return {e.handle: e for e in entries} | ids | {e.name: e for e in entries}
