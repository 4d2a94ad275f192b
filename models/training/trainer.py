"""Training of one classifier, from the parts of its config to its best epoch."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from models.checks import require
from models.data import Dataset, Preprocessing, Split, Stream
from models.layers import class_weights
from models.networks.predict import predict_logits
from models.training.averaging import NoAveraging
from models.training.checkpoint import load_checkpoint, save_checkpoint
from models.training.compilation import compiled
from models.training.distributed import Ranks
from models.training.early_stopping import has_stalled
from models.training.evaluation import METRICS, diverged_metrics, epoch_metrics, evaluate
from models.training.fit import Ended, Fit, Save
from models.training.loss import Forward, Loss
from models.training.lr_range_test import LrRangeTest, lr_range_test
from models.training.precision import in_bfloat16
from models.training.run import BestEpoch, Run, load_weights
from models.training.seeding import derive_seed, num_threads, seeded, set_dropout_generator
from models.training.step import GradientStep
from models.training.trained import TrainedModels

log = logging.getLogger(__name__)

OnEpoch = Callable[[int, dict[str, float], Save], None]


@dataclass(kw_only=True)
class Trainer(TrainedModels):
    """Trains a classifier with cross entropy, and keeps its best epoch.

    `parts` below is a mapping with the keys

    - `model`: `model(in_shape, out_features) -> nn.Module` that returns logits; `in_shape` is
      `(features,)`, or `(channels, height, width)` where the data are images;
    - `data`: an object with `load() -> Dataset`;
    - `optimizer`: `optimizer(net) -> Optimizer`, one of torch's own or of `models`;
    - `lr_schedule`: `lr_schedule(epochs=...) -> Schedule`;
    - `averaging`: `averaging(net, epochs=...)`, `models.EMA` or the like; it may be absent;
    - `seed`: of weights, dropout and data order.

    On the CPU a run is a function of these parts, bit for bit, and so is one that was cut at any
    step and went on from its checkpoint.
    """

    _is_ending: bool = field(default=False, init=False, repr=False)

    @property
    def is_ending(self) -> bool:
        """Whether the epoch that `on_epoch` hears of is the run's last."""
        return self._is_ending

    def fit(
        self,
        parts: Mapping[str, Any],
        *,
        resume: Path | None = None,
        on_epoch: OnEpoch | None = None,
        stop: Callable[[], bool] | None = None,
    ) -> Fit:
        """Train up to `epochs` epochs.

        Args:
            parts: The instantiated config.
            resume: A checkpoint folder to go on from.
            on_epoch: Called after each epoch with the number of epochs done, the metrics
                `train_loss`, `val_loss` and `val_accuracy`, and a function that writes a
                checkpoint folder. What it raises ends the run.
            stop: Asked after each step; True ends the run there.

        Raises:
            ValueError: An option is out of its range, or the checkpoint is of another model.
            CheckpointError: The checkpoint is damaged.
        """
        seed, device = parts["seed"], self._device()
        with num_threads(self.threads), seeded(derive_seed(seed, "global"), device):
            dataset: Dataset = parts["data"].load()
            run = self._run(parts)
            if resume is not None:
                self._restore(run, resume)
            ended = self._epochs(run, dataset, on_epoch=on_epoch, stop=stop)
            return self._result(run, ended)

    def fingerprint(self, parts: Mapping[str, Any]) -> dict[str, str]:
        """By split: what tells the rows that are trained on from others; reads the data.

        Raises:
            ValueError: An option is out of its range.
            FileNotFoundError: The data's file is missing.
        """
        return dict(parts["data"].load().fingerprints)

    def lr_range_test(
        self, parts: Mapping[str, Any], *, low: float = 1e-6, high: float = 10.0, steps: int = 300
    ) -> LrRangeTest:
        """Find a learning rate: train a new network with ever larger ones, up to divergence.

        Raises:
            ValueError: An option is out of its range.
        """
        require(0 < low < high, "low", low, f"more than 0 and less than high, {high}")
        require(steps >= 2, "steps", steps, "2 or more")
        seed, device = parts["seed"], self._device()
        with num_threads(self.threads), seeded(derive_seed(seed, "global"), device):
            train = parts["data"].load().train.to(device)
            run = self._run(parts)
            run.net.train()
            return lr_range_test(
                self._step(run, train),
                train,
                batch_size=self.batch_size,
                seed=seed,
                low=low,
                high=high,
                steps=steps,
            )

    def _run(self, parts: Mapping[str, Any]) -> Run:
        net, device = self.build(parts), self._device()
        self._check_net(net)
        generator = torch.Generator(device).manual_seed(derive_seed(parts["seed"], "dropout"))
        set_dropout_generator(net, generator)
        if any(isinstance(layer, nn.BatchNorm1d) for layer in net.modules()):
            rule = "2 or more: batch norm has no variance of one row (or take model.norm=layer)"
            for name in ("batch_size", "micro_batch_size"):
                value = getattr(self, name)
                require(value != 1, f"trainer.{name}", value, rule)
        ranks = Ranks.current()
        if ranks is not None:
            ranks.check(net, batch_size=self.batch_size, gradient_penalty=self.gradient_penalty)
            ranks.prepare(net)
        optimizer = parts["optimizer"](net)
        for group in optimizer.param_groups:
            group["base_lr"] = group["lr"]
        average = parts.get("averaging") or NoAveraging
        return Run(
            seed=parts["seed"],
            net=net,
            optimizer=optimizer,
            schedule=parts["lr_schedule"](epochs=self.epochs),
            averaging=average(net, epochs=self.epochs),
            dropout=generator,
            ranks=ranks,
        )

    def _check_net(self, net: nn.Module) -> None:
        """Refuse a network that another trainer is for."""
        needed = getattr(net, "needs_trainer", None)
        if needed is not None:
            raise ValueError(
                f"the model {type(net).__name__} is not for this trainer, which would train it as "
                f"an ordinary network; choose trainer={needed}"
            )

    def _step(self, run: Run, train: Split | Stream) -> GradientStep:
        """How the run's weights move, with what is switched on and nothing else."""
        step = GradientStep(
            forward=self._forward(run.net, run.dropout.device),
            parameters=[p for p in run.net.parameters() if p.requires_grad],
            optimizer=run.optimizer,
            loss=self._loss(train),
            micro_batch_size=self.micro_batch_size,
            clip_norm=self.clip_norm,
            clip_value=self.clip_value,
        )
        return step if run.ranks is None else run.ranks.share(step)

    def _forward(self, net: nn.Module, device: torch.device) -> Forward:
        forward: Forward = compiled(net, device) if self.compile else net
        return in_bfloat16(forward, device) if self.precision == "bf16" else forward

    def _loss(self, train: Split | Stream) -> Loss:
        weights = None
        if self.class_weights != "none":  # of a stream it takes a pass over the rows
            classes = len(self.preprocessing.classes)
            counts = [torch.bincount(y, minlength=classes) for _, y in train.parts()]
            weights = class_weights(self.class_weights, torch.stack(counts).sum(0))
        return Loss(
            label_smoothing=self.label_smoothing,
            class_weights=None if weights is None else weights.float(),
            gradient_penalty=self.gradient_penalty,
        )

    def _restore(self, run: Run, folder: Path) -> None:
        state = load_checkpoint(folder)
        run.restore(state)
        stored = Preprocessing.from_dict(state["preprocessing"])
        if not stored.equals(self.preprocessing):
            log.warning("%s was trained on other data, or on another split", folder)

    def _epochs(
        self,
        run: Run,
        dataset: Dataset,
        *,
        on_epoch: OnEpoch | None,
        stop: Callable[[], bool] | None,
    ) -> Ended:
        """Train to the last epoch, an early stop, a divergence or an interruption."""
        device = run.dropout.device
        train, validation = dataset.train.to(device), dataset.validation.to(device)
        step = self._step(run, train)
        if run.ranks is not None:
            train = run.ranks.part_of(train, micro_batch_size=self.micro_batch_size)
        ended = self._has_ended(run)  # a checkpoint may be a run's last
        while ended is None:
            run.schedule = run.schedule.after(self._losses(run))
            loss = run.train_epoch(
                train, step, batch_size=self.batch_size, statistics=self.statistics, stop=stop
            )
            if loss is None:
                return "interrupted"
            metrics = self._end_epoch(run, loss, train, validation)
            ended = self._has_ended(run)
            self._is_ending = ended is not None
            if on_epoch is not None:
                on_epoch(run.epoch, metrics, lambda to: save_checkpoint(to, self._state(run)))
        return ended

    def _end_epoch(
        self, run: Run, loss: float, train: Split | Stream, validation: Split | Stream
    ) -> dict[str, float]:
        """Evaluate the network, and keep it if it is the best."""
        if not math.isfinite(loss):
            metrics = diverged_metrics(loss)
        else:
            net = run.evaluated_net(train, batch_size=self.batch_size)
            predict = predict_logits if run.ranks is None else run.ranks.predict_logits
            metrics = epoch_metrics(loss, evaluate(net, validation, predict=predict))
        run.history.append(metrics)
        if not math.isnan(metrics["val_loss"]) and self._is_better(metrics, run.best):
            run.remember(metrics)
        return metrics

    def _has_ended(self, run: Run) -> Ended | None:
        if run.history and math.isnan(run.history[-1]["val_loss"]):
            return "diverged"
        if run.epoch >= self.epochs:
            return "finished"
        if self.patience is not None and has_stalled(
            self._losses(run), patience=self.patience, min_delta=self.min_delta
        ):
            log.info("stopped early: no better %s for %d epochs", self.monitor, self.patience)
            return "stopped early"
        return None

    def _losses(self, run: Run) -> list[float]:
        """The monitored metric of each epoch, turned so that less is better."""
        sign = -1 if METRICS[self.monitor] == "max" else 1
        return [sign * metrics[self.monitor] for metrics in run.history]

    def _is_better(self, metrics: Mapping[str, float], best: BestEpoch | None) -> bool:
        if best is None:
            return True
        new, old = metrics[self.monitor], best.metrics[self.monitor]
        if new == old:
            return metrics["val_loss"] < best.metrics["val_loss"]
        return (new > old) == (METRICS[self.monitor] == "max")

    def _state(self, run: Run) -> dict[str, Any]:
        return {**run.state(), "preprocessing": self.preprocessing.to_dict()}

    def _result(self, run: Run, ended: Ended) -> Fit:
        state = self._state(run)  # now: the global generator is put back on leaving `fit`
        net, best = copy.deepcopy(run.net).eval(), run.best
        set_dropout_generator(net, None)
        if best is not None:
            load_weights(net, best.weights)
        return Fit(
            net=net,
            metrics=dict(best.metrics) if best else {},
            best_epoch=best.epoch if best else None,
            epoch=run.epoch,
            objective=best.metrics[self.monitor] if best else math.nan,
            ended=ended,
            save=lambda to: save_checkpoint(to, state),
        )
