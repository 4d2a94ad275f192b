"""How calibrated a model's probabilities are, asked of the app's own trainer where it can tell."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
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
    reliability: Mapping[str, Sequence[tuple[int, float, float]]] = field(default_factory=dict)
    """By split, where the trainer tells: rows, mean confidence and accuracy of each bin, after."""
    is_at_bound: bool = False
    """Whether the fit ran to an end of its range, where the trainer tells: it is no optimum."""

    def without(self, split: str) -> Calibration:
        """The same, with nothing told of a split."""
        return replace(
            self,
            ece={name: ece for name, ece in self.ece.items() if name != split},
            reliability={name: bins for name, bins in self.reliability.items() if name != split},
        )

    def metrics(self) -> dict[str, Any]:
        """As metrics.json has it."""
        before_and_after = {
            split: {"before": before, "after": after} for split, (before, after) in self.ece.items()
        }
        bins = {split: [list(row) for row in rows] for split, rows in self.reliability.items()}
        fitted = {"temperature": self.temperature, "at_bound": self.is_at_bound}
        return {**fitted, "ece": before_and_after, "reliability": bins}


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
    bins = {
        split: [
            (int(rows), float(confidence), float(accuracy)) for rows, confidence, accuracy in of
        ]
        for split, of in getattr(found, "reliability", {}).items()
    }
    return found.best, Calibration(
        temperature=float(found.temperature),
        ece=ece,
        reliability=bins,
        is_at_bound=bool(getattr(found, "is_at_bound", False)),
    )
