"""Adagrad."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from models.training.optimizers.base import FusedOptimizer, check_at_least_0


class Adagrad(FusedOptimizer):
    """Adagrad (Duchi, Hazan and Singer 2011, JMLR 12, Fig. 1, diagonal).

    `square += g^2`, `w -= lr / (1 + lr_decay * (t - 1)) * g / (sqrt(square) + eps)`.

    Args:
        initial: What `square` begins with.

    Raises:
        ValueError: An option is out of its range.
    """

    def __init__(
        self,
        net: nn.Module,
        *,
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        initial: float = 0.0,
        eps: float = 1e-10,
        weight_decay: float = 0.0,
        decay_norms_and_biases: bool = True,
    ):
        check_at_least_0(lr_decay=lr_decay, initial=initial, eps=eps)
        super().__init__(
            net,
            lr=lr,
            weight_decay=weight_decay,
            decay_norms_and_biases=decay_norms_and_biases,
            slots=("square",),
        )
        self._lr_decay, self._eps = lr_decay, eps
        for group, slots in zip(self.param_groups, self._slots, strict=True):
            torch._foreach_add_(slots["square"], initial)
            slots["steps"] = [torch.zeros((), device=p.device) for p in group["params"]]

    def _kernel(
        self,
        parameters: list[Tensor],
        gradients: list[Any],
        slots: Mapping[str, list[Tensor]],
        lr: float,
        weight_decay: float,
    ) -> None:
        torch._foreach_add_(slots["steps"], 1.0)
        torch._fused_adagrad_(
            parameters,
            gradients,
            slots["square"],
            slots["steps"],
            lr=lr,
            lr_decay=self._lr_decay,
            weight_decay=weight_decay,
            eps=self._eps,
            maximize=False,
        )
