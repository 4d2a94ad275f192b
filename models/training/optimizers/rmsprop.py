"""RMSProp."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from models.training.optimizers.base import FusedOptimizer, check_at_least_0, check_decay_rates


class RMSProp(FusedOptimizer):
    """RMSProp (Tieleman and Hinton 2012, Coursera, lecture 6.5), with momentum by option.

    `square = alpha * square + (1 - alpha) * g^2`, `step = g / (sqrt(square) + eps)`, `w -= lr *
    step`; with momentum `w -= lr * velocity`, `velocity = momentum * velocity + step`. torch has no
    fused kernel for it: these are its list operations.

    Raises:
        ValueError: An option is out of its range.
    """

    def __init__(
        self,
        net: nn.Module,
        *,
        lr: float = 1e-3,
        alpha: float = 0.99,
        momentum: float = 0.0,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decay_norms_and_biases: bool = True,
    ):
        check_decay_rates(alpha=alpha, momentum=momentum)
        check_at_least_0(eps=eps)
        super().__init__(
            net,
            lr=lr,
            weight_decay=weight_decay,
            decay_norms_and_biases=decay_norms_and_biases,
            slots=("square", "velocity") if momentum else ("square",),
        )
        self._alpha, self._momentum, self._eps = alpha, momentum, eps

    def _kernel(
        self,
        parameters: list[Tensor],
        gradients: list[Any],
        slots: Mapping[str, list[Tensor]],
        lr: float,
        weight_decay: float,
    ) -> None:
        if weight_decay:
            gradients = list(torch._foreach_add(gradients, parameters, alpha=weight_decay))
        torch._foreach_mul_(slots["square"], self._alpha)
        torch._foreach_addcmul_(slots["square"], gradients, gradients, 1 - self._alpha)
        scale = torch._foreach_sqrt(slots["square"])
        torch._foreach_add_(scale, self._eps)
        if not self._momentum:
            torch._foreach_addcdiv_(parameters, gradients, scale, -lr)
            return
        torch._foreach_mul_(slots["velocity"], self._momentum)
        torch._foreach_addcdiv_(slots["velocity"], gradients, scale)
        torch._foreach_add_(parameters, slots["velocity"], alpha=-lr)
