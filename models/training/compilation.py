"""Compiled networks."""

from __future__ import annotations

import importlib.util
import os
import shutil

import torch
from torch import nn

from models.training.loss import Forward


def compiled(net: nn.Module, device: torch.device) -> Forward:
    """`torch.compile` of a network, which stays as it is and shares its weights.

    It is compiled at the first batch of each size, and not again: an epoch has at most three sizes,
    and kernels made for one size give the same bits in a resumed run.

    Raises:
        ValueError: There is no compiler for the device here.
    """
    if device.type == "cpu" and not _has_cpp_compiler():
        raise ValueError(
            "trainer.compile is true, but there is no C++ compiler here: install g++ or clang++, "
            "name it in CXX, or set trainer.compile=false"
        )
    if device.type == "cuda" and importlib.util.find_spec("triton") is None:
        raise ValueError(
            "trainer.compile is true, but there is no Triton here: install it, "
            "or set trainer.compile=false"
        )
    forward: Forward = torch.compile(net, dynamic=False)
    return forward


def _has_cpp_compiler() -> bool:
    named = os.environ.get("CXX")
    return any(shutil.which(name) for name in ([named] if named else ["g++", "clang++", "c++"]))
