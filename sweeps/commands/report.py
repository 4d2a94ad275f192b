"""`caviar report`: a sweep as one page of plots and tables."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path

from sweeps.commands.verb import Verb, add_help, add_sweep


def _report(parser: ArgumentParser, given: list[str]) -> int:
    add_sweep(parser)
    parser.add_argument(
        "-o", "--output", metavar="FILE", type=Path, help="another file than its report.html"
    )
    parser.add_argument("--open", action="store_true", help="show it in the browser")
    add_help(parser)
    options = parser.parse_args(given)

    from sweeps.render import make_console, working
    from sweeps.results import load_sweep
    from sweeps.submission.found import find_any_sweep

    with working(make_console(stderr=True)) as say:
        say("reading the sweep")
        sweep = load_sweep(find_any_sweep(options.sweep))
        say(f"drawing {len(sweep.trials)} trial{'' if len(sweep.trials) == 1 else 's'}")
        from sweeps.reports.write import write_report

        path = write_report(sweep, options.output)
    size = path.stat().st_size / 1e6
    shown = path if options.output else sweep.folder.shown(path)
    make_console().print(f"{shown}  {size:.1f} MB", markup=False)
    if options.open:
        _open(path)
    return 0


def _open(path: Path) -> None:
    import webbrowser

    webbrowser.open(path.resolve().as_uri())


REPORT = Verb(
    run=_report,
    summary="write a sweep's report: one HTML file",
    usage="SWEEP [-o FILE] [--open]",
    about=(
        "Write a sweep's report, also while it runs: how it went, what mattered, what failed, and\n"
        "where it comes from, as one HTML file that loads nothing from elsewhere. It is\n"
        "report.html in the sweep's folder unless -o names another file."
    ),
    examples=("outputs/sweeps/train-1 --open", "s3://bucket/sweeps/train-1 -o report.html"),
)
