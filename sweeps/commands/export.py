"""`caviar export`: a sweep's best model, taken out and verified."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from sweeps.commands.verb import Verb, add_help, add_sweep, positive, several

if TYPE_CHECKING:
    from sweeps.export import ExportResult, TopResult
    from sweeps.export.writing import Say
    from sweeps.storage.folder import SweepFolder


def _export(parser: ArgumentParser, given: list[str]) -> int:
    options = _options(parser, given)

    from sweeps.driver.summary import print_export, print_top
    from sweeps.export import TopResult
    from sweeps.render import make_console, working
    from sweeps.submission.found import find_any_sweep

    folder = find_any_sweep(options.sweep)
    with working(make_console(stderr=True)) as say:
        result = _run(folder, options, say)
    if isinstance(result, TopResult):
        print_top(result, console=make_console())
    else:
        print_export(result, console=make_console())
    return 0


def _run(folder: SweepFolder, options: Namespace, say: Say) -> ExportResult | TopResult:
    from sweeps.export import ALL, export_best, export_top
    from sweeps.export.combine import export_combined
    from sweeps.export.formats import parse_formats

    formats = ALL if options.formats is None else parse_formats(options.formats)
    given = {"out": options.out, "formats": formats, "say": say}
    if options.top is not None:
        return export_top(folder, count=options.top, **given)
    if options.ensemble or options.soup:
        return export_combined(
            folder,
            kind="ensemble" if options.ensemble else "soup",
            count=options.ensemble or options.soup,
            recipe=options.recipe or "greedy",
            **given,
        )
    by_retest = options.by == "retest"
    return export_best(folder, trial=options.trial, by_retest=by_retest, **given)


def _options(parser: ArgumentParser, given: list[str]) -> Namespace:
    add_sweep(parser)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--trial", type=int, metavar="N", help="this trial, into trial-N/")
    what.add_argument("--top", type=positive, metavar="K", help="the K best, a folder each")
    what.add_argument(
        "--by",
        choices=("sweep", "retest"),
        help="the best by its value in the sweep (the default), or by its mean in `caviar retest`",
    )
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
        "--formats",
        metavar="LIST",
        help="of safetensors,pt2,onnx (all that can be written; safetensors always is)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="another folder than its best/, trial-N/, top/, ensemble/ or soup/",
    )
    add_help(parser)
    options = parser.parse_args(given)
    if options.recipe and not options.soup:
        parser.error("--recipe is of a --soup K")
    return options


EXPORT = Verb(
    run=_export,
    summary="take out a sweep's best model, verified",
    usage=(
        "SWEEP [--trial N | --by retest | --top K | --ensemble K |\n"
        "                     --soup K [--recipe NAME]] [--formats LIST] [--out DIR]"
    ),
    about=(
        "Export the best trial's model, ready to use: weights, config, torch.export program, ONNX\n"
        "graph, metrics, model card. Raw numeric rows go into the graphs and probabilities come\n"
        "out. All is loaded back and compared before it replaces an older export. An ensemble or\n"
        "a soup of the K best trials comes with its metrics beside the best one's. Several\n"
        "trials' models take their checkpoints: sweep with hydra.sweeper.keep_checkpoints=K."
    ),
    examples=(
        "outputs/sweeps/train-1",
        "outputs/sweeps/train-1 --trial 7 --formats onnx --out model",
        "outputs/sweeps/train-1 --by retest",
        "outputs/sweeps/train-1 --top 3",
        "outputs/sweeps/train-1 --ensemble 5",
        "outputs/sweeps/train-1 --soup 5 --recipe uniform",
    ),
)
