"""What changes while a model trains, and its checkpoint."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from models.data import Split, Stream
from models.layers import precise_batch_norm
from models.training.averaging import NoAveraging
from models.training.batches import batch_sizes, epoch_batches, some_inputs
from models.training.distributed import Ranks
from models.training.optimizers import Optimizer
from models.training.schedules import Schedule
from models.training.seeding import get_rng, set_rng
from models.training.statistics import observe
from models.training.step import GradientStep

log = logging.getLogger(__name__)

CHECK_EVERY = 50
"""Steps between two looks at the loss on a GPU, each of which waits for it; a CPU's is free."""


@dataclass(kw_only=True)
class BestEpoch:
    """The epoch with the best validation metric so far."""

    epoch: int
    metrics: dict[str, float]
    weights: dict[str, Tensor]


@dataclass(kw_only=True)
class Run:
    """One training run, between any two of its steps."""

    seed: int
    net: nn.Module
    optimizer: Optimizer
    schedule: Schedule
    averaging: NoAveraging
    dropout: torch.Generator
    """Dropout's own generator, on the network's device."""
    ranks: Ranks | None = None
    """Where several processes train the network."""
    epoch: int = 0
    """Epochs done."""
    step: int = 0
    """Steps done in the epoch that is under way."""
    losses: list[Tensor] = field(default_factory=list)
    """Training loss of each of these steps."""
    history: list[dict[str, float]] = field(default_factory=list)
    """Metrics of each epoch done."""
    best: BestEpoch | None = None

    def train_epoch(
        self,
        split: Split | Stream,
        take_step: GradientStep,
        *,
        batch_size: int,
        statistics: bool = False,
        stop: Callable[[], bool] | None = None,
    ) -> float | None:
        """Train to the end of the epoch, or to a loss that is not finite.

        Args:
            split: The training rows.
            take_step: Moves the weights.
            batch_size: Rows of a step.
            statistics: Log what happens inside the network in the epoch's first step.
            stop: Asked after each step; True leaves the epoch there.

        Returns:
            The training loss, a mean over the rows as they were seen; None if `stop` said so.
        """
        sizes = batch_sizes(split.n_rows, batch_size)
        seed, epoch, start = self.seed, self.epoch, self.step
        check_every = 1 if self.dropout.device.type == "cpu" else CHECK_EVERY
        self.net.train()
        for x, y in epoch_batches(split, sizes, seed=seed, epoch=epoch, start=start):
            self._set_lr(len(sizes))
            if self.ranks is not None:
                self.ranks.batch = sizes[self.step]
            if statistics and self.step == 0:
                loss = self._observed(take_step, x, y)
            else:
                loss = take_step(x, y)
            self.averaging.after_step()
            self.losses.append(loss)
            self.step += 1
            if self.step % check_every == 0 and not math.isfinite(loss.item()):
                break
            if stop is not None and stop():
                return None
        return self._end_epoch(sizes)

    def _set_lr(self, steps_per_epoch: int) -> None:
        step = self.epoch * steps_per_epoch + self.step
        factor = self.averaging.lr_factor(step, steps_per_epoch)
        if factor is None:
            factor = self.schedule.factor(step, steps_per_epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = group["base_lr"] * factor

    def _observed(self, take_step: GradientStep, x: Tensor, y: Tensor) -> Tensor:
        with observe(self.net) as seen:
            loss = take_step.backward(x, y)
        seen.loss = loss.item()
        take_step.update()
        log.info("epoch %d\n  %s", self.epoch + 1, "\n  ".join(seen.lines()))
        for problem in seen.problems():
            log.warning("epoch %d: %s", self.epoch + 1, problem)
        return loss

    def _end_epoch(self, sizes: list[int]) -> float:
        losses = torch.stack(self.losses).double().cpu()
        rows = torch.tensor(sizes[: len(losses)]).double()
        self.losses = []
        self.epoch, self.step = self.epoch + 1, 0
        self.averaging.after_epoch(self.epoch)
        return float(losses @ rows / rows.sum())

    def evaluated_net(self, split: Split | Stream, *, batch_size: int) -> nn.Module:
        """The network that counts: averaged where there is an average, else as it is.

        The batch norms of an average have seen none of their inputs: their statistics are estimated
        anew on training rows.
        """
        averaged = self.averaging.net
        if averaged is None:
            return self.net
        rows = self.averaging.batch_norm_rows
        inputs = some_inputs(split, batch_size, seed=self.seed, epoch=self.epoch, rows=rows)
        if self.ranks is not None:
            inputs = map(self.ranks.own_rows, inputs)
        precise_batch_norm(averaged, inputs)
        return averaged

    def remember(self, metrics: Mapping[str, float]) -> None:
        """Keep the network that counts as the best epoch."""
        weights = {k: v.clone() for k, v in self._counting().state_dict().items()}
        self.best = BestEpoch(epoch=self.epoch, metrics=dict(metrics), weights=weights)

    def _counting(self) -> nn.Module:
        return self.net if self.averaging.net is None else self.averaging.net

    def state(self) -> dict[str, Any]:
        """All that the rest of the run depends on, and the best epoch."""
        return {
            "seed": self.seed,
            "epoch": self.epoch,
            "step": self.step,
            "losses": torch.stack(self.losses) if self.losses else None,
            "history": self.history,
            "model": self.net.state_dict(),
            "averaging": self.averaging.state(),
            "optimizer": {
                "kind": type(self.optimizer).__name__,
                "state": self.optimizer.state_dict()["state"],
            },
            "rng": {"dropout": self.dropout.get_state(), "global": get_rng(self.dropout.device)},
            "best": self._best_state(),
        }

    def _best_state(self) -> dict[str, Any] | None:
        if self.best is None:
            return None
        is_now = self.best.epoch == self.epoch and self.step == 0
        # the same tensors are stored once
        weights = self._counting().state_dict() if is_now else self.best.weights
        return {"epoch": self.best.epoch, "metrics": self.best.metrics, "model": weights}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken.

        Hyperparameters (learning rate, momentum, ...) are the present ones, not the checkpoint's,
        so that they may be changed on the way.

        Raises:
            ValueError: The state is of another architecture.
        """
        load_weights(self.net, state["model"])
        self._restore_optimizer(state["optimizer"])
        self.epoch, self.step = state["epoch"], state["step"]
        self.history = list(state.get("history", []))  # an earlier version's has none
        self.averaging.restore(state.get("averaging", {"kind": "NoAveraging"}))
        device = self.dropout.device
        self.losses = [] if state["losses"] is None else list(state["losses"].to(device))
        self.dropout.set_state(state["rng"]["dropout"])
        set_rng(device, state["rng"]["global"])
        if (best := state["best"]) is not None:
            self.best = BestEpoch(
                epoch=best["epoch"],
                metrics=best["metrics"],
                weights={k: v.to(device) for k, v in best["model"].items()},
            )
        if self.seed != state["seed"]:
            log.warning("seed is %d; the checkpoint's was %d", self.seed, state["seed"])

    def _restore_optimizer(self, state: Mapping[str, Any]) -> None:
        kind = type(self.optimizer).__name__
        if state["kind"] != kind:
            log.warning("the checkpoint's optimizer is %s: %s begins anew", state["kind"], kind)
            return
        groups = self.optimizer.state_dict()["param_groups"]  # the present hyperparameters
        self.optimizer.load_state_dict({"state": state["state"], "param_groups": groups})


def load_weights(net: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Copy weights into a network.

    Raises:
        ValueError: They are of another architecture.
    """
    try:
        net.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"the checkpoint is of another model: {error}") from error
