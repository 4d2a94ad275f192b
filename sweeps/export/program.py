"""`model.pt2`: the model as torch's own exported program."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Run = Callable[[Any], Any]
"""Raw rows `[n, *shape]` to outputs `[n, outputs]`, both NumPy."""

METADATA = "metadata.json"


def trace(module: Any, example: Any) -> Any:
    """A module of one input as a graph with any number of rows.

    Args:
        module: A `torch.nn.Module` in evaluation mode.
        example: Two rows, a tensor.
    """
    import torch

    with quiet(), torch.no_grad():
        rows = torch.export.Dim("rows")
        return torch.export.export(module, (example,), dynamic_shapes=({0: rows},))


def write_program(program: Any, file: Path, metadata: Mapping[str, str]) -> None:
    """Write it with its metadata inside."""
    import json

    import torch

    with quiet():
        torch.export.save(program, file, extra_files={METADATA: json.dumps(dict(metadata))})


def load_program(file: Path) -> Run:
    """Load a program that this very command has written: loading one unpickles."""
    import torch

    with quiet():
        module = torch.export.load(file).module()

    def run(rows: Any) -> Any:
        with torch.no_grad():
            return module(torch.from_numpy(rows)).numpy()

    return run


@contextmanager
def quiet() -> Iterator[None]:
    """Without what torch's exporters say of themselves; what fails is an error all the same."""
    log = logging.getLogger("torch")
    before = log.level
    log.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(before)
