"""A trained model with the temperature that calibrates it, and what that changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from models.data import Split, Stream
from models.networks.calibration import (
    MAX_TEMPERATURE,
    ReliabilityBin,
    expected_calibration_error,
    fit_temperature,
    reliability,
)
from models.networks.predict import predict_logits
from models.training.export import Best


@dataclass(frozen=True, kw_only=True)
class Calibrated:
    """A model with a temperature that was fitted to its validation rows."""

    best: Best
    ece: dict[str, tuple[float, float]]
    """By split: the expected calibration error without the temperature, and with it."""
    reliability: dict[str, list[ReliabilityBin]]
    """By split: the reliability diagram with the temperature."""

    @property
    def temperature(self) -> float:
        """What its logits are divided by."""
        return self.best.temperature

    @property
    def is_at_bound(self) -> bool:
        """Whether the fit ran to an end of its range: no better than chance, for one."""
        return not 1.001 / MAX_TEMPERATURE < self.temperature < MAX_TEMPERATURE / 1.001


def calibrate(best: Best, splits: Mapping[str, Split | Stream]) -> Calibrated:
    """Fit a temperature to the split `validation`; every split tells what came of it.

    Raises:
        ValueError: A logit is not finite.
    """
    said = {name: _logits(best.net, split) for name, split in splits.items()}
    temperature = fit_temperature(*said["validation"])

    def ece(z: Tensor, y: Tensor, t: float) -> float:
        return expected_calibration_error((z / t).softmax(1), y)

    return Calibrated(
        best=replace(best, temperature=temperature),
        ece={name: (ece(z, y, 1.0), ece(z, y, temperature)) for name, (z, y) in said.items()},
        reliability={
            name: reliability((z / temperature).softmax(1), y) for name, (z, y) in said.items()
        },
    )


def _logits(net: nn.Module, split: Split | Stream) -> tuple[Tensor, Tensor]:
    """Logits `[n, classes]` and classes `[n]` of all rows."""
    parts = [(predict_logits(net, x), y) for x, y in split.parts()]
    return torch.cat([z for z, _ in parts]), torch.cat([y for _, y in parts])
