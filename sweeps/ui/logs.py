"""The end of what a trial printed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sweeps.storage.folder import SweepFolder
from sweeps.ui.words import terminal_text

_BYTES = 256 * 1024


@dataclass(frozen=True, kw_only=True)
class Tail:
    """The last lines of an output."""

    path: str
    """Where a user finds it; empty where the trial has not printed anything."""
    text: str = ""
    cut: bool = False
    """Whether there is more before them."""


def tail(folder: SweepFolder, trial: int, *, lines: int) -> Tail:
    """The last lines of a trial's newest output.

    Raises:
        OSError: It cannot be read.
        ClusterError: The bucket cannot be reached or read.
    """
    outputs = folder.impatient.outputs(trial)
    if not outputs:
        return Tail(path="")
    text, cut = _end_of(outputs[-1])
    found = terminal_text(text).splitlines()
    return Tail(
        path=folder.shown(outputs[-1]),
        text="\n".join(found[-lines:]),
        cut=cut or len(found) > lines or len(outputs) > 1,
    )


def _end_of(path: Path) -> tuple[str, bool]:
    """The last bytes of a file from a line's start on, and whether there are others before."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - _BYTES))
        data = file.read(_BYTES)
    if size > _BYTES:
        data = data.partition(b"\n")[2] or data
    return data.decode("utf-8", errors="replace"), size > _BYTES
