"""A trained network as one module: raw numeric rows go in, probabilities come out."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from models.data import Column, Preprocessing, Split, Stream
from models.layers.instance_norm import InstanceNorm2d
from models.training.export import Best
from models.training.seeding import set_dropout_generator


class Classifier(nn.Module):
    """`softmax(net((x - shift) / scale) / T)`, where the training mean stands in for NaN.

    In evaluation mode it is `Trainer.predict` without its checks: an infinite value is not refused.
    """

    shift: Tensor
    scale: Tensor
    fill: Tensor

    def __init__(self, net: nn.Module, preprocessing: Preprocessing, *, temperature: float):
        super().__init__()
        dtype = input_dtype(preprocessing.shape)
        for name in ("shift", "scale", "fill"):
            self.register_buffer(name, getattr(preprocessing, name).to(dtype))
        self.net = net
        self.temperature = temperature

    def forward(self, rows: Tensor) -> Tensor:
        """Raw rows `[n, *shape]` to class probabilities `[n, classes]`, float32."""
        x = torch.where(rows.isnan(), self.fill, rows)
        logits: Tensor = self.net(((x - self.shift) / self.scale).float())
        return (logits / self.temperature).softmax(1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Deployable:
    """What a graph of the model is made from, and what its user must know."""

    module: Classifier
    """In evaluation mode, on the CPU; shares nothing with the network it was made from."""
    columns: tuple[Column, ...]
    """Of a raw table, and how each becomes features."""
    shape: tuple[int, ...]
    """Of a numeric row."""
    outputs: tuple[str, ...]
    """Names of the classes, in the order of the probabilities."""
    task: Literal["classification"] = "classification"
    missing: str = "A missing number is NaN and counts as the training mean."

    @property
    def dtype(self) -> str:
        """Of a numeric row."""
        return str(input_dtype(self.shape)).removeprefix("torch.")


def input_dtype(shape: Sequence[int]) -> torch.dtype:
    """Doubles for the rows of a table, whose large offsets need their digits; floats for images."""
    return torch.float32 if len(shape) == 3 else torch.float64


def deployable(best: Best) -> Deployable:
    """A model as one module; see `Classifier`."""
    net = copy.deepcopy(best.net).cpu().eval()
    set_dropout_generator(net, None)
    classifier = Classifier(_exportable(net), best.preprocessing, temperature=best.temperature)
    return Deployable(
        module=classifier.eval().requires_grad_(False),
        columns=best.preprocessing.columns,
        shape=best.preprocessing.shape,
        outputs=best.preprocessing.classes,
    )


def raw_rows(split: Split | Stream, preprocessing: Preprocessing) -> Iterator[Tensor]:
    """The rows of a split as they were before scaling, some at a time.

    Up to rounding: they are scaled back. What was missing is the training mean.
    """
    dtype = input_dtype(preprocessing.shape)
    for x, _ in split.parts():
        yield (x.cpu().double() * preprocessing.scale + preprocessing.shift).to(dtype)


def _exportable(net: nn.Module) -> nn.Module:
    """The network in layers that `torch.export` takes; what it computes stays.

    An instance norm is a group norm of one feature a group; exported as it is, its number of rows
    would be that of the example.
    """
    for layer in list(net.modules()):
        for name, child in layer.named_children():
            if isinstance(child, InstanceNorm2d):
                setattr(layer, name, _as_group_norm(child))
    return net


def _as_group_norm(norm: InstanceNorm2d) -> nn.GroupNorm:
    twin = nn.GroupNorm(norm.num_features, norm.num_features, eps=norm.eps, affine=norm.affine)
    if norm.affine:
        twin.weight, twin.bias = norm.weight, norm.bias
    return twin
