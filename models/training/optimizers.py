"""Optimizers on torch's fused kernels, called without the machinery of `torch.optim`.

They give the numbers of `torch.optim` (a test holds them equal), but that takes 75 us more for each
step of a small network, a seventh of the step, and its first use imports the compiler: 0.9 s in
each fresh worker. Any `torch.optim.Optimizer` may stand in their place.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn


class Optimizer(Protocol):
    """What a trainer asks of an optimizer; `torch.optim.Optimizer` is one."""

    param_groups: list[dict[str, Any]]
    """Each with its `params` and the `lr` that the next step takes."""

    def step(self) -> object:
        """Move the parameters along their gradients."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """`state`, all that steps leave behind, and `param_groups`."""
        ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        ...


class FusedOptimizer:
    """One kernel call for each group of parameters.

    Args:
        net: Whose parameters are moved.
        lr: Learning rate.
        weight_decay: Of the weights, and of norms and biases if `decay_norms_and_biases`.
        slots: Names of the tensors that are kept for each parameter.

    Raises:
        ValueError: An option is out of its range.
    """

    def __init__(
        self,
        net: nn.Module,
        *,
        lr: float,
        weight_decay: float,
        decay_norms_and_biases: bool,
        slots: tuple[str, ...],
    ):
        _check_at_least_0(lr=lr, weight_decay=weight_decay)
        self.param_groups = parameter_groups(net, weight_decay, decay_norms_and_biases)
        self._slots: list[dict[str, list[Tensor]]] = []
        for group in self.param_groups:
            group["lr"] = lr
            self._slots.append(
                {name: [torch.zeros_like(p) for p in group["params"]] for name in slots}
            )

    @torch.no_grad()
    def step(self) -> None:
        """Move the parameters that have a gradient."""
        for group, slots in zip(self.param_groups, self._slots, strict=True):
            parameters: list[Tensor] = group["params"]
            gradients = [p.grad for p in parameters]
            if any(g is None for g in gradients):
                has = [i for i, g in enumerate(gradients) if g is not None]
                parameters = [parameters[i] for i in has]
                gradients = [gradients[i] for i in has]
                slots = {name: [kept[i] for i in has] for name, kept in slots.items()}
            if parameters:
                self._kernel(parameters, gradients, slots, group["lr"], group["weight_decay"])

    def _kernel(
        self,
        parameters: list[Tensor],
        gradients: list[Any],
        slots: Mapping[str, list[Tensor]],
        lr: float,
        weight_decay: float,
    ) -> None:
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """What steps leave behind, and the hyperparameters of each group."""
        groups = [{k: v for k, v in g.items() if k != "params"} for g in self.param_groups]
        return {"state": self._slots, "param_groups": groups}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Copy in what `state_dict` gave; what it lacks (momentum that was 0) begins at zero.

        Raises:
            ValueError: It is of other parameters.
        """
        try:
            for slots, stored in zip(self._slots, state_dict["state"], strict=True):
                for name in slots.keys() & stored.keys():
                    for kept, value in zip(slots[name], stored[name], strict=True):
                        kept.copy_(value)
        except (ValueError, RuntimeError) as error:
            raise ValueError(f"the optimizer's state is of other parameters: {error}") from error
        for group, values in zip(self.param_groups, state_dict["param_groups"], strict=True):
            group.update({k: v for k, v in values.items() if k != "params"})


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
        _check_decay_rates(momentum=momentum)
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
        _check_decay_rates(beta1=beta1, beta2=beta2)
        _check_at_least_0(eps=eps)
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


def _check_at_least_0(**values: float) -> None:
    for name, value in values.items():
        if not value >= 0:
            raise ValueError(f"optimizer.{name} is {value}; it must be 0 or more")


def _check_decay_rates(**values: float) -> None:
    for name, value in values.items():
        if not 0 <= value < 1:
            raise ValueError(f"optimizer.{name} is {value}; it must be at least 0 and less than 1")


def parameter_groups(
    net: nn.Module, weight_decay: float, decay_norms_and_biases: bool
) -> list[dict[str, Any]]:
    """Parameters with weight decay, and, unless they decay too, norms and biases without.

    Norms and biases are the parameters of fewer than two axes.
    """
    parameters = [p for p in net.parameters() if p.requires_grad]
    if decay_norms_and_biases or weight_decay == 0:
        return [{"params": parameters, "weight_decay": weight_decay}]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
