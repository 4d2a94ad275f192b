"""The cells of a search and of the network that it gives.

A cell is a graph: its states are the outputs of the two cells before it, then its nodes; a node is
the sum of operations on earlier states, and the nodes stacked are the output. A reduction cell
halves height and width: its operations on the two inputs have stride 2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.checks import integer
from models.networks.darts.genotype import KEY, Node
from models.networks.darts.mixed_op import MixedOp
from models.networks.darts.operations import FactorizedReduce, act_conv_norm, make_operation
from models.networks.style import Style
from models.networks.widths import at_least_1

STEM = 3
"""Channels of the stem, as a multiple of the width."""


@dataclass(frozen=True, kw_only=True)
class CellShape:
    """Where a cell stands."""

    n_before: int
    """Channels of the cell before the last."""
    n_in: int
    """Channels of the last cell."""
    channels: int
    """Channels of each node."""
    reduction: bool
    """Whether it halves height and width."""
    after_reduction: bool
    """Whether the last cell does."""

    def stride(self, state: int) -> int:
        """Of an operation on this state."""
        return 2 if self.reduction and state < 2 else 1


def cell_shapes(width: int, cells: int, nodes: Mapping[bool, int]) -> list[CellShape]:
    """The cells of a network; those at one and two thirds are reductions and double the width.

    Args:
        width: Channels of the first cell's nodes.
        cells: Number of cells, 3 or more, so that there are both kinds.
        nodes: Nodes of a normal cell (False) and of a reduction cell (True).

    Raises:
        ValueError: `cells` is less than 3, or `width` less than 1.
    """
    integer("model.cells", cells, lambda v: v >= 3, "3 or more: one cell of three reduces")
    at_least_1(width=width)
    reductions = {cells // 3, 2 * cells // 3}
    n_before = n_in = STEM * width
    shapes: list[CellShape] = []
    for i in range(cells):
        reduction = i in reductions
        width *= 2 if reduction else 1
        shapes.append(
            CellShape(
                n_before=n_before,
                n_in=n_in,
                channels=width,
                reduction=reduction,
                after_reduction=i - 1 in reductions,
            )
        )
        n_before, n_in = n_in, width * nodes[reduction]
    return shapes


class _Inputs(nn.Module):
    """Both inputs with the cell's channels and the last cell's height and width."""

    def __init__(self, style: Style, shape: CellShape):
        super().__init__()
        before = FactorizedReduce if shape.after_reduction else act_conv_norm
        self.before = before(style, shape.n_before, shape.channels)
        self.last = act_conv_norm(style, shape.n_in, shape.channels)

    def forward(self, before: Tensor, last: Tensor) -> list[Tensor]:
        return [self.before(before), self.last(last)]


class SearchCell(nn.Module):
    """A cell whose nodes take every earlier state through every operation."""

    def __init__(self, style: Style, shape: CellShape, *, nodes: int, operations: Sequence[str]):
        super().__init__()
        self.inputs = _Inputs(style, shape)
        self.nodes = nn.ModuleList(
            nn.ModuleList(
                MixedOp(operations, style, shape.channels, shape.stride(state))
                for state in range(2 + i)
            )
            for i in range(nodes)
        )

    def forward(self, before: Tensor, last: Tensor, weights: Tensor) -> Tensor:
        """Two states and softmax(alpha) `[edges, operations]` to `[n, nodes * channels, h, w]`."""
        states = self.inputs(before, last)
        edges = iter(weights.unbind())
        for node in self.nodes:
            outputs = [op(s, next(edges).unbind()) for op, s in zip(node, states, strict=True)]  # type: ignore[call-overload]
            states.append(torch.stack(outputs).sum(0))
        return torch.cat(states[2:], dim=1)


class Cell(nn.Module):
    """A cell of a genotype."""

    def __init__(self, style: Style, shape: CellShape, nodes: Sequence[Node]):
        super().__init__()
        self.inputs = _Inputs(style, shape)
        self.states = [edge.state for node in nodes for edge in node]
        self.operations = nn.ModuleList(
            make_operation(edge.operation, style, shape.channels, shape.stride(edge.state), key=KEY)
            for node in nodes
            for edge in node
        )

    def forward(self, before: Tensor, last: Tensor) -> Tensor:
        """Two states to `[n, nodes * channels, h, w]`."""
        states = self.inputs(before, last)
        for i in range(0, len(self.states), 2):
            first, second = self.states[i : i + 2]
            node = self.operations[i](states[first]) + self.operations[i + 1](states[second])
            states.append(node)
        return torch.cat(states[2:], dim=1)
