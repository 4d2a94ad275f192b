"""From logits to probabilities."""

from __future__ import annotations

import torch
from torch import Tensor, nn


@torch.inference_mode()
def predict_logits(net: nn.Module, x: Tensor, *, rows: int = 8192) -> Tensor:
    """Logits `[n, classes]` in evaluation mode, `rows` at a time; the net's mode is put back."""
    was_training = net.training
    net.eval()
    try:
        return net(x) if len(x) <= rows else torch.cat([net(part) for part in torch.split(x, rows)])
    finally:
        net.train(was_training)


def predict_proba(
    net: nn.Module, x: Tensor, *, rows: int = 8192, temperature: float = 1.0
) -> Tensor:
    """Class probabilities `[n, classes]` of scaled inputs, softmax(logits / temperature).

    `fit_temperature` finds the temperature that calibrates them.
    """
    return (predict_logits(net, x, rows=rows) / temperature).softmax(dim=1)
