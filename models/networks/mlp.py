"""A multilayer perceptron."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.layers import Dropout, make_activation, make_linear, make_norm, norm_has_shift
from models.networks.shape import flat_features


class MLP(nn.Module):
    """Blocks of linear, norm, activation, dropout, and a linear head.

    A linear layer right under a norm with a shift of its own has no bias: the norm takes it out
    again. Layers that would do nothing (norm `none`, dropout 0) are not built.

    Args:
        in_shape: Shape of a row; images are flattened.
        out_features: Classes.
        depth: Number of hidden layers, 0 or more; may be None where `width` is a list.
        width: Units of each hidden layer, or a list of one number a layer.
        norm: `batch` or `none`.
        activation: Name of the nonlinearity.
        dropout: Probability, in [0, 1), that a hidden unit is zeroed in training.
        init: Name of the initial weights.
        generator: Where the initial weights are drawn from; None is torch's global one.

    Raises:
        ValueError: An option is out of its range, or `depth` and a list `width` disagree.
    """

    def __init__(
        self,
        in_shape: int | Sequence[int],
        out_features: int,
        *,
        depth: int | None = None,
        width: int | Sequence[int] = 128,
        norm: str = "batch",
        activation: str = "relu",
        dropout: float = 0.0,
        init: str = "kaiming",
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        in_features, widths = flat_features(in_shape), hidden_widths(depth, width)
        bias = not norm_has_shift(norm)
        blocks: list[nn.Module] = []
        for n_in, n_out in zip([in_features, *widths], widths, strict=False):
            linear = make_linear(n_in, n_out, bias=bias, init=init, generator=generator)
            layers = [linear, make_norm(norm, n_out), make_activation(activation), Dropout(dropout)]
            blocks.append(nn.Sequential(*filter(_does_something, layers)))
        self.blocks = nn.Sequential(*blocks)
        n_last = widths[-1] if widths else in_features
        self.head = make_linear(n_last, out_features, bias=True, init=init, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        """`[n, *in_shape]` to logits `[n, out_features]`."""
        logits: Tensor = self.head(self.blocks(x.flatten(1)))
        return logits


def hidden_widths(depth: int | None, width: int | Sequence[int]) -> list[int]:
    """Units of each hidden layer from the two options that say so."""
    if isinstance(width, int):
        widths = [width] * (2 if depth is None else depth)
    else:
        widths = list(width)
        if depth is not None and depth != len(widths):
            raise ValueError(
                f"model.depth is {depth} and model.width lists {len(widths)} layers; "
                "they must agree, or model.depth be null"
            )
    if depth is not None and depth < 0:
        raise ValueError(f"model.depth is {depth}; it must be 0 or more")
    if any(units < 1 for units in widths):
        raise ValueError(f"model.width is {width}; each layer needs at least 1 unit")
    return widths


def _does_something(layer: nn.Module) -> bool:
    return not isinstance(layer, nn.Identity) and not (isinstance(layer, Dropout) and layer.p == 0)
