"""The network of an architecture that a search found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from models.layers import Dropout
from models.networks.darts.cell import STEM, Cell, cell_shapes
from models.networks.darts.genotype import read_genotype
from models.networks.shape import channels_last, image_shape
from models.networks.style import Style


class DartsNet(nn.Module):
    """Cells of a genotype, stacked as in the search; see `models.networks.darts.supernet`.

    Args:
        in_shape: Channels, height and width of the images.
        out_features: Classes.
        genotype: A name (`darts_v2`), a mapping, a JSON file, or a folder with `genotype.json`,
            such as a checkpoint or an export of a search.
        width: Channels of the first cell's nodes; reduction cells double it.
        cells: Number of cells, 3 or more; those at one and two thirds are reductions.
        norm: Name of the normalisation, `models.layers.make_norm`.
        groups: Groups of norm `group`; None lets it choose.
        ghost_batch_size: Rows of a part of the batch, for norm `ghost_batch`.
        activation: Name of the nonlinearity.
        dropout: Probability, in [0, 1), that a feature under the head is zeroed in training.
        init: Name of the initial weights.
        generator: Where the initial weights are drawn from; None is torch's global one.

    Raises:
        ValueError: An option is out of its range, or the inputs are no images.
        FileNotFoundError: There is no such genotype.
    """

    def __init__(
        self,
        in_shape: int | Sequence[int],
        out_features: int,
        *,
        genotype: str | Mapping[str, Any] = "darts_v2",
        width: int = 16,
        cells: int = 8,
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
        self.genotype = read_genotype(genotype)
        nodes = {False: self.genotype.normal, True: self.genotype.reduction}
        channels, _, _ = image_shape(in_shape, model="darts")
        counts = {kind: len(cell) for kind, cell in nodes.items()}
        shapes = cell_shapes(width, cells, counts)
        self.stem = style.conv_norm(channels, STEM * width)
        self.cells = nn.ModuleList(Cell(style, shape, nodes[shape.reduction]) for shape in shapes)
        self.dropout = Dropout(dropout)
        n_last = shapes[-1].channels * counts[shapes[-1].reduction]
        self.head = style.head(n_last, out_features)

    def forward(self, x: Tensor) -> Tensor:
        """`[n, channels, height, width]` to logits `[n, out_features]`."""
        before = last = self.stem(channels_last(x))
        for cell in self.cells:
            before, last = last, cell(before, last)
        logits: Tensor = self.head(self.dropout(last.mean((2, 3))))
        return logits
