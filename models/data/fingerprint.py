"""What tells data from other data: a hash of each split as a training sees it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from models.data.dataset import Split
    from models.data.preprocessing import Preprocessing


def of_split(split: Split) -> str:
    """The sha256 of the rows and classes as they were loaded, scaled and split; `sha256:...`."""
    digest = hashlib.sha256()
    for tensor in split:
        digest.update(f"{tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(_bytes(tensor))
    return f"sha256:{digest.hexdigest()}"


def of_stream(footers: Iterable[bytes], share: object, preprocessing: Preprocessing) -> str:
    """Of rows that are never held in memory together: `stream:...`.

    Args:
        footers: Of each file, in order: sizes, and of each row group's columns the least and the
            largest value.
        share: Which of their rows.
        preprocessing: Means and scales of all training rows: few values can change without them.
    """
    known = preprocessing.to_dict()
    tensors = {key: value for key, value in known.items() if isinstance(value, Tensor)}
    plain = {key: value for key, value in known.items() if key not in tensors}
    digest = hashlib.sha256(json.dumps([str(share), plain], sort_keys=True).encode())
    for tensor in tensors.values():
        digest.update(_bytes(tensor))
    for footer in footers:
        digest.update(hashlib.sha256(footer).digest())
    return f"stream:{digest.hexdigest()}"


def _bytes(tensor: Tensor) -> memoryview:
    flat = tensor.detach().cpu().contiguous().view(-1)
    return flat.view(torch.uint8).numpy().data
