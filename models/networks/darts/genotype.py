"""A cell architecture as plain JSON, and how the search's alphas become one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from models.choices import choose, miss
from models.networks.darts.operations import OPERATIONS, ZERO

KEY = "model.genotype"
FILE = "genotype.json"


class Edge(NamedTuple):
    """An operation on an earlier state of the cell: 0 and 1 are its inputs, 2 its first node."""

    operation: str
    state: int


Node = tuple[Edge, Edge]


@dataclass(frozen=True)
class Genotype:
    """The nodes of both kinds of cell; each node sums two edges, a cell stacks its nodes.

    Raises:
        ValueError: An operation does not exist, or an edge does not come from an earlier state.
    """

    normal: tuple[Node, ...]
    reduction: tuple[Node, ...]

    def __post_init__(self) -> None:
        for kind, nodes in (("normal", self.normal), ("reduction", self.reduction)):
            if not nodes:
                raise ValueError(f"{KEY}: the {kind} cell has no node")
            for i, node in enumerate(nodes):
                _check(f"{KEY}: node {i} of the {kind} cell", node, states=2 + i)

    def to_dict(self) -> dict[str, list[list[list[str | int]]]]:
        """As plain containers: for each kind of cell its nodes, each two `[operation, state]`."""
        return {
            kind: [[[edge.operation, edge.state] for edge in node] for node in nodes]
            for kind, nodes in (("normal", self.normal), ("reduction", self.reduction))
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Genotype:
        """The inverse of `to_dict`.

        Raises:
            ValueError: The values are not a genotype's.
        """
        try:
            return cls(normal=_nodes(values["normal"]), reduction=_nodes(values["reduction"]))
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"{KEY} is {str(values)[:80]!r}; expected normal and reduction, each a list of "
                "nodes of two [operation, state]"
            ) from error

    def to_json(self) -> str:
        """As strict JSON."""
        return json.dumps(self.to_dict()) + "\n"


def _check(where: str, node: Node, *, states: int) -> None:
    for operation, state in node:
        if operation == ZERO:
            raise ValueError(f"{where} has an edge {ZERO!r}, which is no connection")
        choose(OPERATIONS, operation, key=where)
        if not 0 <= state < states:
            raise ValueError(f"{where} takes state {state}; it must be from 0 to {states - 1}")


def _nodes(values: Sequence[Any]) -> tuple[Node, ...]:
    return tuple((_edge(first), _edge(second)) for first, second in map(_two, values))


def _two(values: Sequence[Any]) -> Sequence[Any]:
    if isinstance(values, str) or len(values) != 2:
        raise TypeError(f"{values!r} is not a pair")
    return values


def _edge(values: Sequence[Any]) -> Edge:
    operation, state = _two(values)
    if not isinstance(operation, str) or not isinstance(state, int):
        raise TypeError(f"{values!r} is not an operation and a state")
    return Edge(operation, state)


def derive(normal: Tensor, reduction: Tensor, operations: Sequence[str]) -> Genotype:
    """The discrete architecture of a search, section 2.4 of DARTS.

    The strength of an edge is the largest softmax(alpha) of its operations other than `none`. Each
    node keeps its two strongest edges, each with its strongest such operation; of equal ones the
    earlier.

    Args:
        normal: Alphas `[edges, operations]` of the normal cell; node i has 2 + i edges, those of
            the first node come first.
        reduction: The same of the reduction cell.
        operations: Names of the operations.
    """
    return Genotype(
        normal=_strongest(normal, operations), reduction=_strongest(reduction, operations)
    )


def _strongest(alphas: Tensor, operations: Sequence[str]) -> tuple[Node, ...]:
    strengths: list[list[float]] = alphas.detach().double().softmax(dim=1).tolist()
    candidates = [i for i, name in enumerate(operations) if name != ZERO]
    best = [max(candidates, key=row.__getitem__) for row in strengths]
    nodes: list[Node] = []
    first = 0
    while first < len(strengths):
        edges = range(first, first + 2 + len(nodes))
        a, b = sorted(sorted(edges, key=lambda e: -strengths[e][best[e]])[:2])
        nodes.append((Edge(operations[best[a]], a - first), Edge(operations[best[b]], b - first)))
        first = edges.stop
    return tuple(nodes)


DARTS_V2 = Genotype.from_dict(
    {
        "normal": [
            [["sep_conv_3x3", 0], ["sep_conv_3x3", 1]],
            [["sep_conv_3x3", 0], ["sep_conv_3x3", 1]],
            [["skip_connect", 0], ["sep_conv_3x3", 1]],
            [["skip_connect", 0], ["dil_conv_3x3", 2]],
        ],
        "reduction": [
            [["max_pool_3x3", 0], ["max_pool_3x3", 1]],
            [["max_pool_3x3", 1], ["skip_connect", 2]],
            [["max_pool_3x3", 0], ["skip_connect", 2]],
            [["max_pool_3x3", 1], ["skip_connect", 2]],
        ],
    }
)
"""What the paper's second-order search found on CIFAR-10, figures 4 and 5."""

GENOTYPES: Mapping[str, Genotype] = {"darts_v2": DARTS_V2}


def read_genotype(genotype: str | Mapping[str, Any]) -> Genotype:
    """A genotype from its name, its mapping, its JSON file, or a folder with `genotype.json`.

    Raises:
        FileNotFoundError: There is no genotype and no file of this name.
        ValueError: It is not a genotype.
    """
    if not isinstance(genotype, str):
        return Genotype.from_dict(genotype)
    if genotype in GENOTYPES:
        return GENOTYPES[genotype]
    path = Path(genotype).expanduser()
    file = path / FILE if path.is_dir() else path
    if not file.is_file():
        known = miss(genotype, list(GENOTYPES), key=KEY)
        raise FileNotFoundError(f"{known}, or a file, or a folder with {FILE}")
    try:
        values = json.loads(file.read_bytes())
    except ValueError as error:
        raise ValueError(f"{KEY}: {file} is not JSON: {error}") from error
    return Genotype.from_dict(values)
