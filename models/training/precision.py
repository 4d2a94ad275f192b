"""Mixed precision."""

from __future__ import annotations

import torch
from torch import Tensor

from models.training.loss import Forward


def in_bfloat16(forward: Forward, device: torch.device) -> Forward:
    """The network with its products in bfloat16, as `torch.autocast` chooses them; logits are fp32.

    Micikevicius et al. 2018 (arXiv:1710.03740) with bfloat16 in place of fp16: it has the range of
    fp32, so the loss is not scaled. Weights, optimizer and loss stay in fp32.

    Raises:
        ValueError: The GPU has no bfloat16.
    """
    if device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise ValueError("trainer.precision is 'bf16', which this GPU does not have; take 'fp32'")

    def autocast(x: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16):
            logits = forward(x)
        return logits.float()

    return autocast
