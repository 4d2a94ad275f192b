"""Gradient clipping."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor
from torch.nn.utils import clip_grad_norm_, clip_grad_value_


def clip_gradients(
    parameters: Iterable[Tensor], *, norm: float | None = None, value: float | None = None
) -> None:
    """Bound the gradients in place; nothing waits for the device.

    By `value` each element is cut off at -value and value. By `norm` all gradients together are
    scaled by min(1, norm / |g|), which keeps their direction (Pascanu, Mikolov and Bengio 2013,
    arXiv:1211.5063, algorithm 1). Where both are given the elements come first.
    """
    parameters = list(parameters)
    if value is not None:
        clip_grad_value_(parameters, value)
    if norm is not None:
        clip_grad_norm_(parameters, norm)
