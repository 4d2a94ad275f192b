"""A residual network for small images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from models.checks import integer
from models.choices import choose
from models.layers import Dropout
from models.networks.compound import CompoundScaling
from models.networks.shape import channels_last, image_shape
from models.networks.style import Style
from models.networks.widths import at_least_1, is_list


class Residual(nn.Module):
    """`act(branch(x) + shortcut(x))`, equation 2 of the paper."""

    def __init__(self, branch: nn.Sequential, shortcut: nn.Sequential, act: nn.Module):
        super().__init__()
        self.branch = branch
        self.shortcut = shortcut
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        """`[n, n_in, h, w] -> [n, n_out, h', w']`."""
        out: Tensor = self.act(self.branch(x) + self.shortcut(x))
        return out


def basic(style: Style, n_in: int, width: int, stride: int) -> nn.Sequential:
    """Two 3x3 convolutions."""
    return nn.Sequential(
        *style.conv_norm_act(n_in, width, stride=stride),
        *style.conv_norm(width, width),
    )


def bottleneck(style: Style, n_in: int, width: int, stride: int) -> nn.Sequential:
    """A 1x1, a 3x3 and a 1x1 convolution (figure 5), to four times the width."""
    return nn.Sequential(
        *style.conv_norm_act(n_in, width, 1),
        *style.conv_norm_act(width, width, stride=stride),
        *style.conv_norm(width, 4 * width, 1),
    )


@dataclass(frozen=True)
class Block:
    """A kind of residual branch, and how many times its width it gives out."""

    branch: Callable[[Style, int, int, int], nn.Sequential]
    expansion: int


BLOCKS: Mapping[str, Block] = {"basic": Block(basic, 1), "bottleneck": Block(bottleneck, 4)}


class ResNet(nn.Module):
    """He et al. 2016, arXiv:1512.03385, section 4.2: a 3x3 stem without pooling, stages of blocks.

    Each stage but the first halves the image and doubles the width, with a 1x1 convolution on the
    shortcut; the last feature map is averaged over its positions. With the basic block, stages
    of n blocks make 2 * n * stages + 2 layers. `phi`, `alpha`, `beta` and `gamma` scale it, see
    `models.networks.compound`; the images are resized inside, so that data sets need no change.

    Args:
        in_shape: Channels, height and width of the images.
        out_features: Classes.
        block: `basic` or `bottleneck`.
        depth: Blocks of each stage, or a list of one number a stage.
        stages: Number of stages; None is 3, or as many as `depth` lists.
        width: Width of the first stage's blocks.
        zero_init: Let each block begin as its shortcut: the last norm's scale begins at zero, or,
            without norm, the last convolution (Goyal et al. 2017, arXiv:1706.02677, section 5.1).
        phi: Compound coefficient; 0 is the network as the other options say.
        alpha: Depth grows as alpha^phi; 1 or more.
        beta: Width grows as beta^phi; 1 or more.
        gamma: Height and width of the image grow as gamma^phi; 1 or more.
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
        block: str = "basic",
        depth: int | Sequence[int] = 2,
        stages: int | None = None,
        width: int = 16,
        zero_init: bool = True,
        phi: float = 0.0,
        alpha: float = 1.2,
        beta: float = 1.1,
        gamma: float = 1.15,
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
        scaling = CompoundScaling(phi=phi, alpha=alpha, beta=beta, gamma=gamma)
        channels, *size = image_shape(in_shape, model="resnet")
        at_least_1(width=width)
        self.size = tuple(map(scaling.resolution, size))
        kind = choose(BLOCKS, block, key="model.block")
        n_out = scaling.width(width)
        self.stem = style.conv_norm_act(channels, n_out)
        n_in, blocks = n_out, list[Residual]()
        for stage, count in enumerate(map(scaling.depth, stage_blocks(depth, stages))):
            n_out = scaling.width(width * 2**stage)
            for i in range(count):
                stride = 2 if i == 0 and stage > 0 else 1
                blocks.append(_residual(kind, style, n_in, n_out, stride, zero_init=zero_init))
                n_in = n_out * kind.expansion
        self.blocks = nn.Sequential(*blocks)
        self.dropout = Dropout(dropout)
        self.head = style.head(n_in, out_features)

    def forward(self, x: Tensor) -> Tensor:
        """`[n, channels, height, width]` to logits `[n, out_features]`."""
        x = channels_last(x)
        if x.shape[2:] != self.size:
            x = F.interpolate(x, list(self.size), mode="bilinear", align_corners=False)
        features = self.blocks(self.stem(x)).mean((2, 3))
        logits: Tensor = self.head(self.dropout(features))
        return logits


def stage_blocks(depth: int | Sequence[int], stages: int | None) -> list[int]:
    """Blocks of each stage.

    Raises:
        ValueError: A number is less than 1, or both disagree.
    """
    integer("model.stages", stages, lambda v: v >= 1, "1 or more", null=True)
    blocks = list(depth) if is_list(depth) else [depth] * (3 if stages is None else stages)
    if stages is not None and stages != len(blocks):
        raise ValueError(
            f"model.stages is {stages} and model.depth lists {len(blocks)} stages; "
            "they must agree, or model.stages be null"
        )
    at_least_1(stages=len(blocks))
    for count in blocks:
        at_least_1(depth=count)
    return blocks


def _residual(
    kind: Block, style: Style, n_in: int, width: int, stride: int, *, zero_init: bool
) -> Residual:
    branch = kind.branch(style, n_in, width, stride)
    if zero_init:
        _begin_at_zero(branch[-1])
    n_out = width * kind.expansion
    same = stride == 1 and n_in == n_out
    shortcut = nn.Sequential() if same else style.conv_norm(n_in, n_out, 1, stride=stride)
    return Residual(branch, shortcut, style.act())


def _begin_at_zero(last: nn.Module) -> None:
    """Zero a norm's scale, a convolution's weight, or its length under weight norm."""
    weight = (
        last.parametrizations.weight.original0  # type: ignore[union-attr]
        if is_parametrized(last, "weight")
        else last.weight
    )
    nn.init.zeros_(weight)  # type: ignore[arg-type]
