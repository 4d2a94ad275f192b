"""`caviar export`: a sweep's best model, taken out and verified."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from sweeps.commands.verb import Verb, add_help, add_sweep, several

if TYPE_CHECKING:
    from sweeps.export.combine import Kind


def _export(parser: ArgumentParser, given: list[str]) -> int:
    options = _options(parser, given)

    from sweeps.driver.summary import print_export
    from sweeps.export import export_best
    from sweeps.export.combine import export_combined
    from sweeps.render import make_console, working
    from sweeps.submission.found import find_any_sweep

    folder = find_any_sweep(options.sweep)
    kind: Kind | None = "ensemble" if options.ensemble else "soup" if options.soup else None
    with working(make_console(stderr=True)) as say:
        if kind is None:
            say("loading, evaluating and comparing")
            result = export_best(folder, trial=options.trial, out=options.out)
        else:
            result = export_combined(
                folder,
                kind=kind,
                count=options.ensemble or options.soup,
                recipe=options.recipe or "greedy",
                out=options.out,
                say=say,
            )
    print_export(result, console=make_console())
    return 0


def _options(parser: ArgumentParser, given: list[str]) -> Namespace:
    add_sweep(parser)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--trial", type=int, metavar="N", help="another trial than the best")
    what.add_argument(
        "--ensemble", type=several, metavar="K", help="the K best, their probabilities averaged"
    )
    what.add_argument("--soup", type=several, metavar="K", help="the K best, weights averaged")
    parser.add_argument(
        "--recipe",
        choices=("greedy", "uniform"),
        help="of the soup: leave out what makes it worse on validation rows (greedy), or nothing",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="another folder than its best/, ensemble/ or soup/"
    )
    add_help(parser)
    options = parser.parse_args(given)
    if options.recipe and not options.soup:
        parser.error("--recipe is of a --soup K")
    return options


EXPORT = Verb(
    run=_export,
    summary="take out a sweep's best model, verified",
    usage="SWEEP [--trial N | --ensemble K | --soup K [--recipe NAME]] [--out DIR]",
    about=(
        "Export the best trial's model, ready to use: weights, config, metrics, model card.\n"
        "It is loaded back and evaluated before it replaces an older export. An ensemble or a\n"
        "soup of the K best trials comes with its metrics beside the best one's; it takes\n"
        "their checkpoints: sweep with hydra.sweeper.keep_checkpoints=K."
    ),
    examples=(
        "outputs/sweeps/train-1",
        "outputs/sweeps/train-1 --trial 7 --out model",
        "outputs/sweeps/train-1 --ensemble 5",
        "outputs/sweeps/train-1 --soup 5 --recipe uniform",
    ),
)
