"""A small network of Inception modules."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.layers import Dropout
from models.networks.shape import channels_last, image_shape
from models.networks.style import Style
from models.networks.widths import at_least_1, stage_widths


class Inception(nn.Module):
    """Four branches side by side: 1x1, 3x3, 5x5, and pooling; 1x1 convolutions reduce the last.

    Szegedy et al. 2015, arXiv:1409.4842, figure 2b, each convolution with a norm (Ioffe and Szegedy
    2015). The branches share the output as in module 3a of their table 1, 2 : 4 : 1 : 1; the 3x3
    branch is reduced to 3/4, the 5x5 branch to 1/2 of what it gives.

    Args:
        style: How the layers are built.
        n_in: Channels of the input.
        n_out: Channels of the output, a multiple of 8.
    """

    def __init__(self, style: Style, n_in: int, n_out: int):
        super().__init__()
        part, block = n_out // 8, style.conv_norm_act
        self.one = block(n_in, 2 * part, 1)
        self.three = nn.Sequential(block(n_in, 3 * part, 1), block(3 * part, 4 * part, 3))
        reduced = max(1, part // 2)
        self.five = nn.Sequential(block(n_in, reduced, 1), block(reduced, part, 5))
        self.pool = nn.Sequential(nn.MaxPool2d(3, 1, padding=1), block(n_in, part, 1))

    def forward(self, x: Tensor) -> Tensor:
        """`[n, n_in, h, w] -> [n, n_out, h, w]`."""
        return torch.cat([self.one(x), self.three(x), self.five(x), self.pool(x)], dim=1)


class InceptionNet(nn.Module):
    """A 3x3 stem, stages of Inception modules with max-pooling in between, and a linear head.

    GoogLeNet for small images, without its auxiliary heads. The last feature map is averaged over
    its positions.

    Args:
        in_shape: Channels, height and width of the images.
        out_features: Classes.
        depth: Number of stages; may be None where `width` is a list.
        width: Channels of the first stage, doubled at each further one, or a list of one number a
            stage; multiples of 8.
        modules: Inception modules in a stage.
        norm: Name of the normalisation, `models.layers.make_norm`.
        groups: Groups of norm `group`; None lets it choose.
        ghost_batch_size: Rows of a part of the batch, for norm `ghost_batch`.
        activation: Name of the nonlinearity.
        dropout: Probability, in [0, 1), that a feature under the head is zeroed in training.
        init: Name of the initial weights.
        generator: Where the initial weights are drawn from; None is torch's global one.

    Raises:
        ValueError: An option is out of its range, or the inputs are no images.
    """

    def __init__(
        self,
        in_shape: int | Sequence[int],
        out_features: int,
        *,
        depth: int | None = None,
        width: int | Sequence[int] = 32,
        modules: int = 1,
        norm: str = "batch",
        groups: int | None = None,
        ghost_batch_size: int = 32,
        activation: str = "relu",
        dropout: float = 0.0,
        init: str = "kaiming",
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        style = Style(
            norm=norm,
            groups=groups,
            ghost_batch_size=ghost_batch_size,
            activation=activation,
            init=init,
            generator=generator,
        )
        at_least_1(modules=modules)
        channels, _, _ = image_shape(in_shape, model="inception")
        widths = stage_widths(depth, width, default_depth=2)
        if any(n % 8 for n in widths):
            raise ValueError(
                f"model.width is {width}; it must be a multiple of 8: the branches take 2, 4, 1 "
                "and 1 eighths"
            )
        n_in = widths[0]
        layers: list[nn.Module] = [style.conv_norm_act(channels, n_in)]
        for n_out in widths:
            layers.append(nn.MaxPool2d(3, 2, padding=1))
            for _ in range(modules):
                layers.append(Inception(style, n_in, n_out))
                n_in = n_out
        self.features = nn.Sequential(*layers)
        self.dropout = Dropout(dropout)
        self.head = style.head(n_in, out_features)

    def forward(self, x: Tensor) -> Tensor:
        """`[n, channels, height, width]` to logits `[n, out_features]`."""
        features = self.features(channels_last(x)).mean((2, 3))
        logits: Tensor = self.head(self.dropout(features))
        return logits
