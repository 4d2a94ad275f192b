"""How far a run is that W&B wrote offline: its file is a log in LevelDB's format of messages."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

_BLOCK = 32768
_PREAMBLE = 7
"""Bytes of W&B's own before the first block's first record."""
_HEADER = struct.Struct("<IHB")
"""Checksum, length and kind of a record."""
_WHOLE, _LAST = 1, 4


def last_step(file: Path) -> int | None:
    """The last step with metrics; None without any. What was cut off or damaged is passed over."""
    kind, last = import_module("wandb.proto.wandb_internal_pb2").Record, None
    damage = import_module("google.protobuf.message").DecodeError
    for message in _messages(file.read_bytes()):
        try:
            record = kind.FromString(message)
        except damage:
            continue
        if record.WhichOneof("record_type") == "history" and _has_metrics(record.history):
            last = record.history.step.num
    return last


def _messages(data: bytes) -> Iterator[bytes]:
    place, parts = _PREAMBLE, b""
    while place + _HEADER.size <= len(data):
        if (room := _BLOCK - place % _BLOCK) < _HEADER.size:
            place += room
            continue
        _, size, kind = _HEADER.unpack_from(data, place)
        place += _HEADER.size
        parts += data[place : place + size]
        place += size
        if place > len(data):
            return
        if kind in (_WHOLE, _LAST):
            yield parts
            parts = b""


def _has_metrics(history: Any) -> bool:
    """Whether there is more than what W&B itself adds, such as `_timestamp`."""
    names = (item.key or "/".join(item.nested_key) for item in history.item)
    return any(not name.startswith("_") for name in names)
