"""Initial weights by name, drawn from a generator that is passed in."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from models.choices import choose

Init = Callable[[Tensor, torch.Generator | None], object]


def _xavier(weight: Tensor, generator: torch.Generator | None) -> object:
    return nn.init.xavier_uniform_(weight, generator=generator)


def _kaiming(weight: Tensor, generator: torch.Generator | None) -> object:
    return nn.init.kaiming_normal_(weight, nonlinearity="relu", generator=generator)


def _normal(weight: Tensor, generator: torch.Generator | None) -> object:
    return nn.init.normal_(weight, 0.0, 1 / math.sqrt(weight[0].numel()), generator=generator)


def _uniform(weight: Tensor, generator: torch.Generator | None) -> object:
    bound = 1 / math.sqrt(weight[0].numel())
    return nn.init.uniform_(weight, -bound, bound, generator=generator)


def _orthogonal(weight: Tensor, generator: torch.Generator | None) -> object:
    return nn.init.orthogonal_(weight, generator=generator)


def _zeros(weight: Tensor, generator: torch.Generator | None) -> object:
    return nn.init.zeros_(weight)


INITS: Mapping[str, Init] = {
    "xavier": _xavier,
    "kaiming": _kaiming,
    "normal": _normal,
    "uniform": _uniform,
    "orthogonal": _orthogonal,
    "zeros": _zeros,
}


def init_weight(weight: Tensor, name: str, *, generator: torch.Generator | None = None) -> None:
    """Fill a weight `[n_out, n_in]` or `[n_out, n_in, height, width]` in place.

    For a convolution n_in and n_out below are times the kernel's height * width: so many inputs
    make an output. `xavier` is uniform (Glorot and Bengio 2010), `kaiming` normal with variance
    2/n_in (He et al. 2015, arXiv:1502.01852), `normal` has variance 1/n_in, `uniform` lies within
    1/sqrt(n_in), `orthogonal` is Saxe et al. 2014 (arXiv:1312.6120); `zeros` suits a single linear
    layer.

    Raises:
        ValueError: There is no init of this name.
    """
    choose(INITS, name, key="model.init")(weight, generator)
