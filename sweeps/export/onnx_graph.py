"""`model.onnx`: the model for onnxruntime and whatever else reads ONNX."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sweeps.export.program import Run, quiet

OPSET = 20
INPUT, OUTPUT = "rows", {"classification": "probabilities", "regression": "values"}
LARGEST = 2**31 - 2**20
"""Bytes of a file: protobuf takes no more, and weights beside it could be others."""


def write_onnx(program: Any, file: Path, metadata: Mapping[str, str], *, task: str) -> None:
    """Write an exported program as ONNX, its metadata inside.

    Raises:
        ValueError: Its weights do not fit into a file.
    """
    import onnx
    import torch

    size = sum(value.nbytes for value in program.state_dict.values())
    if size > LARGEST:
        raise ValueError(f"its weights take {size / 2**30:.1f} GiB; an ONNX file holds 2 GiB")
    with quiet():
        made = torch.onnx.export(
            program,
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=[OUTPUT[task]],
        )
    assert made is not None
    made.model.producer_name = "caviar"
    made.model.metadata_props.update(metadata)
    made.save(file, external_data=False)
    onnx.checker.check_model(str(file))


def load_onnx(file: Path) -> Run:
    """A graph for onnxruntime on the CPU; reads that file alone, and runs no code of it.

    Raises:
        ValueError: It is damaged, or not of one input and one output.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what it would print, it raises too
    try:
        session = onnxruntime.InferenceSession(
            file.read_bytes(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # its own classes derive from Exception alone
        raise ValueError(f"{file} cannot be read: {error}") from error
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1 or len(outputs) != 1:
        raise ValueError(f"{file} has {len(inputs)} inputs and {len(outputs)} outputs, not 1 and 1")
    name = inputs[0].name

    def run(rows: Any) -> Any:
        return session.run(None, {name: rows})[0]

    return run
