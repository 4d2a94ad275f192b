"""Seeds and threads of one run, put back when it ends."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from models.layers import Dropout


def derive_seed(seed: int, *labels: str | int) -> int:
    """A seed of its own for each use: weights, dropout, the order of epoch 3.

    Streams that share a base seed are unrelated. 32 bits, all that torch's CPU generator takes.
    """
    text = "/".join(map(str, (seed, *labels)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "big")


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed the global generators of torch, NumPy and Python, and put them back afterwards.

    The project's own code draws from generators of its own; a user's network may not.
    """
    before = get_rng(device)
    torch.default_generator.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)
    try:
        yield
    finally:
        set_rng(device, before)


def get_rng(device: torch.device) -> dict[str, Any]:
    """States of the global generators, as tensors and numbers."""
    version, words, gauss = random.getstate()
    numpy: dict[str, Any] = dict(np.random.get_state(legacy=False))
    key = torch.from_numpy(numpy["state"]["key"].astype(np.int64))
    return {
        "cpu": torch.get_rng_state(),
        **({"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {}),
        "python": {"version": version, "words": torch.tensor(words), "gauss": gauss},
        "numpy": {**numpy, "state": {**numpy["state"], "key": key}},
    }


def set_rng(device: torch.device, states: Mapping[str, Any]) -> None:
    """The inverse of `get_rng`; a checkpoint of an earlier version has torch's alone."""
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
    if (python := states.get("python")) is not None:
        random.setstate((python["version"], tuple(python["words"].tolist()), python["gauss"]))
    if (numpy := states.get("numpy")) is not None:
        key = numpy["state"]["key"].numpy().astype(np.uint32)
        np.random.set_state({**numpy, "state": {**numpy["state"], "key": key}})


@contextmanager
def num_threads(count: int | None) -> Iterator[None]:
    """Use so many CPU threads inside; None leaves torch's number."""
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        if count is not None:
            torch.set_num_threads(before)


def set_dropout_generator(net: nn.Module, generator: torch.Generator | None) -> None:
    """Let every `Dropout` of a network draw from one generator."""
    for layer in net.modules():
        if isinstance(layer, Dropout):
            layer.generator = generator
