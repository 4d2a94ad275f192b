"""The random generators' state, as numbers and tensors that a checkpoint can hold."""

from __future__ import annotations

import random
from typing import Any

import numpy as np


def generators_state() -> dict[str, Any]:
    """That of Python, NumPy and torch, of each CUDA device too."""
    import torch

    version, words, gauss = random.getstate()
    app: Any = np.random.get_state(legacy=False)  # the global generator
    keys = torch.tensor(app["state"]["key"].astype(np.int64))
    cuda: Any = torch.cuda
    return {
        "python": [version, list(words), gauss],
        "numpy": {**app, "state": {**app["state"], "key": keys}},
        "torch": torch.get_rng_state(),
        "cuda": cuda.get_rng_state_all() if cuda.is_initialized() else [],
    }


def restore_generators(state: dict[str, Any]) -> None:
    """Put it back; of CUDA devices as many as there are."""
    import torch

    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    app = state["numpy"]
    keys = app["state"]["key"].cpu().numpy().astype(np.uint32)
    np.random.set_state({**app, "state": {**app["state"], "key": keys}})
    torch.set_rng_state(state["torch"].cpu())
    if torch.cuda.is_available():
        for device, kept in zip(range(torch.cuda.device_count()), state["cuda"], strict=False):
            torch.cuda.set_rng_state(kept.cpu(), device)
