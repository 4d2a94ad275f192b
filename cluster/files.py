"""caviar's own files of a user: where they lie, and how they are written."""

from __future__ import annotations

import os
from pathlib import Path


def config_home() -> Path:
    """`~/.config/caviar`: what a user writes."""
    return _home("XDG_CONFIG_HOME", "~/.config")


def state_home() -> Path:
    """`~/.local/state/caviar`: what caviar keeps between its commands, also over a reboot."""
    return _home("XDG_STATE_HOME", "~/.local/state")


def _home(variable: str, default: str) -> Path:
    given = Path(os.environ.get(variable, ""))
    return (given if given.is_absolute() else Path(default).expanduser()) / "caviar"


def private_folder(path: Path) -> Path:
    """Make a folder that its owner alone can enter."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def write_private(path: Path, text: str) -> None:
    """Write a file whole that its owner alone can read: a reader sees the old text or the new."""
    partial = path.with_name(f".{path.name}.partial")
    partial.unlink(missing_ok=True)
    with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
