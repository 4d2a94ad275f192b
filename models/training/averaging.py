"""Averages of the weights over a training run, which often generalise better than the last ones."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from models.checks import integer, number, require
from models.training.seeding import set_dropout_generator

log = logging.getLogger(__name__)


class NoAveraging:
    """The weights as they are; what averages them derives from this.

    Args:
        net: The network that is trained.
        epochs: Length of the run.
        batch_norm_rows: Training rows on which batch norm's statistics are estimated anew for the
            averaged weights; None is all of them.

    Raises:
        ValueError: An option is out of its range.
    """

    net: nn.Module | None
    """The network with averaged weights; None where there is no average yet."""

    def __init__(self, net: nn.Module, *, epochs: int, batch_norm_rows: int | None = 10_000):
        rows = batch_norm_rows
        integer("averaging.batch_norm_rows", rows, lambda v: v >= 2, "2 or more", null=True)
        self.batch_norm_rows = rows
        self.net = None
        self._trained = net
        self._count = 0
        self._floats: tuple[list[Tensor], list[Tensor]] = ([], [])
        self._others: list[tuple[Tensor, Tensor]] = []

    def after_step(self) -> None:
        """Hear that the network made a step."""

    def after_epoch(self, epoch: int) -> None:
        """Hear that the network ended an epoch, counted from 1."""

    def lr_factor(self, step: int, steps_per_epoch: int) -> float | None:
        """The learning rate's factor where averaging wants one of its own; steps count from 0."""
        return None

    def state(self) -> dict[str, Any]:
        """What `restore` needs."""
        weights = None if self.net is None else self.net.state_dict()
        return {"kind": type(self).__name__, "count": self._count, "model": weights}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken; another kind of averaging begins anew and says so."""
        kind = type(self).__name__
        if state["kind"] != kind:
            log.warning("the checkpoint's averaging is %s: %s begins anew", state["kind"], kind)
            return
        self._count = state["count"]
        if state["model"] is not None:
            self._begin().load_state_dict(state["model"])

    def _begin(self) -> nn.Module:
        """A copy of the network to average in; buffers count, since statistics move too."""
        net = copy.deepcopy(self._trained).requires_grad_(False).eval()
        set_dropout_generator(net, None)
        pairs = list(zip(_tensors(net), _tensors(self._trained), strict=True))
        floats = [pair for pair in pairs if pair[0].is_floating_point()]
        self._others = [pair for pair in pairs if not pair[0].is_floating_point()]
        self._floats = [mine for mine, _ in floats], [theirs for _, theirs in floats]
        self.net = net
        return net

    @torch.no_grad()
    def _add(self, weight: float) -> None:
        """Move the average by `weight` of the way to the network as it is."""
        if self.net is None:
            self._begin()
        torch._foreach_lerp_(*self._floats, weight)
        for mine, theirs in self._others:
            mine.copy_(theirs)


class EMA(NoAveraging):
    """Exponential moving average of each step's weights.

    After step t it is sum_i decay^(t-i) w_i / sum_i decay^(t-i): Polyak averaging (Polyak and
    Juditsky 1992) that forgets, with Adam's correction (Kingma and Ba 2015, section 3) so that the
    initial weights have no part in it. Step by step, with b = (1 - decay) / (1 - decay^t), it is
    avg += b (w - avg).

    Args:
        net: The network that is trained.
        epochs: Length of the run.
        decay: Weights of 1 / (1 - decay) steps ago count 1/e of the present ones.
        batch_norm_rows: See `NoAveraging`.

    Raises:
        ValueError: An option is out of its range.
    """

    def __init__(
        self,
        net: nn.Module,
        *,
        epochs: int,
        decay: float = 0.998,
        batch_norm_rows: int | None = 10_000,
    ):
        number("averaging.decay", decay, lambda v: 0 < v < 1, "more than 0 and less than 1")
        super().__init__(net, epochs=epochs, batch_norm_rows=batch_norm_rows)
        self._decay = decay

    def after_step(self) -> None:
        """Add the step's weights."""
        self._count += 1
        self._add((1 - self._decay) / (1 - self._decay**self._count))


class SWA(NoAveraging):
    """Stochastic weight averaging (Izmailov et al. 2018, arXiv:1803.05407).

    The mean of the weights at the end of each of the last epochs, while a learning rate that stays
    high, or falls again and again, keeps them moving. In cycles the learning rate falls linearly
    (section 3.2) and the weights at the end of each cycle count.

    Args:
        net: The network that is trained.
        epochs: Length of the run.
        last_epochs: How many epochs, the last of the run, are averaged.
        start_epoch: Or: after how many epochs averaging begins. Exactly one of the two is set.
        lr_factor: The learning rate's factor while averaging; None keeps the schedule's.
        cycle_epochs: Length of a cycle in epochs; None keeps the factor constant.
        cycle_end: The factor at the end of a cycle.
        batch_norm_rows: See `NoAveraging`.

    Raises:
        ValueError: An option is out of its range, or options disagree.
    """

    def __init__(
        self,
        net: nn.Module,
        *,
        epochs: int,
        last_epochs: int | None = None,
        start_epoch: int | None = None,
        lr_factor: float | None = None,
        cycle_epochs: int | None = None,
        cycle_end: float = 0.05,
        batch_norm_rows: int | None = 10_000,
    ):
        super().__init__(net, epochs=epochs, batch_norm_rows=batch_norm_rows)
        if (last_epochs is None) == (start_epoch is None):
            raise ValueError(
                f"averaging.last_epochs is {last_epochs} and averaging.start_epoch is "
                f"{start_epoch}; one of them must be a number, the other null"
            )
        if last_epochs is not None:
            integer("averaging.last_epochs", last_epochs, lambda v: v >= 1, "1 or more")
        if start_epoch is not None:
            integer("averaging.start_epoch", start_epoch, lambda v: v >= 0, "0 or more")
        if lr_factor is not None:
            number("averaging.lr_factor", lr_factor, lambda v: v > 0, "more than 0, or null")
        if cycle_epochs is not None:
            integer("averaging.cycle_epochs", cycle_epochs, lambda v: v >= 1, "1 or more")
            require(lr_factor is not None, "averaging.lr_factor", None, "a number where cycles are")
        number("averaging.cycle_end", cycle_end, lambda v: v >= 0, "0 or more")
        self._start = max(epochs - last_epochs, 0) if last_epochs is not None else start_epoch or 0
        self._factor, self._cycle, self._end = lr_factor, cycle_epochs, cycle_end

    def after_epoch(self, epoch: int) -> None:
        """Add the weights at the end of an epoch, or of a cycle."""
        done = epoch - self._start
        if done >= 1 and done % (self._cycle or 1) == 0:
            self._count += 1
            self._add(1 / self._count)

    def lr_factor(self, step: int, steps_per_epoch: int) -> float | None:
        """Constant or cyclic, once averaging has begun."""
        i = step - self._start * steps_per_epoch
        if self._factor is None or i < 0:
            return None
        if self._cycle is None:
            return self._factor
        length = self._cycle * steps_per_epoch
        progress = (i % length + 1) / length
        return (1 - progress) * self._factor + progress * self._end


def _tensors(net: nn.Module) -> list[Tensor]:
    return [*(p.detach() for p in net.parameters()), *net.buffers()]
