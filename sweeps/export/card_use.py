"""How to use an export: three lines for each of its formats, which a test runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from sweeps import render
from sweeps.export.compare import TOLERANCE
from sweeps.export.deploy import Deployed
from sweeps.export.markdown import code, table
from sweeps.export.onnx_graph import INPUT, OPSET
from sweeps.export.signature import Signature

_WEIGHTS = """
from hydra.utils import instantiate
from omegaconf import OmegaConf

parts = instantiate(OmegaConf.load("{folder}/config.yaml"), _convert_="all")
best = parts["trainer"].load("{folder}", parts)
print(best.net)
"""


def use_section(folder: str, deployed: Deployed) -> str:
    """How to load it, from the folder that holds its own."""
    written = {graph.format for graph in deployed.graphs}
    parts = [
        *(_predict(folder) if deployed.signature is not None else ()),
        f"In Python, from the folder that holds `{folder}/`:",
        *(_GRAPHS[name](folder, deployed.signature) for name in _GRAPHS if name in written),
        *(["As the network itself, to go on with:"] if written else []),
        code("python", _WEIGHTS.format(folder=folder)),
        '`parts["trainer"].predict(best.net, rows)` then gives what the network says of raw rows, '
        'and `parts["trainer"].evaluate(best.net, "test")` its metrics. The weights are '
        "safetensors and the rest is text: nothing is unpickled. But `instantiate` runs the "
        "classes that config.yaml names, so do this with an export that you trust.",
    ]
    return "\n\n".join(parts)


def _predict(folder: str) -> Iterable[str]:
    yield "Of a table with a header, CSV or Parquet:"
    yield code("sh", f"caviar predict {folder} data.csv -o predictions.csv")


def _onnx(folder: str, signature: Signature | None) -> str:
    assert signature is not None
    shape = ", ".join(map(str, (1, *signature.shape)))
    lines = f"""
import numpy, onnxruntime
session = onnxruntime.InferenceSession("{folder}/model.onnx")
print(session.run(None, {{"{INPUT}": numpy.zeros(({shape}), "{signature.dtype}")}})[0])
"""
    return code("python", lines)


def _pt2(folder: str, signature: Signature | None) -> str:
    assert signature is not None
    shape = ", ".join(map(str, (1, *signature.shape)))
    lines = f"""
import torch
program = torch.export.load("{folder}/model.pt2").module()
print(program(torch.zeros({shape}, dtype=torch.{signature.dtype})))
"""
    return f"{code('python', lines)}\n\n(`torch.export.load` unpickles: load what you trust alone.)"


_GRAPHS: Mapping[str, Callable[[str, Signature | None], str]] = {"onnx": _onnx, "pt2": _pt2}


def formats_section(deployed: Deployed) -> Iterable[str]:
    """Which files hold the whole model, and how near they come to it."""
    if not deployed.graphs:
        return
    rows = [
        (
            f"`{graph.file}`" + (f", opset {OPSET}" if graph.format == "onnx" else ""),
            f"{graph.size / 1e6:.2f} MB",
            str(graph.agreement.rows),
            f"{graph.agreement.difference:.2g}",
            str(graph.agreement.changed),
        )
        for graph in deployed.graphs
    ]
    header = ("file", "size", "rows compared", "largest difference", "other class")
    yield (
        f"## Formats\n\nEach was loaded back and compared with the network on the validation rows, "
        f"on the CPU; more than {render.number(TOLERANCE)} apart would have refused it.\n\n"
        f"{table(header, rows)}"
    )
