"""Training of one classifier, from the parts of its config to its best epoch."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.choices import miss
from models.data import Dataset, Preprocessing, Split, Stream
from models.networks.predict import predict_logits, predict_proba
from models.training.batches import some_inputs
from models.training.checkpoint import load_checkpoint, save_checkpoint
from models.training.combine import STATISTICS_ROWS, Soup, agreeing, make_ensemble, make_soup
from models.training.export import Best, read_best, write_export
from models.training.run import BestEpoch, Run, load_weights
from models.training.seeding import derive_seed, num_threads, seeded, set_dropout_generator

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

log = logging.getLogger(__name__)

Save = Callable[[Path], Path]
OnEpoch = Callable[[int, dict[str, float], Save], None]
Ended = Literal["finished", "interrupted", "diverged"]

METRICS = ("train_loss", "val_loss", "val_accuracy")


@dataclass(frozen=True, kw_only=True)
class Fit:
    """What came of a run."""

    net: nn.Module
    """The network with the best epoch's weights, in evaluation mode."""
    metrics: dict[str, float]
    """The best epoch's metrics; empty if no epoch had a finite one."""
    best_epoch: int | None
    epoch: int
    """Epochs done."""
    objective: float
    """The best value of the monitored metric; NaN if there is none."""
    ended: Ended
    """`interrupted` by `stop`, or `diverged`: the loss became infinite or NaN."""
    save: Save
    """Write a checkpoint from which the run goes on."""


@dataclass(kw_only=True)
class Trainer:
    """Trains a classifier with cross entropy, and keeps its best epoch.

    `parts` below is a mapping with the keys

    - `model`: `model(in_shape, out_features) -> nn.Module` that returns logits; `in_shape` is
      `(features,)`, or `(channels, height, width)` where the data are images;
    - `data`: an object with `load() -> Dataset`;
    - `optimizer`: `optimizer(net) -> Optimizer`, one of torch's own or of `models`;
    - `lr_schedule`: `lr_schedule(epochs=...) -> Schedule`;
    - `seed`: of weights, dropout and data order.

    On the CPU a run is a function of these parts, bit for bit, and so is one that was cut at any
    step and went on from its checkpoint.

    Args:
        epochs: Length of the run.
        batch_size: Rows of a step.
        label_smoothing: Weight of the uniform distribution in the targets of the training loss
            (Szegedy et al. 2016, arXiv:1512.00567); the validation loss is without.
        monitor: Metric that chooses the best epoch; equal ones are told apart by `val_loss`.
        mode: Whether more (`max`) or less (`min`) of it is better.
        device: `auto` (a GPU if there is one), `cpu`, `cuda`, `cuda:1`, ...
        threads: CPU threads; null leaves torch's number. A small network is fastest with one.
    """

    epochs: int = 27
    batch_size: int = 64
    label_smoothing: float = 0.0
    monitor: str = "val_accuracy"
    mode: Literal["max", "min"] = "max"
    device: str = "auto"
    threads: int | None = 1
    _parts: Mapping[str, Any] | None = field(default=None, init=False, repr=False)
    _preprocessing: Preprocessing | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise ValueError(f"trainer.epochs is {self.epochs}; it must be 1 or more")
        if self.monitor not in METRICS:
            raise ValueError(miss(self.monitor, list(METRICS), key="trainer.monitor"))
        if self.mode not in ("max", "min"):
            raise ValueError(miss(self.mode, ["max", "min"], key="trainer.mode"))
        if self.batch_size < 1:
            raise ValueError(f"trainer.batch_size is {self.batch_size}; it must be 1 or more")
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"trainer.threads is {self.threads}; 1 or more, or null")
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"trainer.label_smoothing is {self.label_smoothing}; from 0 to 1")

    @property
    def preprocessing(self) -> Preprocessing:
        """Of the network that was last built or loaded."""
        if self._preprocessing is None:
            raise RuntimeError("build, load or fit a network first")
        return self._preprocessing

    def build(self, parts: Mapping[str, Any]) -> nn.Module:
        """A new network with initial weights, on the trainer's device; reads the data.

        Raises:
            ValueError: An option is out of its range.
            FileNotFoundError: The data's file is missing.
        """
        return self._build(parts, parts["data"].load().preprocessing)

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

    def evaluate(self, net: nn.Module, split: str) -> dict[str, float]:
        """`accuracy` and `loss` (cross entropy, nats) on `train`, `validation` or `test`.

        Raises:
            ValueError: There is no such split, or it is empty.
        """
        if self._parts is None:
            raise RuntimeError("build, load or fit a network first")
        rows: Split | Stream = self._parts["data"].load().split(split)
        if not rows.n_rows:
            raise ValueError(f"the split {split!r} has no rows")
        with num_threads(self.threads):
            return evaluate(net, rows.to(next(net.parameters()).device))

    def predict(
        self, net: nn.Module, rows: Tensor | np.ndarray[Any, Any] | Sequence[Any] | pa.Table
    ) -> Tensor:
        """Class probabilities `[n, classes]` of raw rows, on the CPU.

        Needs no data file: the statistics come with the network that was built or loaded last.

        Args:
            net: A network of that kind.
            rows: Numeric rows as they were before scaling, `[n, features]` or images (see
                `Preprocessing.transform`), or an Arrow table with the training table's columns.

        Raises:
            ValueError: The columns are not the training data's.
        """
        raw = self.preprocessing.encode(rows) if hasattr(rows, "column_names") else rows
        x = self.preprocessing.transform(raw).to(next(net.parameters()).device)
        with num_threads(self.threads):
            return predict_proba(net, x).cpu()

    def load(self, folder: str | Path, parts: Mapping[str, Any]) -> Best:
        """The best epoch in a checkpoint or an export, in evaluation mode; reads no data.

        Raises:
            CheckpointError: The folder is damaged or neither.
            ValueError: It is of another model than `parts`.
        """
        stored = read_best(Path(folder))
        net = self._build(parts, stored.preprocessing)
        load_weights(net, stored.weights)
        return Best(
            net=net.eval(),
            epoch=stored.epoch,
            metrics=stored.metrics,
            preprocessing=stored.preprocessing,
        )

    def export(self, best: Best, folder: str | Path) -> Path:
        """Write `weights.safetensors` and `model.json`, all that `load` needs beside the parts."""
        return write_export(best, Path(folder))

    def soup(
        self,
        members: Sequence[Best],
        parts: Sequence[Mapping[str, Any]],
        *,
        recipe: str,
        score: Callable[[Mapping[str, float]], float],
    ) -> Soup:
        """The average of the weights of those members whose architectures agree.

        Args:
            members: Loaded models, best first.
            parts: Those that each was built from.
            recipe: `greedy` or `uniform`; see `models.training.soup`.
            score: One number of the metrics that `evaluate` gives, more is better.

        Raises:
            ValueError: No two members agree, or one was trained on other rows.
        """
        group, left_out = agreeing(members)
        first = group[0]
        self._parts, self._preprocessing = parts[first], members[first].preprocessing
        train, seed = parts[first]["data"].load().train, parts[first]["seed"]
        with num_threads(self.threads):
            soup = make_soup(
                {i: members[i] for i in group},
                recipe=recipe,
                evaluate=lambda net: self.evaluate(net, "validation"),
                score=score,
                inputs=lambda: some_inputs(
                    train, self._device(), self.batch_size, seed=seed, rows=STATISTICS_ROWS
                ),
            )
        return replace(soup, left_out={**left_out, **soup.left_out})

    def ensemble(self, members: Sequence[Best], parts: Mapping[str, Any]) -> Best:
        """A network that gives the average of the members' probabilities.

        Args:
            members: Loaded models, best first.
            parts: Those of the first member, with a `model` as `ensemble_model` describes it.

        Raises:
            ValueError: A member has other features or classes, or was trained on other rows.
        """
        net = self._build(parts, members[0].preprocessing)
        return make_ensemble(net, members, evaluate=lambda part: self.evaluate(part, "validation"))

    @staticmethod
    def ensemble_model(models: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The config of an ensemble's `model`, of its members' ones."""
        return {"_target_": "models.Ensemble", "_partial_": True, "members": list(models)}

    def _device(self) -> torch.device:
        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return torch.device(self.device)

    def _build(self, parts: Mapping[str, Any], preprocessing: Preprocessing) -> nn.Module:
        self._parts, self._preprocessing = parts, preprocessing
        with seeded(derive_seed(parts["seed"], "weights"), torch.device("cpu")):
            net: nn.Module = parts["model"](preprocessing.shape, len(preprocessing.classes))
        return net.to(self._device())

    def _run(self, parts: Mapping[str, Any]) -> Run:
        net, device = self.build(parts), self._device()
        generator = torch.Generator(device).manual_seed(derive_seed(parts["seed"], "dropout"))
        set_dropout_generator(net, generator)
        optimizer = parts["optimizer"](net)
        for group in optimizer.param_groups:
            group["base_lr"] = group["lr"]
        schedule = parts["lr_schedule"](epochs=self.epochs)
        return Run(
            seed=parts["seed"], net=net, optimizer=optimizer, schedule=schedule, dropout=generator
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
        """Train to the last epoch, a divergence or a stop."""
        device = run.dropout.device
        train, validation = dataset.train.to(device), dataset.validation.to(device)
        while run.epoch < self.epochs:
            loss = run.train_epoch(
                train,
                batch_size=self.batch_size,
                label_smoothing=self.label_smoothing,
                stop=stop,
            )
            if loss is None:
                return "interrupted"
            metrics = epoch_metrics(loss, evaluate(run.net, validation))
            diverged = math.isnan(metrics["val_loss"])
            if not diverged and self._is_better(metrics, run.best):
                run.remember(metrics)
            if on_epoch is not None:
                on_epoch(run.epoch, metrics, lambda to: save_checkpoint(to, self._state(run)))
            if diverged:
                return "diverged"
        return "finished"

    def _is_better(self, metrics: Mapping[str, float], best: BestEpoch | None) -> bool:
        if best is None:
            return True
        new, old = metrics[self.monitor], best.metrics[self.monitor]
        if new == old:
            return metrics["val_loss"] < best.metrics["val_loss"]
        return (new > old) == (self.mode == "max")

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


def evaluate(net: nn.Module, split: Split | Stream) -> dict[str, float]:
    """Accuracy, and cross entropy in nats, both means over the rows."""
    rows, right, loss = 0, 0, 0.0
    for x, y in split.parts():
        logits = predict_logits(net, x)
        rows += len(y)
        right += int((logits.argmax(1) == y).sum())
        loss += float(F.cross_entropy(logits, y)) * len(y)
    return {"accuracy": right / rows, "loss": loss / rows}


def epoch_metrics(train_loss: float, validation: Mapping[str, float]) -> dict[str, float]:
    """An epoch's report; a diverged network has no accuracy, though `argmax` finds one."""
    if not (math.isfinite(train_loss) and math.isfinite(validation["loss"])):
        return {"train_loss": train_loss, "val_loss": math.nan, "val_accuracy": math.nan}
    return {
        "train_loss": train_loss,
        "val_loss": validation["loss"],
        "val_accuracy": validation["accuracy"],
    }
