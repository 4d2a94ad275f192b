"""Batch norm's mean and variance at test time, from whole data instead of a running average."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from models.layers.moments import batch_moments, merge_moments, split_moments
from models.layers.ranks import gather_rows, shared_group

if TYPE_CHECKING:
    from models.layers.ranks import Group


@torch.no_grad()
def precise_batch_norm(
    net: nn.Module, batches: Iterable[Tensor], *, process_group: Group | None = None
) -> None:
    """Set the running mean and unbiased variance of every batch norm to those of its inputs.

    Wu and Johnson 2021, "Rethinking 'Batch' in BatchNorm" (arXiv:2105.07576), section 3. A running
    average lags behind the weights, and means nothing once weights are averaged.

    The moments of the batches are pooled in float64, as if they were one batch; averaging their
    variances would leave out how their means differ. For a layer that has no batch norm below it
    the result is exact: how the data are cut into batches and ranks does not matter. A deeper layer
    gets its inputs as in a training step, normalised below by the statistics of one batch, where at
    test time it will be by these; the paper finds that good enough with the batch size of training.
    Dropout and all other layers are as in evaluation.

    Weights, modes, random generators and `num_batches_tracked` stay as they are.

    Args:
        net: A network, on its device; bare, not wrapped for ranks or compiled.
        batches: Inputs of the network, of at least two values a feature.
        process_group: The ranks to pool over, each with batches of its own; None is all of them.
            Every rank calls this; with synchronized batch norms each brings as many batches.

    Raises:
        ValueError: There are batch norms and no rows, or a batch is too small.
    """
    layers = [m for m in net.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    if not layers:
        return
    local = _collect(net, layers, batches)
    rows = gather_rows(torch.cat(list(local.values())), shared_group(process_group))
    pooled = torch.split(rows, [len(row) for row in local.values()], dim=1)
    seen = [
        _set_statistics(layer, merge_moments(p)) for layer, p in zip(layers, pooled, strict=True)
    ]
    if not any(seen):
        raise ValueError("precise batch norm needs at least one batch")


def _collect(
    net: nn.Module, layers: list[_BatchNorm], batches: Iterable[Tensor]
) -> dict[nn.Module, Tensor]:
    """Run the batches; a row of moments a layer."""
    moments: dict[nn.Module, Tensor] = {
        layer: layer.running_mean.new_zeros(2 * layer.num_features + 1, dtype=torch.float64)
        for layer in layers
        if layer.running_mean is not None
    }
    hooks = [layer.register_forward_pre_hook(partial(_add, moments)) for layer in layers]
    try:
        with _batch_statistics(net, layers):
            for x in batches:
                net(x)
    finally:
        for hook in hooks:
            hook.remove()
    return moments


def _add(moments: dict[nn.Module, Tensor], layer: nn.Module, inputs: tuple[Tensor]) -> None:
    new = batch_moments(inputs[0], torch.float64)
    moments[layer] = merge_moments(torch.stack([moments[layer], new]))


@contextmanager
def _batch_statistics(net: nn.Module, layers: list[_BatchNorm]) -> Iterator[None]:
    """Everything as in evaluation, but these layers normalise by their batch and keep nothing."""
    modes = {module: module.training for module in net.modules()}
    net.eval()
    for layer in layers:
        layer.training, layer.track_running_stats = True, False
    try:
        yield
    finally:
        for layer in layers:
            layer.track_running_stats = True
        for module, training in modes.items():
            module.training = training


def _set_statistics(layer: _BatchNorm, row: Tensor) -> bool:
    """Whether the layer saw values; one that did not keeps its statistics."""
    mean, m2, n = split_moments(row)
    seen = bool(n > 1)
    if seen and layer.running_mean is not None and layer.running_var is not None:
        layer.running_mean.copy_(mean)
        layer.running_var.copy_(m2 / (n - 1))
    return seen
