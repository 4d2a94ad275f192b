"""A state of nested containers, numbers and tensors as strict JSON and named tensors.

JSON has no NaN, no tuples and no keys but strings: what it lacks is a mapping of one tagged key.

    {"$tensor": "3"}  {"$float": "nan"}  {"$tuple": [...]}  {"$dict": [[key, value], ...]}
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

_FLOATS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def encode(state: Any) -> tuple[Any, dict[str, Tensor]]:
    """Split a state into JSON values and tensors.

    The tensors are dense, contiguous and on the CPU; one that stands in several places is stored
    once. Views are stored as their own elements, not with the storage behind them.

    Raises:
        TypeError: The state holds something else than containers, numbers, text and tensors.
    """
    encoder = _Encoder()
    return encoder.value(state), encoder.tensors


def decode(values: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The inverse of `encode`.

    Raises:
        ValueError: A tag is unknown, or a tensor is missing.
    """
    if isinstance(values, list):
        return [decode(v, tensors) for v in values]
    if not isinstance(values, dict):
        return values
    if len(values) == 1:
        tag, content = next(iter(values.items()))
        if tag.startswith("$"):
            return _decode_tag(tag, content, tensors)
    return {k: decode(v, tensors) for k, v in values.items()}


def _decode_tag(tag: str, content: Any, tensors: Mapping[str, Tensor]) -> Any:
    try:
        if tag == "$tensor":
            return tensors[content]
        if tag == "$float":
            return _FLOATS[content]
        if tag == "$tuple":
            return tuple(decode(v, tensors) for v in content)
        if tag == "$dict":
            return {decode(k, tensors): decode(v, tensors) for k, v in content}
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{tag} of {str(content)[:40]!r} cannot be read") from error
    raise ValueError(f"unknown tag {tag!r}")


class _Encoder:
    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}
        self._names: dict[Any, str] = {}
        self._storages: set[int] = set()

    def value(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return {"$tensor": self._store(value)}
        if value is None or isinstance(value, (bool, int, str)):
            return value
        if isinstance(value, float):
            return value if math.isfinite(value) else {"$float": str(value)}
        if isinstance(value, list):
            return [self.value(v) for v in value]
        if isinstance(value, tuple):
            return {"$tuple": [self.value(v) for v in value]}
        if isinstance(value, Mapping):
            return self._mapping(value)
        raise TypeError(f"a checkpoint cannot hold a {type(value).__name__}")

    def _mapping(self, mapping: Mapping[Any, Any]) -> Any:
        plain = all(isinstance(k, str) and not k.startswith("$") for k in mapping)
        if plain:
            return {k: self.value(v) for k, v in mapping.items()}
        return {"$dict": [[self.value(k), self.value(v)] for k, v in mapping.items()]}

    def _store(self, tensor: Tensor) -> str:
        if tensor.layout != torch.strided:
            raise TypeError(f"a checkpoint cannot hold a {tensor.layout} tensor")
        key: Any = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype, tensor.device)
        if tensor.numel() == 0 or key not in self._names:
            self._names[key] = str(len(self.tensors))
            self.tensors[self._names[key]] = self._own(tensor.detach().cpu().contiguous())
        return self._names[key]

    def _own(self, tensor: Tensor) -> Tensor:
        """The tensor alone in its storage, as safetensors wants it; a copy only if it is not."""
        storage = tensor.untyped_storage()
        shared = storage.data_ptr() in self._storages or storage.nbytes() != tensor.nbytes
        self._storages.add(storage.data_ptr())
        return tensor.clone() if shared and tensor.numel() else tensor
