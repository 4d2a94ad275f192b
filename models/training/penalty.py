"""The gradient penalty."""

from __future__ import annotations

import torch
from torch import Tensor


def input_gradient_norms(losses: Tensor, x: Tensor) -> Tensor:
    """|d loss_i / d x_i|^2 of each row, differentiable in the parameters: `[n]`.

    Double backpropagation (Drucker and LeCun 1992, IEEE Trans. Neural Networks 3(6)): a penalty on
    it makes the loss change little where the input changes little. Under batch norm the rows of a
    batch depend on each other: the gradient is then that of the batch's sum.

    Args:
        losses: Loss of each row `[n]`, computed from `x`.
        x: The input `[n, ...]`, which requires a gradient.
    """
    (gradient,) = torch.autograd.grad(losses.sum(), x, create_graph=True)
    return gradient.flatten(1).square().sum(1)
