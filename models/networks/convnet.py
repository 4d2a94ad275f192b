"""A plain convolutional network."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from models.checks import integer
from models.choices import choose
from models.layers import Dropout
from models.networks.shape import channels_last, image_shape
from models.networks.style import Style, sequential
from models.networks.widths import at_least_1, stage_widths

POOLINGS: Mapping[str, Callable[[], nn.Module]] = {
    "max": partial(nn.MaxPool2d, 2, ceil_mode=True),
    "avg": partial(nn.AvgPool2d, 2, ceil_mode=True),
    "none": nn.Identity,
}


class ConvNet(nn.Module):
    """Stages of convolutions and pooling, and a linear head on the last feature map, flattened.

    LeCun et al. 1998 (LeNet), in the shape of Simonyan and Zisserman 2015 (VGG, arXiv:1409.1556):
    each stage halves the image and doubles the channels. A stage is convolution, norm, activation,
    `convs` times; the pooling lies under the last norm of its stage, so that norm and activation
    work on a quarter of the elements. An image of 2 pixels or fewer is not pooled further.

    Args:
        in_shape: Channels, height and width of the images.
        out_features: Classes.
        depth: Number of stages; may be None where `width` is a list.
        width: Channels of the first stage, or a list of one number a stage.
        convs: Convolutions in a stage.
        kernel: Height and width of a convolution, an odd number.
        pooling: `max`, `avg`, or `none`: the image keeps its size.
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
        width: int | Sequence[int] = 16,
        convs: int = 1,
        kernel: int = 3,
        pooling: str = "max",
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
        at_least_1(convs=convs)
        integer("model.kernel", kernel, lambda v: v >= 1 and v % 2 == 1, "odd: 3, 5, 7, ...")
        pool = choose(POOLINGS, pooling, key="model.pooling")
        n_in, *size = image_shape(in_shape, model="convnet")
        layers: list[nn.Module] = []
        for n_out in stage_widths(depth, width):
            for _ in range(convs - 1):
                layers += style.conv_norm_act(n_in, n_out, kernel)
                n_in = n_out
            layers.append(style.conv(n_in, n_out, kernel))
            if pooling != "none" and min(size) > 2:
                layers.append(pool())
                size = [math.ceil(pixels / 2) for pixels in size]
            layers += [style.norm2d(n_out), style.act()]
            n_in = n_out
        self.features = sequential(*layers)
        self.dropout = Dropout(dropout)
        self.head = style.head(n_in * math.prod(size), out_features)

    def forward(self, x: Tensor) -> Tensor:
        """`[n, channels, height, width]` to logits `[n, out_features]`."""
        features = self.features(channels_last(x)).flatten(1)
        logits: Tensor = self.head(self.dropout(features))
        return logits
