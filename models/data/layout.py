"""Arrays of rows and of images to one order of axes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from models.choices import choose

Array = np.ndarray[Any, Any]
Layout = Literal["auto", "flat", "hw", "hwc", "chw"]

LAYOUTS: Mapping[str, int | None] = {"auto": None, "flat": None, "hw": 3, "hwc": 4, "chw": 4}
"""How many axes an array of a layout has; None is any number."""

CHANNELS = (1, 3, 4)
"""Of an image in grey, in colour, and with transparency."""


def arrange(x: Array, layout: str, *, where: str) -> Array:
    """Rows as `[n, features]`, images as `[n, channels, height, width]`.

    Args:
        x: `[n, ...]`.
        layout: Axes after the first: `hw`, `hwc` or `chw` of images, `flat` for a table of all
            values. `auto` takes two axes for a table, three for images `hw`, and of four the one
            that is 1, 3 or 4 long for the channels.
        where: Where the array is from, for messages.

    Raises:
        ValueError: The array is not of this layout, or it cannot be told which one it is of.
    """
    axes = choose(LAYOUTS, layout, key="data.layout")
    if layout == "auto":
        layout = _recognize(x, where)
    elif axes is not None and x.ndim != axes:
        raise ValueError(f"data.layout is {layout!r}, but x of {where} has shape {x.shape}")
    if layout == "hw":
        return x[:, None]
    if layout == "hwc":
        return np.moveaxis(x, -1, 1)
    return x if layout == "chw" else x.reshape(len(x), -1)


def _recognize(x: Array, where: str) -> str:
    if x.ndim < 4:
        return "hw" if x.ndim == 3 else "flat"
    if x.ndim == 4:
        first, last = x.shape[1] in CHANNELS, x.shape[3] in CHANNELS
        if first != last:
            return "chw" if first else "hwc"
    raise ValueError(
        f"data.path: x of {where} has shape {x.shape}, which is not known to be of images: "
        "set data.layout to hwc, chw or flat"
    )
