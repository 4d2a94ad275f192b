"""`caviar train`, `sweep` and `resume`: a command line of Hydra's, passed on as it is."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from typing import TYPE_CHECKING

from sweeps.commands.verb import Verb, say

if TYPE_CHECKING:
    from sweeps.planning.launch import HydraArguments, Program
    from sweeps.storage.folder import SweepFolder


def wants_help(parser: ArgumentParser, given: list[str]) -> bool:
    """Whether the help is asked for, which it then shows."""
    wanted = given[:1] in (["-h"], ["--help"])
    if wanted:
        parser.print_help()
    return wanted


def refused(ended: SystemExit) -> int:
    """Wrong usage where Hydra could not compose what was asked, with a hint.

    Raises:
        SystemExit: The app ended so by itself.
    """
    from sweeps.planning.launch import hint, is_wrong_usage

    if not is_wrong_usage(ended):
        raise ended
    if question := hint(ended):
        say(question)
    return 2


def _launch(program: Program, arguments: HydraArguments) -> int:
    from sweeps.planning.launch import run

    try:
        run(program, arguments)
    except SystemExit as ended:
        return refused(ended)
    return 0


def _train(parser: ArgumentParser, given: list[str]) -> int:
    from sweeps.planning.launch import HydraArguments, split_program

    if wants_help(parser, given):
        return 0
    program, rest = split_program(given)
    return _launch(program, HydraArguments.parse(rest))


def _sweep(parser: ArgumentParser, given: list[str]) -> int:
    from sweeps.planning.launch import HydraArguments, split_program

    if wants_help(parser, given):
        sys.stdout.write(_searchers_and_schedulers())
        return 0
    program, rest = split_program(given)
    return _launch(program, HydraArguments.parse(rest).as_sweep())


def _searchers_and_schedulers() -> str:
    """Every choice with its options, for the help."""
    from sweeps.schedulers import SCHEDULERS
    from sweeps.searchers import SEARCHERS
    from sweeps.space.choices import describe

    lines = []
    for part, table in (("searcher", SEARCHERS), ("scheduler", SCHEDULERS)):
        lines.append(f"\nhydra/sweeper/{part}=NAME, with hydra.sweeper.{part}.OPTION=VALUE:\n")
        for name, about, options in describe(table):
            lines.append(f"  {name:<19}{about}\n")
            lines.append(f"  {'':<19}  {options}\n" if options else "")
    return "".join(lines)


def _resume(parser: ArgumentParser, given: list[str]) -> int:
    if wants_help(parser, given):
        return 0
    if not given or given[0].startswith("-") or "=" in given[0]:
        parser.error("which sweep? give its folder, its name under outputs/sweeps, or its handle")
    name, *more = given

    from cluster.ledger import Entry
    from sweeps.commands.submit import resubmit
    from sweeps.submission.found import find_sweep_or_entry

    found = find_sweep_or_entry(name)
    return resubmit(parser, found, more) if isinstance(found, Entry) else _go_on(found, more)


def _go_on(folder: SweepFolder, given: list[str]) -> int:
    from sweeps.planning.launch import Program, enter_recorded, resume_arguments
    from sweeps.storage.folder import Record

    record = Record.read(folder)
    arguments = resume_arguments(folder, record, given)
    return _launch(Program.of(enter_recorded(record)), arguments)


TRAIN = Verb(
    run=_train,
    summary="train one configuration of an app",
    usage="[APP] [OVERRIDES ...]",
    about=(
        "Train one configuration: `caviar train app.py X` is `python app.py X`.\n"
        "What follows the app is Hydra's, flags such as --cfg job too."
    ),
    examples=("model=mlp trainer.epochs=5", "app.py lr=0.01", "app.py --cfg job"),
)
SWEEP = Verb(
    run=_sweep,
    summary="search an app's hyperparameters",
    usage="[APP] [OVERRIDES ...]",
    about=(
        "Search: `caviar sweep app.py X` is `python app.py -m hydra/sweeper=ray_tune X`,\n"
        "unless X names a sweeper. What follows the app is Hydra's."
    ),
    examples=(
        "'optimizer.lr=tag(log, interval(1e-3, 1))' hydra.sweeper.num_samples=8",
        "app.py model=mlp,convnet hydra.sweeper.dry_run=true",
    ),
)
RESUME = Verb(
    run=_resume,
    summary="go on with a sweep that was cut short, or extend it",
    usage="SWEEP [OVERRIDES ...] | HANDLE [--follow] [--dry-run] [--insecure] [OVERRIDES ...]",
    about=(
        "Go on with a sweep, whatever ended it: no finished trial runs again, none is lost.\n"
        "HANDLE is what `caviar list` shows, a sweep's name too: it is submitted again, to where\n"
        "it was. SWEEP is a folder, or the name of one under outputs/sweeps that was not\n"
        "submitted: it goes on here. Overrides extend it."
    ),
    examples=(
        "outputs/sweeps/train-1",
        "outputs/sweeps/train-1 hydra.sweeper.num_samples=64",
        "3fa94c1b --follow",
    ),
)
