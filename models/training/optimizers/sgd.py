"""Stochastic gradient descent, plain, with momentum, and with Nesterov's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from models.training.optimizers.base import FusedOptimizer, check_decay_rates


class SGD(FusedOptimizer):
    """Stochastic gradient descent; the momentum is Nesterov's if `nesterov`.

    Raises:
        ValueError: An option is out of its range.
    """

    def __init__(
        self,
        net: nn.Module,
        *,
        lr: float,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        decay_norms_and_biases: bool = True,
    ):
        check_decay_rates(momentum=momentum)
        super().__init__(
            net,
            lr=lr,
            weight_decay=weight_decay,
            decay_norms_and_biases=decay_norms_and_biases,
            slots=("momentum",) if momentum else (),
        )
        self._momentum = momentum
        self._nesterov = nesterov and momentum > 0  # without momentum both are the same

    def _kernel(
        self,
        parameters: list[Tensor],
        gradients: list[Any],
        slots: Mapping[str, list[Tensor]],
        lr: float,
        weight_decay: float,
    ) -> None:
        torch._fused_sgd_(
            parameters,
            gradients,
            slots.get("momentum", []),
            weight_decay=weight_decay,
            momentum=self._momentum,
            lr=lr,
            dampening=0.0,
            nesterov=self._nesterov,
            maximize=False,
            is_first_step=False,  # from a buffer of zeros the first step is the same
        )
