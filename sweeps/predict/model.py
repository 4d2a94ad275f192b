"""A model from its export's folder, for predictions.

Its ONNX graph where there is one: that runs no code of anybody's. Else its weights, in a network
that the installed package builds; `trust` says whose. The `.pt2` program is never loaded, since
loading one unpickles, and the source in an export is never imported.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sweeps.errors import ConfigError, SweepError
from sweeps.export.formats import FILES
from sweeps.export.onnx_graph import load_onnx
from sweeps.export.place import INDEX, METRICS
from sweeps.export.signature import FILE as SIGNATURE
from sweeps.export.signature import Signature
from sweeps.export.source import hash_of
from sweeps.predict.trust import build_trainer

Say = Callable[[str], None]
Run = Callable[[Any], Any]


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """Raw numeric rows to outputs."""

    signature: Signature
    run: Run
    """Rows `[n, *shape]`, n at least 1, to `[n, outputs]`, both NumPy."""
    file: str
    """What it was loaded from."""


def load_model(folder: Path, *, trusted: Sequence[str], say: Say) -> LoadedModel:
    """The model of an export.

    Args:
        folder: The export's.
        trusted: Packages whose code may run to rebuild a network, beside caviar's own.
        say: Told what the user should know.

    Raises:
        ConfigError: It is no export, or its network is of a package that is not trusted.
        SweepError: It is damaged, or not what was verified.
    """
    hashes = _hashes(folder)
    signature = Signature.read(folder)
    _check_hash(folder, SIGNATURE, hashes)
    if (folder / FILES["onnx"]).exists():
        if find_spec("onnxruntime") is not None:
            _check_hash(folder, FILES["onnx"], hashes)
            run = _damaged_is_told(folder / FILES["onnx"])
            return LoadedModel(signature=signature, run=run, file=FILES["onnx"])
        say("model.onnx needs onnxruntime (pip install 'caviar[onnx]'): its weights are used")
    for name in (FILES["safetensors"], "model.json", "config.yaml"):
        if (folder / name).exists():
            _check_hash(folder, name, hashes)
    run = _network(folder, trusted)
    return LoadedModel(signature=signature, run=run, file=FILES["safetensors"])


def _hashes(folder: Path) -> dict[str, str]:
    file = folder / METRICS
    if not file.is_file():
        raise ConfigError(_no_export(folder))
    try:
        metrics = json.loads(file.read_text(encoding="utf-8"))
        return dict(metrics.get("sha256", {}))
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise SweepError(f"{file} is damaged: {error}") from error


def _no_export(folder: Path) -> str:
    if not folder.is_dir():
        return f"{folder} is not a folder: predict takes an export's, as `caviar export` writes it"
    inside = [name for name in ("best", "ensemble", "soup") if (folder / name / METRICS).exists()]
    if (folder / INDEX).exists():
        inside = sorted(mark.parent.name for mark in folder.glob(f"*/{METRICS}"))
    hint = f": did you mean {folder / inside[0]}?" if inside else ": `caviar export` writes one"
    return f"{folder} holds no export{hint}"


def _check_hash(folder: Path, name: str, hashes: dict[str, str]) -> None:
    """See that a file is the one that was verified when the export was written.

    Raises:
        SweepError: It is not.
    """
    if hashes.get(name) != hash_of(folder / name):
        raise SweepError(
            f"{folder / name} is not the file that was verified: its SHA-256 is not that in "
            f"{METRICS}. Export the model again"
        )


def _damaged_is_told(file: Path) -> Run:
    try:
        return load_onnx(file)
    except ValueError as error:
        raise SweepError(" ".join(str(error).split())) from error


def _network(folder: Path, trusted: Sequence[str]) -> Run:
    trainer, parts = build_trainer(folder, trusted)
    try:
        stored = trainer.load(folder, parts)
    except (ConfigError, SweepError):
        raise
    except Exception as error:
        raise SweepError(f"{folder} cannot be loaded: {error}") from error

    def run(rows: Any) -> Any:
        import numpy as np

        return np.asarray(trainer.predict(stored.net, rows))

    return run
