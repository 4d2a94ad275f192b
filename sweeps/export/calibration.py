"""How calibrated a model's probabilities are, asked of the app's own trainer where it can tell."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from sweeps.export.verify import ModelTrainer, Stored

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """A temperature that was fitted to a model's validation rows, and what it changes."""

    temperature: float
    """What `predict` divides the logits by."""
    ece: Mapping[str, tuple[float, float]]
    """By split: the expected calibration error before and after."""

    def metrics(self) -> dict[str, Any]:
        """As metrics.json has it."""
        before_and_after = {
            split: {"before": before, "after": after} for split, (before, after) in self.ece.items()
        }
        return {"temperature": self.temperature, "ece": before_and_after}


class Calibrated(Protocol):
    """What a trainer's `calibrate` gives."""

    @property
    def best(self) -> Stored:
        """The model, to be exported with its temperature."""
        ...

    @property
    def temperature(self) -> float:
        """Its temperature."""
        ...

    @property
    def ece(self) -> Mapping[str, tuple[float, float]]:
        """By split: the expected calibration error before and after."""
        ...


@runtime_checkable
class CalibratingTrainer(Protocol):
    """What `trainer._target_` offers so that its models' probabilities are calibrated."""

    def calibrate(self, stored: Any) -> Calibrated:
        """Fit a temperature to the validation split; ValueError where none can be."""
        ...


def calibrate(trainer: ModelTrainer, stored: Stored) -> tuple[Stored, Calibration | None]:
    """The model with a temperature, and what it changes; as it is where there can be none."""
    if not isinstance(trainer, CalibratingTrainer):
        return stored, None
    try:
        found = trainer.calibrate(stored)
    except ValueError as error:
        log.warning("the model is exported without a temperature: %s", error)
        return stored, None
    ece = {name: (float(before), float(after)) for name, (before, after) in found.ece.items()}
    return found.best, Calibration(temperature=float(found.temperature), ece=ece)
