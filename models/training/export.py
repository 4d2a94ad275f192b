"""The best epoch of a run, from a checkpoint or an export."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from models.data import Preprocessing
from models.training.checkpoint import STATE, CheckpointError, load_checkpoint
from models.training.files import read_file, write_folder

WEIGHTS = "weights.safetensors"
MODEL = "model.json"


@dataclass(frozen=True, kw_only=True)
class Best:
    """A network with the weights of its best epoch."""

    net: nn.Module
    epoch: int
    metrics: dict[str, float]
    """What training reported at that epoch."""
    preprocessing: Preprocessing


@dataclass(frozen=True, kw_only=True)
class StoredBest:
    """The same, before its network is built."""

    weights: Mapping[str, Tensor]
    epoch: int
    metrics: dict[str, float]
    preprocessing: Preprocessing


def read_best(folder: Path) -> StoredBest:
    """The best epoch in a checkpoint folder or an export folder.

    Raises:
        CheckpointError: The folder is neither, is damaged, or holds no finished epoch.
    """
    if (folder / MODEL).exists():
        return _from_export(folder)
    state = load_checkpoint(folder)
    if state["best"] is None:
        raise CheckpointError(f"{folder / STATE} holds no finished epoch")
    return _stored(state["best"], state["best"]["model"], state["preprocessing"])


def write_export(best: Best, folder: Path) -> Path:
    """Write `weights.safetensors` and `model.json`; the folder appears whole, or is replaced."""
    preprocessing = json.loads(best.preprocessing.to_json())
    model = {"epoch": best.epoch, "metrics": best.metrics, "preprocessing": preprocessing}
    weights = {name: _by_itself(value) for name, value in best.net.state_dict().items()}
    text = json.dumps(model, indent=1, allow_nan=False) + "\n"
    return write_folder(folder, {WEIGHTS: safetensors.torch.save(weights), MODEL: text.encode()})


def _by_itself(tensor: Tensor) -> Tensor:
    """A copy that shares no memory, as that of tied weights does: safetensors refuses it."""
    return tensor.detach().cpu().clone(memory_format=torch.contiguous_format)


def _from_export(folder: Path) -> StoredBest:
    text, data = read_file(folder / MODEL), read_file(folder / WEIGHTS)
    try:
        model = json.loads(text)
        weights = safetensors.torch.load(data)
        return _stored(model, weights, model["preprocessing"])
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder} is damaged: {error}") from error


def _stored(
    best: Mapping[str, Any], weights: Mapping[str, Tensor], preprocessing: Mapping[str, Any]
) -> StoredBest:
    return StoredBest(
        weights=weights,
        epoch=best["epoch"],
        metrics=dict(best["metrics"]),
        preprocessing=Preprocessing.from_dict(preprocessing),
    )
