"""The gradient of an architecture through one step of its weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

RADIUS = 0.01
"""How far the weights move for the finite difference: the paper's choice, below equation 8."""


def architecture_gradient(
    train_loss: Callable[[], Tensor],
    validation_loss: Callable[[], Tensor],
    weights: Sequence[Tensor],
    alphas: Sequence[Tensor],
    *,
    xi: float,
) -> list[Tensor]:
    """The gradient by alpha of L_val(w - xi grad_w L_train(w, alpha), alpha).

    Liu et al. 2019 (DARTS, arXiv:1806.09055), equation 7, with w' for the weights after the step:

        grad_alpha L_val(w', alpha) - xi grad^2_{alpha,w} L_train(w, alpha) grad_w' L_val(w', alpha)

    The second term is a finite difference, equation 8, with w+- = w +- eps grad_w' L_val(w', alpha)
    and eps = 0.01 / |grad_w' L_val(w', alpha)|:

        (grad_alpha L_train(w+, alpha) - grad_alpha L_train(w-, alpha)) / (2 eps)

    `xi` 0 is the first-order approximation: the weights are taken as they are.

    Args:
        train_loss: L_train at the present values of `weights` and `alphas`.
        validation_loss: L_val at the same.
        weights: Moved on the way, and put back bit for bit.
        alphas: What the architecture is; they require gradients.
        xi: Learning rate of the weights' step.

    Returns:
        A gradient for each of `alphas`; `.grad` of nothing is touched.
    """
    if xi == 0:
        return _gradients(validation_loss(), alphas)
    before = [w.detach().clone() for w in weights]
    try:
        _move(weights, before, _gradients(train_loss(), weights), -xi)
        both = _gradients(validation_loss(), [*alphas, *weights])
        direct, direction = both[: len(alphas)], both[len(alphas) :]
        norm = float(torch.stack([d.norm() for d in direction]).norm())
        if norm == 0:
            return direct
        epsilon = RADIUS / norm
        _move(weights, before, direction, epsilon)
        plus = _gradients(train_loss(), alphas)
        _move(weights, before, direction, -epsilon)
        minus = _gradients(train_loss(), alphas)
    finally:
        _move(weights, before, before, 0)
    factor = xi / (2 * epsilon)
    return [d - factor * (p - m) for d, p, m in zip(direct, plus, minus, strict=True)]


def _gradients(loss: Tensor, by: Sequence[Tensor]) -> list[Tensor]:
    return list(torch.autograd.grad(loss, by, allow_unused=True, materialize_grads=True))


@torch.no_grad()
def _move(
    weights: Sequence[Tensor], start: Sequence[Tensor], along: Sequence[Tensor], by: float
) -> None:
    """Set weights to `start + by * along`."""
    for weight, origin, direction in zip(weights, start, along, strict=True):
        weight.copy_(origin if by == 0 else torch.add(origin, direction, alpha=by))
