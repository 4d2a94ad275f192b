"""Predictions for every row of a file, in its order, a batch at a time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from sweeps.errors import ConfigError, SweepError, did_you_mean
from sweeps.export.signature import Signature
from sweeps.predict.encoding import Encoder, Unknown, match_columns
from sweeps.predict.model import LoadedModel, Say, load_model
from sweeps.predict.reading import Table, open_array, open_table
from sweeps.predict.writing import Write, check_ending, writing

_VALUES = 1 << 20  # numbers that go through a model at once
_EVERY_S = 2.0


@dataclass(frozen=True, kw_only=True)
class Predicted:
    """What was predicted."""

    rows: int
    file: str
    """The model's."""
    unused: Sequence[str] = ()
    """Columns that the model does not take."""
    unknown: Mapping[str, Unknown] = field(default_factory=dict)
    """By column: categories that training had not seen."""


def predict_file(
    export: Path,
    data: Path,
    *,
    out: Path | None = None,
    keep: Sequence[str] = (),
    delimiter: str | None = None,
    trusted: Sequence[str] = (),
    say: Say = lambda text: None,
) -> Predicted:
    """Predict the rows of a file with an exported model.

    Args:
        export: The export's folder.
        data: CSV (also compressed), TSV or Parquet with the columns of training by name, in any
            order; or numeric rows as an .npy file.
        out: `.csv` or `.parquet`; None is CSV to standard output.
        keep: Columns of the data to write in front of the predictions.
        delimiter: Of a CSV file; a comma where it is not given.
        trusted: Packages whose code may run, where the export has no ONNX graph.
        say: Told how far it is.

    Raises:
        ConfigError: A file, column or cell is not as it must be; it is named.
        SweepError: The export or the data cannot be read, or the result not be written.
    """
    check_ending(out)
    if out is not None and out.resolve() == data.resolve():
        raise ConfigError(f"-o is {str(out)!r}, which holds the data")
    model = load_model(export, trusted=trusted, say=say)
    if data.suffix.lower() == ".npy":
        return _predict_array(model, data, out, keep, say)
    table = open_table(data, delimiter=delimiter)
    unused = match_columns(model.signature, table.names, where=str(data))
    for name in keep:
        if name not in table.names:
            raise ConfigError(
                f"--column is {name!r}, which {data} does not have{did_you_mean(name, table.names)}"
            )
    return _predict_table(model, table, out, keep, unused, say)


def _predict_table(
    model: LoadedModel,
    table: Table,
    out: Path | None,
    keep: Sequence[str],
    unused: Sequence[str],
    say: Say,
) -> Predicted:
    signature = model.signature
    _check_names(signature, keep)
    encoder = Encoder(signature, parsed=table.parsed)
    wanted = [column.name for column in signature.columns]
    columns = [name for name in table.names if name in {*wanted, *keep}]
    tell = _progress(say, table.total)

    def results() -> Iterator[pa.Table]:
        for batch in table.batches(columns):
            rows = encoder(batch)
            kept = {name: batch.column(name) for name in keep}
            yield _result(signature, _outputs(model, rows), kept)
            tell(encoder.rows)

    _write_all(out, signature, results(), kept=keep)
    unused = [name for name in unused if name not in keep]
    return Predicted(rows=encoder.rows, file=model.file, unused=unused, unknown=encoder.unknown)


def _predict_array(
    model: LoadedModel, data: Path, out: Path | None, keep: Sequence[str], say: Say
) -> Predicted:
    if keep:
        raise ConfigError(f"--column is {keep[0]!r}, and the rows of {data} have no names")
    signature = model.signature
    rows = open_array(data, signature.shape)
    at_once = _rows_at_once(signature)
    tell = _progress(say, len(rows))

    def results() -> Iterator[pa.Table]:
        for start in range(0, len(rows), at_once):
            part = np.asarray(rows[start : start + at_once], dtype=signature.dtype)
            _check_rows(part, signature, first_row=start + 1)
            yield _result(signature, _outputs(model, part), {})
            tell(start + len(part))

    _write_all(out, signature, results(), kept=())
    return Predicted(rows=len(rows), file=model.file)


def _check_rows(rows: Any, signature: Signature, *, first_row: int) -> None:
    flat = rows.reshape(len(rows), -1)
    bad = np.isinf(flat) if signature.missing is not None else ~np.isfinite(flat)
    if bad.any():
        row, feature = np.argwhere(bad)[0]
        raise ConfigError(
            f"row {first_row + row}, column {signature.features[feature]!r} is "
            f"{flat[row, feature]}; the model takes a finite number"
        )


def _check_names(signature: Signature, keep: Sequence[str]) -> None:
    for name in keep:
        if name in signature.result_names:
            raise ConfigError(f"--column is {name!r}, and so is a column of the predictions")


def _outputs(model: LoadedModel, rows: Any) -> Any:
    """`[n, outputs]`, some rows at a time."""
    outputs = len(model.signature.outputs)
    at_once = _rows_at_once(model.signature)
    try:
        parts = [model.run(rows[i : i + at_once]) for i in range(0, len(rows), at_once)]
    except Exception as error:
        said = " ".join(str(error).split())
        raise SweepError(f"{model.file} does not take rows of its signature: {said}") from error
    made = np.concatenate(parts) if parts else np.zeros((0, outputs), np.float32)
    if made.shape != (len(rows), outputs):
        raise SweepError(
            f"{model.file} gives {made.shape} for {len(rows)} rows, and signature.json names "
            f"{outputs} outputs: the export is damaged"
        )
    return made


def _rows_at_once(signature: Signature) -> int:
    return max(1, _VALUES // math.prod(signature.shape))


def _result(signature: Signature, outputs: Any, kept: Mapping[str, pa.Array]) -> pa.Table:
    """The columns kept, then the predictions."""
    columns = [pa.array(outputs[:, i]) for i in range(outputs.shape[1])]
    if signature.task == "classification":
        names = np.asarray(signature.outputs, dtype=object)
        columns.insert(0, pa.array(names[outputs.argmax(1)], pa.string()))
    return pa.table([*kept.values(), *columns], names=[*kept, *signature.result_names])


def _write_all(
    out: Path | None, signature: Signature, results: Iterator[pa.Table], *, kept: Sequence[str]
) -> None:
    """Write tables of one schema; of no rows at all a header."""
    first = next(results, None)
    if first is None:
        nothing = np.zeros((0, len(signature.outputs)), np.float32)
        first = _result(signature, nothing, {name: pa.array([], pa.string()) for name in kept})
    with writing(out, first.schema) as write:
        _write_in_order(write, first, results)


def _write_in_order(write: Write, first: pa.Table, rest: Iterator[pa.Table]) -> None:
    write(first)
    for table in rest:
        write(table)


def _progress(say: Say, total: int | None) -> Callable[[int], None]:
    """Says how many rows are done, every few seconds."""
    last = time.monotonic()

    def tell(rows: int) -> None:
        nonlocal last
        if time.monotonic() - last >= _EVERY_S:
            last = time.monotonic()
            of = "" if total is None else f" of {total:,}"
            say(f"{rows:,}{of} rows")

    return tell
