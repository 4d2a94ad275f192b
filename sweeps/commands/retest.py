"""`caviar retest`: a sweep's best configurations trained again with new seeds."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from sweeps.commands.apps import refused
from sweeps.commands.verb import Verb, add_help, add_sweep, at_least_0, positive
from sweeps.errors import ConfigError, SweepError

if TYPE_CHECKING:
    from sweeps.retest.results import Retest
    from sweeps.storage.folder import SweepFolder


_INTERRUPTED = 130


def _retest(parser: ArgumentParser, given: list[str]) -> int:
    options = _options(parser, given)

    from sweeps.submission.found import find_any_sweep

    folder = find_any_sweep(options.sweep)
    if options.show:
        _write(_there(folder), folder, options)
        return 0
    code = _train(folder, options)
    if code not in (0, _INTERRUPTED):
        return code
    from sweeps.retest.results import read_retest

    if (found := read_retest(folder)) is not None:
        _write(found, folder, options)
        if found.best is None and found.is_done:
            raise SweepError(f"none of {found.total} runs gave a finite {found.objective.metric}")
    return code


def _train(folder: SweepFolder, options: Namespace) -> int:
    """Train what is missing; the exit code of the app's command line."""
    from sweeps.driver.retest import Asked, retest

    asked = Asked(
        top=options.top,
        seeds=options.seeds,
        seed_key=options.seed_key,
        cpus=options.cpus,
        gpus=options.gpus,
        concurrency=options.concurrency,
    )
    try:
        retest(folder, asked, overrides=options.overrides)
    except SystemExit as ended:
        return _code(ended)
    return 0


def _code(ended: SystemExit) -> int:
    try:
        return refused(ended)
    except SystemExit:
        return ended.code if isinstance(ended.code, int) else 1


def _there(folder: SweepFolder) -> Retest:
    from sweeps.retest.results import read_retest

    found = read_retest(folder)
    if found is None:
        raise ConfigError(f"{folder.place} was not retested yet: leave --show out")
    return found


def _write(found: Retest, folder: SweepFolder, options: Namespace) -> None:
    from sweeps.render import make_console
    from sweeps.results import write_csv
    from sweeps.retest import show

    if options.format is None:
        show.show(found, folder, console=make_console())
    elif options.format == "csv":
        write_csv(show.as_table(found), options.output)
    else:
        text = json.dumps(show.as_json(found, folder), indent=2, allow_nan=False) + "\n"
        if options.output is None:
            sys.stdout.write(text)
        else:
            options.output.write_text(text, encoding="utf-8")


def _options(parser: ArgumentParser, given: list[str]) -> Namespace:
    add_sweep(parser)
    parser.add_argument(
        "overrides",
        metavar="OVERRIDES",
        nargs="*",
        help="of the app, for secrets that the sweep's record leaves out",
    )
    parser.add_argument("--top", type=positive, metavar="N", help="how many of the best (5)")
    parser.add_argument("--seeds", type=positive, metavar="N", help="how many seeds each (5)")
    parser.add_argument(
        "--seed-key", metavar="KEY", help="the key of the app's config that takes a seed (seed)"
    )
    parser.add_argument("--cpus", type=at_least_0, metavar="N", help="CPUs of a run")
    parser.add_argument("--gpus", type=at_least_0, metavar="N", help="GPUs of a run, such as 0.25")
    parser.add_argument("--concurrency", type=positive, metavar="N", help="runs at once, at most")
    parser.add_argument("--show", action="store_true", help="what there is; nothing is trained")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--csv", dest="format", action="store_const", const="csv", help="as CSV")
    form.add_argument("--json", dest="format", action="store_const", const="json", help="as JSON")
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, help="for --csv and --json")
    add_help(parser)
    options = parser.parse_intermixed_args(given)
    if options.format is None and options.output:
        parser.error("-o needs --csv or --json")
    if options.output is not None:
        options.output = options.output.resolve()  # the app's own folder is entered
    return options


RETEST = Verb(
    run=_retest,
    summary="train a sweep's best again with new seeds: which is truly the best?",
    usage=(
        "SWEEP [--top N] [--seeds N] [--seed-key KEY] [--cpus N] [--gpus N]\n"
        "                     [--concurrency N] [--show] [--csv | --json] [-o FILE] [OVERRIDES ...]"
    ),
    about=(
        "Train the best configurations again, each with the same new seeds, to the last step;\n"
        "then show mean, spread and interval of each, the chance that it is truly the best, and\n"
        "whether the sweep's winner had luck. Run again it goes on; with more configurations or\n"
        "seeds it trains those alone. What it finds is kept in SWEEP/retest."
    ),
    examples=(
        "outputs/sweeps/train-1",
        "outputs/sweeps/train-1 --top 3 --seeds 10 --gpus 0.5",
        "outputs/sweeps/train-1 --show --json",
    ),
)
