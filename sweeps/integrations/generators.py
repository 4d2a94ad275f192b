"""The random generators' state, as numbers and tensors that a checkpoint can hold."""

from __future__ import annotations

import random
from typing import Any

import numpy as np


def generators_state() -> dict[str, Any]:
    """That of Python, NumPy and torch, of each CUDA device too."""
    import torch

    version, words, gauss = random.getstate()
    name, keys, *rest = np.random.get_state(legacy=True)  # the app's global generator
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    return {
        "python": [version, list(words), gauss],
        "numpy": [name, torch.tensor(keys.astype(np.int64)), *rest],
        "torch": torch.get_rng_state(),
        "cuda": devices,
    }


def restore_generators(state: dict[str, Any]) -> None:
    """Put it back; of CUDA devices as many as there are."""
    import torch

    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.cpu().numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"].cpu())
    if torch.cuda.is_available():
        for device, kept in zip(range(torch.cuda.device_count()), state["cuda"], strict=False):
            torch.cuda.set_rng_state(kept.cpu(), device)
