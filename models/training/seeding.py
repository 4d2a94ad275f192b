"""Seeds and threads of one run, put back when it ends."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

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
    """Seed torch's global generator, for code that draws from it, and put it back afterwards."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


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
