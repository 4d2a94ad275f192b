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

from models.checks import number


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
        check_at_least_0(lr=lr, weight_decay=weight_decay)
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


def check_at_least_0(**values: float) -> None:
    """Options of these names must be 0 or more."""
    for name, value in values.items():
        number(f"optimizer.{name}", value, lambda v: v >= 0, "0 or more")


def check_decay_rates(**values: float) -> None:
    """Options of these names must lie in [0, 1)."""
    for name, value in values.items():
        number(f"optimizer.{name}", value, lambda v: 0 <= v < 1, "at least 0 and less than 1")


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
