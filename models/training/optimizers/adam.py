"""Adam and AdamW."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from models.training.optimizers.base import FusedOptimizer, check_at_least_0, check_decay_rates


class Adam(FusedOptimizer):
    """Adam (Kingma and Ba 2015, arXiv:1412.6980); weight decay is part of the gradient.

    Raises:
        ValueError: An option is out of its range.
    """

    _fused: Any = staticmethod(torch._fused_adam_)

    def __init__(
        self,
        net: nn.Module,
        *,
        lr: float = 1e-3,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decay_norms_and_biases: bool = True,
    ):
        check_decay_rates(beta1=beta1, beta2=beta2)
        check_at_least_0(eps=eps)
        super().__init__(
            net,
            lr=lr,
            weight_decay=weight_decay,
            decay_norms_and_biases=decay_norms_and_biases,
            slots=("mean", "square"),
        )
        self._beta1, self._beta2, self._eps = beta1, beta2, eps
        for group, slots in zip(self.param_groups, self._slots, strict=True):
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
        self._fused(
            parameters,
            gradients,
            slots["mean"],
            slots["square"],
            [],
            slots["steps"],
            lr=lr,
            beta1=self._beta1,
            beta2=self._beta2,
            weight_decay=weight_decay,
            eps=self._eps,
            amsgrad=False,
            maximize=False,
        )


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv:1711.05101).

    Raises:
        ValueError: An option is out of its range.
    """

    _fused: Any = staticmethod(torch._fused_adamw_)

    def __init__(
        self,
        net: nn.Module,
        *,
        lr: float = 1e-3,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        decay_norms_and_biases: bool = False,
    ):
        super().__init__(
            net,
            lr=lr,
            beta1=beta1,
            beta2=beta2,
            eps=eps,
            weight_decay=weight_decay,
            decay_norms_and_biases=decay_norms_and_biases,
        )
