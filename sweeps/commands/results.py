"""`caviar results`: a sweep's trials, as a table or a file."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from sweeps.commands.verb import Verb, add_help, add_sweep, positive
from sweeps.errors import SweepError

if TYPE_CHECKING:
    import pyarrow as pa

    from sweeps.results import SweepResults


def _results(parser: ArgumentParser, given: list[str]) -> int:
    from sweeps.results import load_sweep
    from sweeps.submission.found import find_any_sweep

    options = _options(parser, given)
    sweep = load_sweep(find_any_sweep(options.sweep))
    if options.format is None:
        _print_trials(sweep, options)
    else:
        _write_table(sweep, options)
    return 0


def _options(parser: ArgumentParser, given: list[str]) -> Namespace:
    add_sweep(parser)
    how_many = parser.add_mutually_exclusive_group()
    how_many.add_argument("--top", type=positive, metavar="N", help="the N best trials (10)")
    how_many.add_argument("--all", action="store_true", help="all trials")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--csv", dest="format", action="store_const", const="csv", help="as CSV")
    form.add_argument("--json", dest="format", action="store_const", const="json", help="as JSON")
    form.add_argument("--parquet", metavar="FILE", type=Path, help="as Parquet, to that file")
    parser.add_argument("--metrics", action="store_true", help="one row a report, not one a trial")
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, help="for --csv and --json")
    add_help(parser)
    options = parser.parse_args(given)
    if options.parquet is not None:
        options.format, options.output = "parquet", options.output or options.parquet
    if options.format is None and (options.output or options.metrics):
        parser.error("-o and --metrics need --csv, --json or --parquet")
    return options


def _print_trials(sweep: SweepResults, options: Namespace) -> None:
    from sweeps.driver.summary import print_trials
    from sweeps.render import make_console

    top = len(sweep.trials) if options.all else options.top or 10
    print_trials(sweep, top=top, console=make_console())


def _write_table(sweep: SweepResults, options: Namespace) -> None:
    """All trials by number; with `--top`, the best ones, best first."""
    from sweeps.results import write_csv, write_json, write_parquet

    table: pa.Table = sweep.metrics() if options.metrics else sweep.table()
    if options.top:
        table = sweep.only(table, sweep.ranked()[: options.top])
    write = {"csv": write_csv, "json": write_json, "parquet": write_parquet}[options.format]
    try:
        write(table, options.output)
    except OSError as error:
        if options.output is None:
            raise
        raise SweepError(f"{options.output} cannot be written: {error.strerror}") from error


RESULTS = Verb(
    run=_results,
    summary="show a sweep's trials, also while it runs",
    usage="SWEEP [--top N | --all] [--csv | --json | --parquet FILE] [--metrics] [-o FILE]",
    about="Show a sweep's best trials as a table, or all of them as CSV, JSON or Parquet.",
    examples=("outputs/sweeps/train-1", "outputs/sweeps/train-1 --csv -o trials.csv"),
)
