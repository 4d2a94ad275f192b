"""`caviar results`: trials as a table or a file, side by side, or one as an experiment file."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeps.commands.verb import Verb, add_help, positive, say
from sweeps.errors import SweepError

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa

    from sweeps.loaded import Sweep
    from sweeps.results.compare import Row

_TOP = 10


def _results(parser: ArgumentParser, given: list[str]) -> int:
    from sweeps.loaded import load

    options = _options(parser, given)
    sweeps = [load(name) for name in options.sweeps]
    _read(sweeps, options)
    if options.experiment is not None:
        _write_experiment(sweeps[0], options)
    elif options.diff:
        _diff(sweeps[0], options)
    elif options.format is not None:
        _write(_chosen(sweeps, options, most=options.top), options)
    elif len(sweeps) > 1:
        _compare(sweeps, options)
    else:
        _print_trials(sweeps[0], options)
    return 0


def _read(sweeps: list[Sweep], options: Namespace) -> None:
    """Read what is shown; of a large sweep that takes seconds, which a terminal says."""
    from contextlib import nullcontext

    from sweeps.render import make_console

    console = make_console(stderr=True)
    with console.status("reading") if console.is_terminal else nullcontext():
        for sweep in sweeps:
            _ = sweep.arrow if options.format and not options.diff else sweep.results


def _options(parser: ArgumentParser, given: list[str]) -> Namespace:
    parser.add_argument(
        "sweeps",
        metavar="SWEEP",
        nargs="+",
        help="its folder, its name in outputs/sweeps, or what `caviar list` shows of it; "
        "several are shown side by side",
    )
    how_many = parser.add_mutually_exclusive_group()
    how_many.add_argument("--top", type=positive, metavar="N", help=f"the N best trials ({_TOP})")
    how_many.add_argument("--all", action="store_true", help="all trials")
    parser.add_argument(
        "--sort",
        action="append",
        default=[],
        metavar="COLUMN",
        help="in the order of a column, -COLUMN from above; again for ties",
    )
    parser.add_argument(
        "--filter", metavar="EXPR", help="such as 'value<0.1 and lr>=1e-3 and status==complete'"
    )
    parser.add_argument("--columns", metavar="A,B", help="only these, in this order")
    parser.add_argument(
        "--diff", nargs=2, type=int, metavar="TRIAL", help="in what two trials' configs differ"
    )
    parser.add_argument(
        "--experiment",
        metavar="FILE",
        type=Path,
        help="the best trial, or --trial N, as a Hydra experiment file of its app",
    )
    parser.add_argument("--trial", type=int, metavar="N", help="which trial, for --experiment")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--csv", dest="format", action="store_const", const="csv", help="as CSV")
    form.add_argument("--json", dest="format", action="store_const", const="json", help="as JSON")
    form.add_argument("--parquet", metavar="FILE", type=Path, help="as Parquet, to that file")
    form.add_argument("--xlsx", metavar="FILE", type=Path, help="for Excel, to that file")
    parser.add_argument("--metrics", action="store_true", help="one row a report, not one a trial")
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, help="for --csv and --json")
    add_help(parser)
    options = parser.parse_args(_with_values(given))
    for form_with_file in ("parquet", "xlsx"):
        if (path := getattr(options, form_with_file)) is not None:
            options.format, options.output = form_with_file, options.output or path
    _check(parser, options)
    return options


def _with_values(given: list[str]) -> list[str]:
    """`--sort -value` as `--sort=-value`: argparse takes it for a flag of its own."""
    words: list[str] = []
    for word in given:
        if words and words[-1] == "--sort":
            words[-1] = f"--sort={word}"
        else:
            words.append(word)
    return words


def _check(parser: ArgumentParser, options: Namespace) -> None:
    if options.format is None and (options.output or options.metrics):
        parser.error("-o and --metrics need --csv, --json, --parquet or --xlsx")
    if options.diff:
        if len(options.sweeps) > 1:
            parser.error("--diff is of two trials of one sweep")
        if (
            options.metrics
            or options.filter
            or options.sort
            or options.columns
            or options.top
            or options.all
        ):
            parser.error("--diff goes with --csv, --json, --parquet, --xlsx and -o alone")
    if options.trial is not None and options.experiment is None:
        parser.error("--trial goes with --experiment")
    if options.experiment is not None:
        others = ("diff", "format", "filter", "sort", "columns", "top", "all")
        if len(options.sweeps) > 1 or any(getattr(options, name) for name in others):
            parser.error("--experiment is of one sweep, and goes with --trial alone")


def _write_experiment(sweep: Sweep, options: Namespace) -> None:
    """What was written goes to the screen beside the output, which is the command alone."""
    from sweeps.experiment.trial import write_experiment
    from sweeps.render import make_console, working

    with working(make_console(stderr=True)) as doing:
        doing("composing with the app's configs")
        written = write_experiment(sweep.results, options.trial, options.experiment)
    say(f"{options.experiment} is trial {written.trial.number} of {sweep.name}; run it with")
    print(written.command)
    for key in written.secrets:
        say(f"{key} is a secret and not in the file: give it too")


# On the screen


def _print_trials(sweep: Sweep, options: Namespace) -> None:
    from sweeps.driver.summary import print_trials
    from sweeps.render import make_console
    from sweeps.results.screen import rows_table

    console = make_console()
    if options.columns:
        console.print(rows_table(_chosen([sweep], options, most=_shown(options))))
        return
    results = sweep.results
    top = _shown(options) or len(results.trials)
    if not (options.filter or options.sort):
        print_trials(results, top=top, console=console)
        return
    numbers = _chosen([sweep], options, most=len(results.trials))["number"].to_pylist()
    chosen = [results.trials[number] for number in numbers]
    print_trials(results, top=top, console=console, chosen=chosen)
    if options.filter:
        more = "" if len(chosen) <= top else f", {top} of them are shown (--all)"
        meet = f"{len(chosen)} of {len(results.trials)} trials meet the filter{more}"
        console.print(meet, style="dim")


def _compare(sweeps: list[Sweep], options: Namespace) -> None:
    from sweeps.render import make_console
    from sweeps.results.compare import compare
    from sweeps.results.screen import rows_table, side_by_side

    console, rows = make_console(), compare([sweep.results for sweep in sweeps])
    console.print(side_by_side(rows, _labels(sweeps), about="sweep"))
    if options.top or options.all or options.sort or options.filter or options.columns:
        console.print()
        console.print(rows_table(_chosen(sweeps, options, most=_shown(options))))


def _diff(sweep: Sweep, options: Namespace) -> None:
    from sweeps.render import make_console
    from sweeps.results.diff import config_of, diff
    from sweeps.results.screen import side_by_side

    results = sweep.results
    rows = diff(results, *options.diff)
    lost = [str(n) for n in options.diff if config_of(results, results.trials[n]) is None]
    if lost:
        say(f"no config is left of trial {' and '.join(lost)}: parameters alone are compared")
    labels = [f"trial {number}" for number in options.diff]
    if options.format is not None:
        _write(_as_table(rows, labels), options)
        return
    make_console().print(side_by_side(rows, labels, about="key"))


def _as_table(rows: list[Row], labels: list[str]) -> pa.Table:
    import pyarrow as pa

    columns = {"key": [row.name for row in rows]}
    columns |= {label: [row.cells[i] for row in rows] for i, label in enumerate(labels)}
    return pa.table(columns)


# The rows


def _shown(options: Namespace) -> int | None:
    """How many trials a screen shows; None for all."""
    return None if options.all else options.top or _TOP


def _chosen(sweeps: list[Sweep], options: Namespace, *, most: int | None) -> pa.Table:
    """The rows of one table over all sweeps that were asked for, in that order.

    By number; where there is a limit, the best trials of each sweep, best first, or the first rows
    of the order that `--sort` gives.
    """
    from sweeps.results.filter import filtered
    from sweeps.results.pick import selected, sorted_by

    table, metric = _table(sweeps, options), _metric(sweeps)
    if options.filter is not None:
        table = filtered(table, options.filter, metric=metric)
    if options.sort:
        table = sorted_by(table, options.sort, metric=metric)
        table = table if most is None else table.slice(0, most)
    elif most is not None:
        table = _best_first(sweeps, table, most)
    return selected(table, options.columns, metric=metric)


def _table(sweeps: list[Sweep], options: Namespace) -> pa.Table:
    """Of several sweeps one table, with a column that says which."""
    import pyarrow as pa

    from sweeps.results.join import joined

    tables = [s.arrow.metrics if options.metrics else s.arrow.trials for s in sweeps]
    if len(tables) == 1:
        return tables[0]
    named = [
        table.add_column(0, "sweep", pa.array([label] * table.num_rows, pa.string()))
        for table, label in zip(tables, _labels(sweeps), strict=True)
    ]
    return joined(named).replace_schema_metadata(None)


def _labels(sweeps: list[Sweep]) -> list[str]:
    from sweeps.results.compare import labels

    return labels([sweep.folder for sweep in sweeps])


def _metric(sweeps: list[Sweep]) -> str | None:
    """The objective's metric, where all sweeps have the same."""
    metrics = {sweep.metric for sweep in sweeps}
    return metrics.pop() if len(metrics) == 1 else None


def _best_first(sweeps: list[Sweep], table: pa.Table, most: int) -> pa.Table:
    """The rows of the best trials of each sweep, of those that are in the table."""
    import pyarrow as pa

    of = table["sweep"].to_pylist() if len(sweeps) > 1 else [None] * table.num_rows
    numbers = table["number" if "number" in table.column_names else "trial"].to_pylist()
    rows: dict[Any, list[int]] = {}
    for row, key in enumerate(zip(of, numbers, strict=True)):
        rows.setdefault(key, []).append(row)
    taken: list[int] = []
    for sweep, label in zip(sweeps, _labels(sweeps) if len(sweeps) > 1 else [None], strict=True):
        there = [(label, trial.number) for trial in sweep.results.ranked()]
        best = [key for key in there if key in rows][:most]
        taken += [row for key in best for row in rows[key]]
    return table.take(pa.array(taken, pa.int64()))


# Files


def _write(table: pa.Table, options: Namespace) -> None:
    from sweeps.results import write_csv, write_json, write_parquet
    from sweeps.results.xlsx import write_xlsx

    writers: dict[str, Callable[[pa.Table, Any], None]] = {
        "csv": write_csv,
        "json": write_json,
        "parquet": write_parquet,
        "xlsx": write_xlsx,
    }
    try:
        writers[options.format](table, options.output)
    except OSError as error:
        if options.output is None:
            raise
        raise SweepError(f"{options.output} cannot be written: {error.strerror}") from error


RESULTS = Verb(
    run=_results,
    summary="show a sweep's trials, also while it runs",
    usage="SWEEP... [--top N | --all] [--sort COLUMN]... [--filter EXPR] [--columns A,B]\n"
    "                      [--csv | --json | --parquet FILE | --xlsx FILE] [--metrics] [-o FILE]\n"
    "       caviar results SWEEP --diff TRIAL TRIAL\n"
    "       caviar results SWEEP --experiment FILE [--trial N]",
    about="Show a sweep's best trials as a table, or all of them as a file; several sweeps side by "
    "side;\nor in what two trials differ; or write a trial as an experiment file of its app, and "
    "show the\ncommand that runs it (docs/experiment_file.md). Columns: docs/tables.md.",
    examples=(
        "outputs/sweeps/train-1",
        "train-1 --filter 'value>0.9 and lr<1e-2' --sort -duration_s",
        "train-1 --csv -o trials.csv",
        "train-1 train-2",
        "train-1 --diff 3 7",
        "train-1 --experiment conf/experiment/best.yaml",
    ),
)
