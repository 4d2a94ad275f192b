"""A checkpoint: a folder of one safetensors file and one JSON file.

Loading it runs no code. A checksum tells a damaged file from a whole one.
"""

from __future__ import annotations

import json
import os
import zlib
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError

from models.training.codec import decode, encode
from models.training.files import CheckpointError, read_file, write_folder

__all__ = ["CheckpointError", "load_checkpoint", "save_checkpoint"]

FORMAT = 1
TENSORS = "tensors.safetensors"
STATE = "state.json"


def save_checkpoint(folder: str | os.PathLike[str], state: Any) -> Path:
    """Write a state of nested containers, numbers and tensors; whole, durable, or not at all.

    Raises:
        TypeError: The state holds something a checkpoint cannot.
        OSError: It cannot be written.
    """
    values, tensors = encode(state)
    data = safetensors.torch.save(tensors)
    text = _dump(values)
    header = {"format": FORMAT, "tensors_crc32": zlib.crc32(data), "state_crc32": _crc(text)}
    content = f'{_dump(header)[:-1]},"state":{text}}}\n'
    return write_folder(Path(folder), {TENSORS: data, STATE: content.encode()})


def load_checkpoint(folder: str | os.PathLike[str]) -> Any:
    """Read what `save_checkpoint` wrote; the tensors are on the CPU.

    Raises:
        CheckpointError: It is missing, damaged, or of a format this version does not read; the
            message names the file.
    """
    file = Path(folder) / TENSORS
    content = _parse(Path(folder) / STATE)
    data = read_file(file)
    if zlib.crc32(data) != content["tensors_crc32"]:
        raise CheckpointError(f"{file} is damaged: its checksum differs")
    try:
        return decode(content["state"], safetensors.torch.load(data))
    except (SafetensorError, ValueError) as error:
        raise CheckpointError(f"{file} is damaged: {error}") from error


def _parse(file: Path) -> dict[str, Any]:
    text = read_file(file)
    try:
        content = json.loads(text, parse_constant=_no_constant)
        version, crc, _ = content["format"], content["state_crc32"], content["tensors_crc32"]
        intact = crc == _crc(_dump(content["state"]))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{file} is damaged: {error!r}") from error
    if version != FORMAT:
        raise CheckpointError(f"{file} has format {version}; this version reads {FORMAT}")
    if not intact:
        raise CheckpointError(f"{file} is damaged: its checksum differs")
    return dict(content)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _dump(values: Any) -> str:
    return json.dumps(values, allow_nan=False, separators=(",", ":"))


def _crc(text: str) -> int:
    return zlib.crc32(text.encode())
