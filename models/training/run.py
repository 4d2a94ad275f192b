"""What changes while a model trains, and its checkpoint."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.data import Split, Stream
from models.training.batches import batch_sizes, epoch_batches
from models.training.optimizers import Optimizer
from models.training.schedules import Schedule

log = logging.getLogger(__name__)


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
    dropout: torch.Generator
    """Dropout's own generator, on the network's device."""
    epoch: int = 0
    """Epochs done."""
    step: int = 0
    """Steps done in the epoch that is under way."""
    losses: list[Tensor] = field(default_factory=list)
    """Training loss of each of these steps."""
    best: BestEpoch | None = None

    def train_epoch(
        self,
        split: Split | Stream,
        *,
        batch_size: int,
        label_smoothing: float,
        stop: Callable[[], bool] | None = None,
    ) -> float | None:
        """Train to the end of the epoch.

        Returns:
            The training loss, a mean over the rows as they were seen; None if `stop` said so.
        """
        sizes = batch_sizes(split.n_rows, batch_size)
        seed, epoch, start = self.seed, self.epoch, self.step
        parameters = [p for p in self.net.parameters() if p.requires_grad]
        self.net.train()
        for x, y in epoch_batches(split, sizes, seed=seed, epoch=epoch, start=start):
            self._set_lr(len(sizes))
            loss = F.cross_entropy(self.net(x), y, label_smoothing=label_smoothing)
            for parameter in parameters:  # Optimizer.zero_grad takes 35 us more
                parameter.grad = None
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            self.losses.append(loss.detach())
            self.step += 1
            if stop is not None and stop():
                return None
        return self._end_epoch(sizes)

    def _set_lr(self, steps_per_epoch: int) -> None:
        step = self.epoch * steps_per_epoch + self.step
        factor = self.schedule.factor(step, steps_per_epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = group["base_lr"] * factor

    def _end_epoch(self, sizes: list[int]) -> float:
        losses = torch.stack(self.losses).double().cpu()
        self.losses = []
        self.epoch, self.step = self.epoch + 1, 0
        return float(losses @ torch.tensor(sizes).double() / sum(sizes))

    def remember(self, metrics: Mapping[str, float]) -> None:
        """Keep the network as it is as the best epoch."""
        weights = {k: v.clone() for k, v in self.net.state_dict().items()}
        self.best = BestEpoch(epoch=self.epoch, metrics=dict(metrics), weights=weights)

    def state(self) -> dict[str, Any]:
        """All that the rest of the run depends on, and the best epoch."""
        return {
            "seed": self.seed,
            "epoch": self.epoch,
            "step": self.step,
            "losses": torch.stack(self.losses) if self.losses else None,
            "model": (model := self.net.state_dict()),
            "optimizer": {
                "kind": type(self.optimizer).__name__,
                "state": self.optimizer.state_dict()["state"],
            },
            "rng": {"dropout": self.dropout.get_state(), "global": _get_rng(self.dropout.device)},
            "best": self._best_state(model),
        }

    def _best_state(self, model: dict[str, Tensor]) -> dict[str, Any] | None:
        if self.best is None:
            return None
        is_now = self.best.epoch == self.epoch and self.step == 0
        weights = model if is_now else self.best.weights  # the same tensors are stored once
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
        device = self.dropout.device
        self.losses = [] if state["losses"] is None else list(state["losses"].to(device))
        self.dropout.set_state(state["rng"]["dropout"])
        _set_rng(device, state["rng"]["global"])
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


def _get_rng(device: torch.device) -> dict[str, Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def _set_rng(device: torch.device, states: Mapping[str, Tensor]) -> None:
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
