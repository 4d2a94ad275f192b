"""All candidate operations at once, each with a weight."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from models.networks.darts.operations import make_operation
from models.networks.style import Style


class MixedOp(nn.Module):
    """Equation 2 of DARTS: the sum of the operations' outputs, weighted by softmax(alpha)."""

    def __init__(self, names: Iterable[str], style: Style, channels: int, stride: int):
        super().__init__()
        operations = (make_operation(name, style, channels, stride) for name in names)
        self.operations = nn.ModuleList(operations)

    def forward(self, x: Tensor, weights: Sequence[Tensor]) -> Tensor:
        """`[n, channels, h, w] -> [n, channels, h', w']`; `weights` are softmax(alpha)."""
        outputs = [w * op(x) for w, op in zip(weights, self.operations, strict=True)]
        return torch.stack(outputs).sum(0)
