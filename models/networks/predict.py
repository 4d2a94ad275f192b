"""From logits to probabilities."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

CPU_VALUES, GPU_VALUES = 1 << 18, 1 << 22
"""Numbers in the inputs that pass through a network at once: a CPU is twice as fast on what fits
its caches, and a GPU on much; 10,000 images of MNIST otherwise take gigabytes in a ResNet."""


@torch.inference_mode()
def predict_logits(net: nn.Module, x: Tensor, *, rows: int | None = None) -> Tensor:
    """Logits `[n, classes]` in evaluation mode; the net's mode is put back.

    Args:
        net: The network.
        x: Inputs `[n, *shape]`.
        rows: How many at a time; None lets the size of an input decide.
    """
    rows = _rows_at_once(x) if rows is None else rows
    was_training = net.training
    net.eval()
    try:
        return net(x) if len(x) <= rows else torch.cat([net(part) for part in torch.split(x, rows)])
    finally:
        net.train(was_training)


def predict_proba(
    net: nn.Module, x: Tensor, *, rows: int | None = None, temperature: float = 1.0
) -> Tensor:
    """Class probabilities `[n, classes]` of inputs `[n, *shape]`, softmax(logits / temperature).

    `fit_temperature` finds the temperature that calibrates them.
    """
    return (predict_logits(net, x, rows=rows) / temperature).softmax(dim=1)


def _rows_at_once(x: Tensor) -> int:
    values = CPU_VALUES if x.device.type == "cpu" else GPU_VALUES
    return max(1, values // max(1, math.prod(x.shape[1:])))
