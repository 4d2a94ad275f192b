"""The continuous relaxation of all architectures of a search."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.choices import choose
from models.networks.darts.cell import STEM, SearchCell, cell_shapes
from models.networks.darts.genotype import Genotype, derive
from models.networks.darts.operations import OPERATIONS, ZERO
from models.networks.shape import channels_last, image_shape
from models.networks.style import Style
from models.networks.widths import at_least_1


class SearchStyle(Style):
    """Batch norm without scale and shift, which would rescale the operations' outputs."""

    def norm2d(self, features: int) -> nn.Module:
        """The norm over `[n, features, h, w]`."""
        return nn.BatchNorm2d(features, affine=False)


class DartsSupernet(nn.Module):
    """Liu et al. 2019 (DARTS, arXiv:1806.09055): every edge is a mixture of all operations.

    The weights softmax(alpha) of the mixtures are shared by all normal cells, and by all reduction
    cells. `trainer=darts` learns them on rows of their own; no other trainer takes the network.
    `derive` gives the architecture, to be trained anew as `DartsNet`.

    Args:
        in_shape: Channels, height and width of the images.
        out_features: Classes.
        width: Channels of the first cell's nodes; reduction cells double it.
        cells: Number of cells, 3 or more; those at one and two thirds are reductions.
        nodes: Nodes of a cell.
        operations: Names of the operations to choose from, two or more.
        activation: Name of the nonlinearity.
        init: Name of the initial weights.
        generator: Where the initial weights are drawn from; None is torch's global one.

    Raises:
        ValueError: An option is out of its range, or the inputs are no images.
    """

    needs_trainer = "darts"

    def __init__(
        self,
        in_shape: int | Sequence[int],
        out_features: int,
        *,
        width: int = 16,
        cells: int = 8,
        nodes: int = 4,
        operations: Sequence[str] = tuple(OPERATIONS),
        activation: str = "relu",
        init: str = "kaiming",
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        at_least_1(nodes=nodes)
        check_operations(operations)
        channels, _, _ = image_shape(in_shape, model="darts_supernet")
        style = SearchStyle(activation=activation, init=init, generator=generator)
        shapes = cell_shapes(width, cells, {False: nodes, True: nodes})
        self.operations = tuple(operations)
        self.reductions = [shape.reduction for shape in shapes]
        self.stem = style.conv_norm(channels, STEM * width)
        self.cells = nn.ModuleList(
            SearchCell(style, shape, nodes=nodes, operations=operations) for shape in shapes
        )
        self.head = style.head(shapes[-1].channels * nodes, out_features)
        edges = sum(2 + i for i in range(nodes))
        self.alpha_normal = _alphas(edges, len(operations), generator)
        self.alpha_reduction = _alphas(edges, len(operations), generator)

    def forward(self, x: Tensor) -> Tensor:
        """`[n, channels, height, width]` to logits `[n, out_features]`."""
        normal, reduction = self.alpha_normal.softmax(1), self.alpha_reduction.softmax(1)
        before = last = self.stem(channels_last(x))
        for cell, reduces in zip(self.cells, self.reductions, strict=True):
            before, last = last, cell(before, last, reduction if reduces else normal)
        logits: Tensor = self.head(last.mean((2, 3)))
        return logits

    def architecture_parameters(self) -> list[nn.Parameter]:
        """The alphas; all other parameters are weights."""
        return [self.alpha_normal, self.alpha_reduction]

    def derive(self) -> Genotype:
        """The architecture that the alphas stand for."""
        return derive(self.alpha_normal, self.alpha_reduction, self.operations)


def check_operations(operations: Sequence[str]) -> None:
    """Check the names of the operations to choose from.

    Raises:
        ValueError: One does not exist or stands twice, or there is nothing to choose.
    """
    for name in operations:
        choose(OPERATIONS, name, key="model.operations")
    if len(set(operations)) < max(2, len(operations)) or set(operations) <= {ZERO}:
        raise ValueError(
            f"model.operations is {list(operations)}; it must name two or more, each once"
        )


def _alphas(edges: int, operations: int, generator: torch.Generator | None) -> nn.Parameter:
    """Near zero: all operations begin alike."""
    return nn.Parameter(1e-3 * torch.randn(edges, operations, generator=generator))
