"""Whether a model is the one that its trial recorded, asked of the app's own trainer."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from hydra.errors import HydraException
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from sweeps.errors import SweepError
from sweeps.export.trained import TrainedTrial
from sweeps.journal.objective import Objective

log = logging.getLogger(__name__)

TOLERANCE = 1e-4
"""How far the exported model's metric may lie from the recorded one, relative above 1.

The same weights on the same rows differ in the sixth digit where sums run in another order: another
device, or number of threads. Another epoch, split or seed differs by a row or more, which is more
than this for fewer than 10,000 rows. The export and the checkpoint it was made from are compared in
one process and must agree in every bit.
"""

OFFERS = ("load", "evaluate", "export")


class Stored(Protocol):
    """What a trainer's `load` gives."""

    net: Any
    epoch: int


class ModelTrainer(Protocol):
    """What `trainer._target_` offers so that its models can be exported."""

    def load(self, folder: Path, parts: Mapping[str, Any]) -> Stored:
        """The best model in a checkpoint folder or an exported one, built from `parts`."""
        ...

    def evaluate(self, net: Any, split: str) -> Mapping[str, float]:
        """Metrics on `validation` or `test`; ValueError where there is no such split."""
        ...

    def export(self, stored: Stored, folder: Path) -> Path:
        """Write all that `load` needs beside `parts`."""
        ...


def cannot_rebuild(
    trained: TrainedTrial, config: DictConfig, *, offers: Sequence[str] = OFFERS
) -> str | None:
    """Why the trainer cannot be asked for what it must offer, or None if it can."""
    target = OmegaConf.select(config, "trainer._target_")
    if target is None:
        return "it is the checkpoint as the app wrote it"
    with trained.import_paths():
        try:
            trainer = get_object(str(target))
        except (HydraException, ImportError, ValueError) as error:
            return f"{target} cannot be imported: {error}"
    missing = [name for name in offers if not hasattr(trainer, name)]
    return f"{target} does not offer {', '.join(missing)}" if missing else None


def load(trainer: ModelTrainer, folder: Path, parts: Mapping[str, Any]) -> Stored:
    """The model in a folder.

    Raises:
        SweepError: The trainer cannot load it.
    """
    try:
        return trainer.load(folder, parts)
    except Exception as error:
        raise SweepError(f"nothing was exported: {folder} cannot be loaded: {error}") from error


def write(trainer: ModelTrainer, stored: Stored, folder: Path) -> None:
    """Write a model to a folder.

    Raises:
        SweepError: The trainer refuses to.
        OSError: The file system does.
    """
    try:
        trainer.export(stored, folder)
    except OSError:
        raise
    except Exception as error:
        raise SweepError(f"nothing was exported: the model cannot be written: {error}") from error


def evaluate(trainer: ModelTrainer, net: Any) -> dict[str, float]:
    """Metrics on the validation split.

    Raises:
        SweepError: The trainer cannot evaluate it.
    """
    try:
        metrics = trainer.evaluate(net, "validation")
    except Exception as error:
        raise SweepError(f"nothing was exported: the model cannot be evaluated: {error}") from error
    return {name: float(value) for name, value in metrics.items()}


def test_metrics(trainer: ModelTrainer, net: Any) -> dict[str, float] | None:
    """Metrics on the test split, where there is one."""
    try:
        return {name: float(value) for name, value in trainer.evaluate(net, "test").items()}
    except ValueError as error:  # there is no such split
        log.info("no test metrics: %s", error)
        return None


def row_metrics(trainer: ModelTrainer, net: Any, split: str) -> Mapping[str, Any]:
    """What each row adds to those metrics that are means, `[rows]`, where the trainer tells."""
    by_row = getattr(trainer, "row_metrics", None)
    if by_row is None:
        return {}
    try:
        found: Mapping[str, Any] = by_row(net, split)
    except Exception as error:
        raise SweepError(f"nothing was exported: row_metrics of {split} fails: {error}") from error
    return found


def objective_of(objective: Objective, validation: Mapping[str, float]) -> float | None:
    """The objective among the metrics of `evaluate`: itself, or without what means validation."""
    metric = objective.metric
    for name, value in validation.items():
        if metric in (name, f"val_{name}", f"valid_{name}", f"validation_{name}"):
            return value
    return None


def check_recorded(trained: TrainedTrial, value: float, epoch: int) -> None:
    """See that the model gives what its trial reported for it.

    It may be that of another epoch with the same objective: of equal epochs a trial's best is the
    first, and its trainer may prefer another for a metric that the sweep does not know.

    Raises:
        SweepError: It does not.
    """
    trial, objective = trained.trial, trained.sweep.objective
    recorded = trained.recorded(epoch)
    if any(abs(value - each) <= TOLERANCE * max(1.0, abs(each)) for each in recorded):
        return
    if trial.best is not None and trial.best_checkpoint is None:
        why = f"It ended before it wrote one of step {trial.best.step}, its best, or later."
    else:
        why = (
            f"Where its trainer chooses the best epoch by another metric than {objective.metric}, "
            f"make it the same."
        )
    raise SweepError(
        f"nothing was exported: trial {trial.number} recorded {objective.metric} "
        f"{' or '.join(map(repr, recorded))}, and "
        f"its checkpoint, of epoch {epoch}, gives {value!r}. {why}"
    )


def check_reloaded(trained: TrainedTrial, folder: Path, before: Mapping[str, float]) -> None:
    """See that the export alone gives the same metrics, in a new network, to the last bit.

    Raises:
        SweepError: It does not.
    """
    config = OmegaConf.load(folder / "config.yaml")
    assert isinstance(config, DictConfig)
    parts = trained.instantiate(config)
    after = evaluate(parts["trainer"], load(parts["trainer"], folder, parts).net)
    if repr(after) != repr(dict(before)):
        raise SweepError(
            f"nothing was exported: on the validation split the model gives {dict(before)}, and "
            f"loaded back from its export {after}"
        )
