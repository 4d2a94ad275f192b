"""`caviar predict`: an exported model's predictions for the rows of a file."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from sweeps.commands.verb import Verb, add_help

if TYPE_CHECKING:
    from sweeps.predict import Predicted


def _predict(parser: ArgumentParser, given: list[str]) -> int:
    options = _options(parser, given)

    from sweeps.predict import predict_file
    from sweeps.render import make_console, working

    console = make_console(stderr=True)
    with working(console) as say:
        done = predict_file(
            options.export,
            options.data,
            out=options.output,
            keep=options.column,
            delimiter=options.delimiter,
            trusted=options.trust,
            say=say,
        )
    for line in _facts(done, options.output):
        console.print(line, markup=False)
    return 0


def _facts(done: Predicted, out: Path | None) -> Iterator[str]:
    if done.unused:
        shown = ", ".join(done.unused[:10]) + (", ..." if len(done.unused) > 10 else "")
        yield f"columns that the model does not take: {shown}"
    for column, unknown in done.unknown.items():
        yield (
            f"column {column!r}: {unknown.cells} cells of categories that training had not seen, "
            f"the first {unknown.first!r} in row {unknown.row}; they count as none of the known"
        )
    where = f", written to {out}" if out is not None else ""
    yield f"{done.rows:,} rows, predicted by {done.file}{where}"


def _options(parser: ArgumentParser, given: list[str]) -> Namespace:
    parser.add_argument(
        "export", metavar="EXPORT", type=Path, help="a folder that `caviar export` wrote"
    )
    parser.add_argument(
        "data", metavar="DATA", type=Path, help="the rows: .csv, .tsv, .parquet or .npy"
    )
    parser.add_argument(
        "-o", "--output", metavar="FILE", type=Path, help=".csv or .parquet; else CSV to the screen"
    )
    parser.add_argument(
        "--column",
        action="append",
        default=[],
        metavar="NAME",
        help="a column of DATA to write in front of the predictions, such as an id; again for more",
    )
    parser.add_argument("--delimiter", metavar="C", help="of a CSV file")
    parser.add_argument(
        "--trust",
        action="append",
        default=[],
        metavar="PACKAGE",
        help="let this package's code rebuild the network, where there is no model.onnx",
    )
    add_help(parser)
    options = parser.parse_args(given)
    if options.delimiter is not None and len(options.delimiter) != 1:
        parser.error(f"--delimiter is {options.delimiter!r}; it is one character")
    return options


PREDICT = Verb(
    run=_predict,
    summary="predict the rows of a file with an exported model",
    usage="EXPORT DATA [-o FILE] [--column NAME]... [--delimiter C] [--trust PACKAGE]...",
    about=(
        "Predict every row of a CSV or Parquet file with an exported model: class and probability\n"
        "of each class, or the value of a regression, in the order of the rows. The columns are\n"
        "found by name. The model is its ONNX graph where there is one, which runs no code of\n"
        "the export; else its weights, in a network that the installed package builds."
    ),
    examples=(
        "outputs/sweeps/train-1/best data.csv -o predictions.csv",
        "outputs/sweeps/train-1/best data.parquet -o predictions.parquet --column id",
    ),
)
