"""The file beside a trial's job that tells what each of its segments was trained on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FORMAT = 1


def read_segments(file: Path) -> list[dict[str, Any]]:
    """The segments that a job's file tells of, oldest first."""
    segments: list[dict[str, Any]] = read_record(file).get("segments", [])
    return segments


def read_record(file: Path) -> dict[str, Any]:
    """All that a job's file tells: format, segments, and `usage` where that was measured.

    Nothing where there is no file, or where a crash of the machine left it empty.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    record: dict[str, Any] = json.loads(text) if text else {}
    return record
