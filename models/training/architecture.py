"""Weights and architecture in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.data import Split
from models.training.bilevel import architecture_gradient
from models.training.loss import Loss
from models.training.optimizers import Adam, Optimizer
from models.training.seeding import derive_seed


class Supernet(Protocol):
    """What a search asks of a network beside being one."""

    def architecture_parameters(self) -> list[nn.Parameter]:
        """The alphas; all other parameters are weights."""
        ...


class ArchitectureSearch:
    """Algorithm 1 of DARTS as an optimizer: after each step of the weights one of the alphas.

    The rows of a step of the alphas are a function of the seed and the number of the step. The
    running statistics of norms do not move in it. Between steps the alphas require no gradient.

    Args:
        net: A supernet; its dropout, if any, should be 0.
        weights: Builds the optimizer of the weights; its learning rate is the step's xi.
        train: Rows of L_train.
        validation: Rows of L_val.
        batch_size: Rows of each in a step.
        loss: What L_train is; L_val is the cross entropy.
        lr: Of Adam on the alphas, with decay rates 0.5 and 0.999 as in the paper.
        weight_decay: The same.
        second_order: Whether the gradient looks through the weights' next step.
        seed: Of the rows.
    """

    def __init__(
        self,
        net: nn.Module,
        weights: Callable[[nn.Module], Optimizer],
        *,
        train: Split,
        validation: Split,
        batch_size: int,
        loss: Loss,
        lr: float,
        weight_decay: float,
        second_order: bool,
        seed: int,
    ):
        self._net, self._train, self._validation = net, train, validation
        self._batch_size, self._loss = batch_size, loss
        self._second_order, self._seed = second_order, seed
        self._alphas = cast(Supernet, net).architecture_parameters()
        self._architecture = Adam(
            nn.ParameterList(self._alphas), lr=lr, beta1=0.5, weight_decay=weight_decay
        )
        self._set_searching(False)
        self._weights = [p for p in net.parameters() if p.requires_grad]
        self._optimizer = weights(net)
        self.param_groups = self._optimizer.param_groups
        self._steps = 0

    def step(self) -> None:
        """Move the weights along their gradients, then the alphas along theirs."""
        self._optimizer.step()
        with self._searching(), _buffers_kept(self._net):
            for alpha, gradient in zip(self._alphas, self._gradient(), strict=True):
                alpha.grad = gradient
            self._architecture.step()
        self._steps += 1

    def state_dict(self) -> dict[str, Any]:
        """Both optimizers' states, the number of steps, and the hyperparameters of the weights'."""
        weights = self._optimizer.state_dict()
        state = {
            "weights": weights["state"],
            "architecture": self._architecture.state_dict()["state"],
            "steps": self._steps,
        }
        return {"state": state, "param_groups": weights["param_groups"]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The inverse of `state_dict`.

        Raises:
            ValueError: It is of other parameters.
        """
        state, groups = state_dict["state"], state_dict["param_groups"]
        self._optimizer.load_state_dict({"state": state["weights"], "param_groups": groups})
        self.param_groups = self._optimizer.param_groups  # torch's own optimizers replace the list
        groups = self._architecture.state_dict()["param_groups"]
        self._architecture.load_state_dict({"state": state["architecture"], "param_groups": groups})
        self._steps = state["steps"]

    def _gradient(self) -> list[Tensor]:
        x, y = self._rows(self._train, "train")
        x_val, y_val = self._rows(self._validation, "validation")
        return architecture_gradient(
            lambda: self._loss(self._net, x, y)[0],
            lambda: F.cross_entropy(self._net(x_val), y_val),
            self._weights,
            self._alphas,
            xi=self.param_groups[0]["lr"] if self._second_order else 0.0,
        )

    def _rows(self, split: Split, name: str) -> Split:
        seed = derive_seed(self._seed, "architecture", name, self._steps)
        generator = torch.Generator().manual_seed(seed)
        rows = torch.randint(len(split.y), (self._batch_size,), generator=generator)
        rows = rows.to(split.y.device)
        return Split(split.x[rows], split.y[rows])

    @contextmanager
    def _searching(self) -> Iterator[None]:
        self._set_searching(True)
        try:
            yield
        finally:
            self._set_searching(False)

    def _set_searching(self, value: bool) -> None:
        for alpha in self._alphas:
            alpha.requires_grad_(value)
            alpha.grad = None


@contextmanager
def _buffers_kept(net: nn.Module) -> Iterator[None]:
    """Put buffers, such as running statistics, back to what they were."""
    before = [(buffer, buffer.clone()) for buffer in net.buffers()]
    try:
        yield
    finally:
        for buffer, values in before:
            buffer.copy_(values)
