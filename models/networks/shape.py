"""The shape of one input, as a data set gives it to a network."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def flat_features(in_shape: int | Sequence[int]) -> int:
    """How many numbers an input of this shape has.

    Raises:
        ValueError: A size is less than 1.
    """
    sizes = [in_shape] if isinstance(in_shape, int) else list(in_shape)
    if not sizes or any(size < 1 for size in sizes):
        raise ValueError(f"the inputs have shape {in_shape}; each size must be 1 or more")
    return math.prod(sizes)


def image_shape(in_shape: int | Sequence[int], *, model: str) -> tuple[int, int, int]:
    """Channels, height and width of an input that must be an image.

    Args:
        in_shape: What the data set says.
        model: The network that asks, for the message.

    Raises:
        ValueError: It is no image.
    """
    sizes = [in_shape] if isinstance(in_shape, int) else list(in_shape)
    if len(sizes) != 3 or any(size < 1 for size in sizes):
        raise ValueError(
            f"model={model} takes images (channels, height, width), and the inputs have shape "
            f"({', '.join(map(str, sizes))}); choose data with images, or model=mlp"
        )
    channels, height, width = sizes
    return channels, height, width


def channels_last(images: Tensor) -> Tensor:
    """The same images `[n, c, h, w]` with the channels next to each other in memory.

    Convolutions hand this layout on, and are 1.5 to 2 times as fast in it on a CPU. It takes a
    copy: an image of one channel counts as laid out both ways, and would go on as the other.
    """
    return images.clone(memory_format=torch.channels_last)
