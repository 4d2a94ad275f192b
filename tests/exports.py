"""Small exports without a training behind them: an ONNX graph, and what stands beside one."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sweeps.export.onnx_graph import INPUT, OPSET
from sweeps.export.signature import Column, Signature
from sweeps.export.source import hash_of


def writer(folder: Path) -> Callable[..., Path]:
    """A function that writes an export to a folder."""

    def write(
        columns: Sequence[Column],
        weights: Any,
        *,
        missing_is: float | None,
        task: str = "classification",
    ) -> Path:
        folder.mkdir()
        names = ("no", "yes") if task == "classification" else ("value",)
        signature = Signature(
            task=task,
            columns=tuple(columns),
            shape=(len(weights),),
            dtype="float64",
            outputs=names,
            missing=None if missing_is is None else f"it counts as {missing_is}",
        )
        signature.write(folder)
        graph = _graph(np.asarray(weights), missing_is or 0.0, softmax=task == "classification")
        (folder / "model.onnx").write_bytes(graph.SerializeToString())
        seal(folder)
        return folder

    return write


def seal(folder: Path) -> None:
    """Write metrics.json with the hashes of what is there, as whoever tampers could too."""
    files = {file.name: hash_of(file) for file in folder.iterdir() if file.name != "metrics.json"}
    (folder / "metrics.json").write_text(json.dumps({"sha256": files}))


def _graph(weights: Any, missing_is: float, *, softmax: bool) -> Any:
    from onnx import TensorProto, helper, numpy_helper

    features, outputs = weights.shape
    nodes = [
        helper.make_node("IsNaN", [INPUT], ["hole"]),
        helper.make_node("Where", ["hole", "fill", INPUT], ["filled"]),
        helper.make_node("MatMul", ["filled", "weights"], ["logits"]),
        helper.make_node("Softmax" if softmax else "Identity", ["logits"], ["out"]),
    ]
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info(INPUT, TensorProto.DOUBLE, ["n", features])],
        [helper.make_tensor_value_info("out", TensorProto.DOUBLE, ["n", outputs])],
        [
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array(np.array(missing_is), "fill"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
