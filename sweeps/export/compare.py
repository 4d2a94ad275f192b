"""Whether what was exported says the same as the network it was made from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sweeps.errors import SweepError
from sweeps.export.program import Run
from sweeps.export.signature import Signature

TOLERANCE = 1e-4
"""How far a probability may lie from the network's; a regression's value, relative above 1.

Sums of float32 in another order differ by 1e-7 to 1e-5, the more the deeper the network; a missing
scaling, layer or temperature by 1e-2 and more.
"""


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How near a file comes to the network."""

    rows: int
    """Compared, those with planted missing values among them."""
    difference: float
    """The largest of all outputs."""
    changed: int
    """Rows of another most likely class."""


def compare(
    source: Callable[[Any], Any],
    runs: Mapping[str, Run],
    batches: Iterable[Any],
    signature: Signature,
) -> dict[str, Agreement]:
    """Ask the network and each graph about the same raw rows, and about one row alone.

    Where missing numbers are allowed, the first batch is asked about again with a number of each
    row missing.

    Raises:
        SweepError: One of them differs by more than `TOLERANCE`, or there are no rows.
    """
    found = {name: Agreement(rows=0, difference=0.0, changed=0) for name in runs}
    for rows in _with_edges(batches, signature):
        said = np.asarray(source(rows), dtype=np.float64)
        for name, run in runs.items():
            found[name] = _joined(found[name], said, run(rows), signature)
    for name, agreement in found.items():
        _check(name, agreement)
    return found


def _with_edges(batches: Iterable[Any], signature: Signature) -> Iterable[Any]:
    for i, batch in enumerate(batches):
        rows = np.ascontiguousarray(np.asarray(batch), dtype=signature.dtype)
        yield rows
        if i == 0 and len(rows):
            yield rows[:1]
            if signature.missing is not None:
                yield _with_holes(rows)


def _with_holes(rows: Any) -> Any:
    """The rows, one number of each missing: the first of the first, the second of the second..."""
    holed = rows.copy()
    flat = holed.reshape(len(rows), -1)
    flat[np.arange(len(rows)), np.arange(len(rows)) % flat.shape[1]] = np.nan
    return holed


def _joined(before: Agreement, source: Any, graph: Any, signature: Signature) -> Agreement:
    if source.shape != graph.shape:
        raise SweepError(
            f"nothing was exported: the network gives {source.shape} for {len(source)} rows, and "
            f"its graph {graph.shape}"
        )
    apart = np.abs(source - graph) / np.maximum(1.0, np.abs(source))
    apart = np.where(np.isnan(source) & np.isnan(graph), 0.0, apart)
    is_class = signature.task == "classification"
    changed = int((source.argmax(1) != graph.argmax(1)).sum()) if is_class else 0
    return Agreement(
        rows=before.rows + len(source),
        difference=max(before.difference, float(np.nan_to_num(apart, nan=np.inf).max(initial=0))),
        changed=before.changed + changed,
    )


def _check(name: str, agreement: Agreement) -> None:
    if not agreement.rows:
        raise SweepError("nothing was exported: the validation split has no rows to compare on")
    if agreement.difference > TOLERANCE:
        raise SweepError(
            f"nothing was exported: on {agreement.rows} validation rows {name} is up to "
            f"{agreement.difference:.3g} off what the network says, more than {TOLERANCE:g}"
        )
