"""What an export's folder holds, and what is known of the model when it is written."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf, read_write

from sweeps.export.calibration import Calibration, calibrate
from sweeps.export.deploy import Deployed, deploy
from sweeps.export.formats import Formats
from sweeps.export.interval import Interval, mean_interval
from sweeps.export.place import METRICS
from sweeps.export.source import hash_of, write_source
from sweeps.export.trained import TrainedTrial
from sweeps.export.verify import (
    ModelTrainer,
    Stored,
    check_reloaded,
    row_metrics,
    test_metrics,
    write,
)
from sweeps.retest.looks import note_look
from sweeps.secrets import MASK, is_secret

Say = Callable[[str], None]
Metrics = Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model to export."""

    trained: TrainedTrial
    """Its trial; of several the best."""
    trainer: ModelTrainer
    stored: Stored
    config: DictConfig
    validation: Metrics
    what: str
    """Such as `trial 7`."""
    is_tested: bool = True
    """Whether to look at test data: not at that of models among which somebody may choose."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of an exported model."""

    epoch: int | None = None
    validation: Metrics | None = None
    test: dict[str, float] | None = None
    intervals: Mapping[str, Mapping[str, Interval]] = field(default_factory=dict)
    """By split and metric, of metrics that are means over rows."""
    calibration: Calibration | None = None
    deployed: Deployed = field(default_factory=Deployed)
    sources: int = 0
    """Files of source."""
    unverified: str | None = None
    """Why the export was not verified."""


def write_model(model: Model, folder: Path, formats: Formats, say: Say) -> Facts:
    """Write all but the card, and see that it is the same model.

    Raises:
        SweepError: What was written is not what was to be, or cannot be.
        OSError: The file system refuses.
    """
    trainer = model.trainer
    stored, calibration = calibrate(trainer, model.stored)
    if calibration is not None and not model.is_tested:
        calibration = calibration.without("test")
    write(trainer, stored, folder)
    write_config(folder, model.config)
    say("loading it back and comparing")
    check_reloaded(model.trained, folder, model.validation)
    deployed = deploy(trainer, stored, folder, formats, say)
    test = test_metrics(trainer, stored.net) if model.is_tested else None
    if test is not None:
        note_look(model.trained.sweep.folder, f"export of {model.what}", metrics=test)
    metrics = {"validation": model.validation, **({} if test is None else {"test": test})}
    return Facts(
        epoch=model.stored.epoch,
        validation=model.validation,
        test=test,
        intervals={
            split: _intervals(trainer, stored.net, split, metrics[split]) for split in metrics
        },
        calibration=calibration,
        deployed=deployed,
        sources=write_source(folder, trainer, stored.net),
    )


def _intervals(
    trainer: ModelTrainer, net: Any, split: str, metrics: Metrics
) -> dict[str, Interval]:
    by_row = row_metrics(trainer, net, split)
    found = {name: mean_interval(values) for name, values in by_row.items() if name in metrics}
    return {name: interval for name, interval in found.items() if interval is not None}


def write_config(folder: Path, config: DictConfig) -> None:
    """Write config.yaml, secrets masked."""
    _mask_secrets(config)
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(config), encoding="utf-8")


def _mask_secrets(node: Any) -> None:
    """Mask what secret-looking keys hold; references such as `${oc.env:KEY}` stay."""
    for key in range(len(node)) if isinstance(node, ListConfig) else list(node):
        if OmegaConf.is_interpolation(node, key) or OmegaConf.is_missing(node, key):
            continue
        if OmegaConf.is_config(node[key]):
            _mask_secrets(node[key])
        elif isinstance(node[key], str) and is_secret(str(key)):
            with read_write(node):
                node[key] = MASK


def write_card(folder: Path, text: str, metrics: Mapping[str, Any]) -> None:
    """Write README.md, and metrics.json with the hashes of all that is beside it."""
    (folder / "README.md").write_text(text, encoding="utf-8")
    files = {file.name: hash_of(file) for file in sorted(folder.iterdir()) if file.is_file()}
    values = json.dumps({**metrics, "sha256": files}, indent=2, allow_nan=False)
    (folder / METRICS).write_text(f"{values}\n", encoding="utf-8")


def finite(metrics: Metrics | None) -> dict[str, float | None] | None:
    """Metrics as JSON has them: what is not finite is null."""
    if metrics is None:
        return None
    return {name: value if math.isfinite(value) else None for name, value in metrics.items()}
