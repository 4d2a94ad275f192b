"""What can be done with a trained network: load, evaluate, predict, export, combine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from models.checks import integer, require
from models.data import Preprocessing, Split, Stream
from models.networks.predict import predict_proba
from models.training.batches import some_inputs
from models.training.calibration import Calibrated, calibrate
from models.training.combine import STATISTICS_ROWS, Soup, agreeing, make_ensemble, make_soup
from models.training.deploy import Deployable, deployable, raw_rows
from models.training.evaluation import evaluate, row_metrics
from models.training.export import Best, read_best, write_export
from models.training.options import TrainerOptions
from models.training.run import load_weights
from models.training.seeding import derive_seed, num_threads, seeded

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa


@dataclass(kw_only=True)
class TrainedModels(TrainerOptions):
    """The side of a `Trainer` that sweeps ask of: networks that are built, loaded and used.

    `parts` are those of `Trainer`.
    """

    _parts: Mapping[str, Any] | None = field(default=None, init=False, repr=False)
    _preprocessing: Preprocessing | None = field(default=None, init=False, repr=False)
    _temperatures: WeakKeyDictionary[nn.Module, float] = field(
        default_factory=WeakKeyDictionary, init=False, repr=False
    )

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

    def evaluate(self, net: nn.Module, split: str) -> dict[str, float]:
        """Metrics on `train`, `validation` or `test`, of the logits as they are (no temperature).

        `accuracy`, `loss` (cross entropy, nats) and `ece` (expected calibration error).

        Raises:
            ValueError: There is no such split, or it is empty.
        """
        rows = self._rows(net, split)
        if not rows.n_rows:
            raise ValueError(f"the split {split!r} has no rows")
        with num_threads(self.threads):
            return evaluate(net, rows, calibration=True)

    def predict(
        self, net: nn.Module, rows: Tensor | np.ndarray[Any, Any] | Sequence[Any] | pa.Table
    ) -> Tensor:
        """Class probabilities `[n, classes]` of raw rows, on the CPU.

        Needs no data file: the statistics come with the network that was built or loaded last, and
        the temperature that calibrates a loaded export with its network.

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
            return predict_proba(net, x, temperature=self._temperatures.get(net, 1.0)).cpu()

    def load(self, folder: str | Path, parts: Mapping[str, Any]) -> Best:
        """The best epoch in a checkpoint or an export, in evaluation mode; reads no data.

        Raises:
            CheckpointError: The folder is damaged or neither.
            ValueError: It is of another model than `parts`.
        """
        stored = read_best(Path(folder))
        net = self._build(parts, stored.preprocessing)
        load_weights(net, stored.weights)
        self._temperatures[net] = stored.temperature
        return Best(
            net=net.eval(),
            epoch=stored.epoch,
            metrics=stored.metrics,
            preprocessing=stored.preprocessing,
            temperature=stored.temperature,
        )

    def calibrate(self, best: Best) -> Calibrated:
        """A loaded model with the temperature that makes its validation rows most likely.

        Raises:
            ValueError: One of its logits is not finite.
        """
        splits = {name: self._rows(best.net, name) for name in ("validation", "test")}
        with num_threads(self.threads):
            found = calibrate(best, {name: rows for name, rows in splits.items() if rows.n_rows})
        self._temperatures[best.net] = found.temperature
        return found

    def export(self, best: Best, folder: str | Path) -> Path:
        """Write `weights.safetensors` and `model.json`, all that `load` needs beside the parts."""
        return write_export(best, Path(folder))

    def deployable(self, best: Best) -> Deployable:
        """A loaded model as one module, from raw numeric rows to calibrated probabilities."""
        return deployable(best)

    def raw_rows(self, net: nn.Module, split: str) -> Iterator[Tensor]:
        """Rows of a split as `predict` and the `deployable` take them, some at a time.

        Raises:
            ValueError: There is no such split.
        """
        return raw_rows(self._rows(net, split), self.preprocessing)

    def row_metrics(self, net: nn.Module, split: str) -> dict[str, Tensor]:
        """What each row adds to the metrics of `evaluate` that are means over the rows, `[n]`.

        Raises:
            ValueError: There is no such split.
        """
        with num_threads(self.threads):
            return row_metrics(net, self._rows(net, split))

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
        train = parts[first]["data"].load().train.to(self._device())
        with num_threads(self.threads):
            soup = make_soup(
                {i: members[i] for i in group},
                recipe=recipe,
                evaluate=lambda net: self.evaluate(net, "validation"),
                score=score,
                inputs=lambda: some_inputs(
                    train,
                    self.batch_size,
                    seed=parts[first]["seed"],
                    epoch=0,
                    rows=STATISTICS_ROWS,
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
        device = torch.device(self.device)
        n_gpus = torch.cuda.device_count()
        if device.type == "cuda" and not (device.index or 0) < n_gpus:
            rule = "auto or cpu" if n_gpus == 0 else f"auto, cpu, or cuda:0 to cuda:{n_gpus - 1}"
            require(False, "trainer.device", self.device, f"{rule}: torch sees {n_gpus} GPUs here")
        return device

    def _build(self, parts: Mapping[str, Any], preprocessing: Preprocessing) -> nn.Module:
        integer("seed", parts["seed"], lambda v: v >= 0, "0 or more")
        self._parts, self._preprocessing = parts, preprocessing
        with seeded(derive_seed(parts["seed"], "weights"), torch.device("cpu")):
            net: nn.Module = parts["model"](preprocessing.shape, len(preprocessing.classes))
        return net.to(self._device())

    def _rows(self, net: nn.Module, split: str) -> Split | Stream:
        if self._parts is None:
            raise RuntimeError("build, load or fit a network first")
        rows: Split | Stream = self._parts["data"].load().split(split)
        return rows.to(next(net.parameters()).device)
