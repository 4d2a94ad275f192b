"""How good a network is."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.data import Split, Stream
from models.networks.calibration import confidence_gaps
from models.networks.predict import predict_logits

METRICS = {"train_loss": "min", "val_loss": "min", "val_accuracy": "max"}
"""What an epoch reports, and whether less or more of it is better."""


def evaluate(
    net: nn.Module,
    split: Split | Stream,
    *,
    calibration: bool = False,
    predict: Callable[[nn.Module, Tensor], Tensor] = predict_logits,
) -> dict[str, float]:
    """Accuracy, and cross entropy in nats, both means over the rows.

    Args:
        net: A network.
        split: The rows.
        calibration: Whether to give the expected calibration error too, `ece`.
        predict: Network and inputs to logits.
    """
    rows, right, loss, gaps = 0, 0, 0.0, torch.zeros(())
    for x, y in split.parts():
        logits = predict(net, x)
        rows += len(y)
        right += int((logits.argmax(1) == y).sum())
        loss += float(F.cross_entropy(logits, y)) * len(y)
        if calibration:
            gaps = gaps + confidence_gaps(logits.softmax(1), y).cpu()
    ece = {"ece": float(gaps.abs().sum()) / rows} if calibration else {}
    return {"accuracy": right / rows, "loss": loss / rows, **ece}


def row_metrics(net: nn.Module, split: Split | Stream) -> dict[str, Tensor]:
    """What each row adds to the means that `evaluate` gives: `accuracy` 0 or 1, `loss` in nats."""
    parts = [(predict_logits(net, x), y) for x, y in split.parts()]
    return {
        "accuracy": torch.cat([(z.argmax(1) == y).double() for z, y in parts]).cpu(),
        "loss": torch.cat([F.cross_entropy(z, y, reduction="none") for z, y in parts]).cpu(),
    }


def epoch_metrics(train_loss: float, validation: Mapping[str, float]) -> dict[str, float]:
    """An epoch's report; a diverged network has no accuracy, though `argmax` finds one."""
    if not (math.isfinite(train_loss) and math.isfinite(validation["loss"])):
        return diverged_metrics(train_loss)
    return {
        "train_loss": train_loss,
        "val_loss": validation["loss"],
        "val_accuracy": validation["accuracy"],
    }


def diverged_metrics(train_loss: float) -> dict[str, float]:
    """The report of an epoch that ended in NaN or infinity."""
    return {"train_loss": train_loss, "val_loss": math.nan, "val_accuracy": math.nan}
