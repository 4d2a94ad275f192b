"""The command line: `caviar VERB ...`.

Answers at once: what a verb needs is imported when it runs.
"""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.errors import ClusterError
from sweeps.errors import ConfigError, SweepError, did_you_mean, exit_code

if TYPE_CHECKING:
    import pyarrow as pa

    from sweeps.combine import Kind
    from sweeps.launch import HydraArguments, Program
    from sweeps.results import SweepResults


@dataclass(frozen=True, kw_only=True)
class Verb:
    """One command."""

    run: Callable[[ArgumentParser, list[str]], int]
    summary: str
    usage: str
    about: str
    examples: tuple[str, ...]

    def parser(self, name: str) -> ArgumentParser:
        """Its parser, which holds the help too."""
        examples = "\n".join(f"  caviar {name} {example}" for example in self.examples)
        return ArgumentParser(
            prog=f"caviar {name}",
            usage=f"caviar {name} {self.usage}",
            description=self.about,
            epilog=f"examples:\n{examples}",
            formatter_class=RawDescriptionHelpFormatter,
            add_help=False,
            allow_abbrev=False,
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; returns the exit code: 0 done, 1 failed, 2 wrong usage, 130 interrupted.

    An app's own `SystemExit` passes through.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _dispatch(given)
    except (ConfigError, SweepError, ClusterError) as error:
        _say(str(error))
        return exit_code(error)
    except KeyboardInterrupt as error:
        return exit_code(error)
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _dispatch(given: list[str]) -> int:
    if not given or given[0] in ("-h", "--help", "help"):
        sys.stdout.write(_overview())
        return 0
    name, *rest = given
    if name == "--version":
        sys.stdout.write(f"caviar {metadata.version('caviar')}\n")
        return 0
    if name not in _VERBS:
        raise ConfigError(
            f"caviar has no command {name!r}; it has {', '.join(_VERBS)}"
            f"{did_you_mean(name, _VERBS)}"
        )
    verb = _VERBS[name]
    parser = verb.parser(name)
    return verb.run(parser, rest)


def _say(message: str) -> None:
    sys.stderr.write(f"{message}\n")


def _overview() -> str:
    commands = "\n".join(f"  {name:<9} {verb.summary}" for name, verb in _VERBS.items())
    return f"""\
caviar sweeps hyperparameters of any Hydra app, and hands back the best model.

usage: caviar COMMAND ...

commands:
{commands}

`caviar COMMAND --help` says more, with examples. An app is a file, or -m and a module; without one,
train and sweep take caviar's own. Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.
"""


# train, sweep, resume: a command line of Hydra's behind the verb, passed on as it is


def _wants_help(parser: ArgumentParser, given: list[str]) -> bool:
    wanted = given[:1] in (["-h"], ["--help"])
    if wanted:
        parser.print_help()
    return wanted


def _train(parser: ArgumentParser, given: list[str]) -> int:
    from sweeps.launch import HydraArguments, split_program

    if _wants_help(parser, given):
        return 0
    program, rest = split_program(given)
    return _launch(program, HydraArguments.parse(rest))


def _sweep(parser: ArgumentParser, given: list[str]) -> int:
    from sweeps.launch import HydraArguments, split_program

    if _wants_help(parser, given):
        sys.stdout.write(_searchers_and_schedulers())
        return 0
    program, rest = split_program(given)
    return _launch(program, HydraArguments.parse(rest).as_sweep())


def _searchers_and_schedulers() -> str:
    """Every choice with its options, for the help."""
    from sweeps.choices import describe
    from sweeps.schedulers import SCHEDULERS
    from sweeps.searchers import SEARCHERS

    lines = []
    for part, table in (("searcher", SEARCHERS), ("scheduler", SCHEDULERS)):
        lines.append(f"\nhydra/sweeper/{part}=NAME, with hydra.sweeper.{part}.OPTION=VALUE:\n")
        for name, about, options in describe(table):
            lines.append(f"  {name:<19}{about}\n")
            lines.append(f"  {'':<19}  {options}\n" if options else "")
    return "".join(lines)


def _resume(parser: ArgumentParser, given: list[str]) -> int:
    from sweeps.folder import Record, find_sweep
    from sweeps.launch import Program, enter_recorded, resume_arguments

    if _wants_help(parser, given):
        return 0
    if not given or given[0].startswith("-") or "=" in given[0]:
        parser.error("which sweep? give its folder, or its name under outputs/sweeps, first")
    folder = find_sweep(given[0])
    record = Record.read(folder)
    arguments = resume_arguments(folder, record, given[1:])
    return _launch(Program.of(enter_recorded(record)), arguments)


def _launch(program: Program, arguments: HydraArguments) -> int:
    """Run an app; what Hydra could not compose is wrong usage, and gets a hint."""
    from sweeps.launch import hint, is_wrong_usage, run

    try:
        run(program, arguments)
    except SystemExit as ended:
        if not is_wrong_usage(ended):
            raise
        if question := hint(ended):
            _say(question)
        return 2
    return 0


# results


def _results(parser: ArgumentParser, given: list[str]) -> int:
    from sweeps.folder import find_sweep
    from sweeps.results import load_sweep

    options = _results_options(parser, given)
    sweep = load_sweep(find_sweep(options.sweep))
    if options.format is None:
        _print_trials(sweep, options)
    else:
        _write_table(sweep, options)
    return 0


def _results_options(parser: ArgumentParser, given: list[str]) -> Namespace:
    parser.add_argument("sweep", metavar="SWEEP", help="its folder, or its name in outputs/sweeps")
    how_many = parser.add_mutually_exclusive_group()
    how_many.add_argument("--top", type=_positive, metavar="N", help="the N best trials (10)")
    how_many.add_argument("--all", action="store_true", help="all trials")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--csv", dest="format", action="store_const", const="csv", help="as CSV")
    form.add_argument("--json", dest="format", action="store_const", const="json", help="as JSON")
    form.add_argument("--parquet", metavar="FILE", type=Path, help="as Parquet, to that file")
    parser.add_argument("--metrics", action="store_true", help="one row a report, not one a trial")
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, help="for --csv and --json")
    _add_help(parser)
    options = parser.parse_args(given)
    if options.parquet is not None:
        options.format, options.output = "parquet", options.output or options.parquet
    if options.format is None and (options.output or options.metrics):
        parser.error("-o and --metrics need --csv, --json or --parquet")
    return options


def _print_trials(sweep: SweepResults, options: Namespace) -> None:
    from sweeps.render import make_console
    from sweeps.summary import print_trials

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


# export


def _export(parser: ArgumentParser, given: list[str]) -> int:
    options = _export_options(parser, given)

    from sweeps.combine import export_combined
    from sweeps.export import export_best
    from sweeps.folder import find_sweep
    from sweeps.render import make_console, working
    from sweeps.summary import print_export

    folder = find_sweep(options.sweep)
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


def _export_options(parser: ArgumentParser, given: list[str]) -> Namespace:
    parser.add_argument("sweep", metavar="SWEEP", help="its folder, or its name in outputs/sweeps")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--trial", type=int, metavar="N", help="another trial than the best")
    what.add_argument(
        "--ensemble", type=_several, metavar="K", help="the K best, their probabilities averaged"
    )
    what.add_argument("--soup", type=_several, metavar="K", help="the K best, weights averaged")
    parser.add_argument(
        "--recipe",
        choices=("greedy", "uniform"),
        help="of the soup: leave out what makes it worse on validation rows (greedy), or nothing",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="another folder than its best/, ensemble/ or soup/"
    )
    _add_help(parser)
    options = parser.parse_args(given)
    if options.recipe and not options.soup:
        parser.error("--recipe is of a --soup K")
    return options


def _several(text: str) -> int:
    with suppress(ValueError):
        if int(text) > 1:
            return int(text)
    from argparse import ArgumentTypeError

    raise ArgumentTypeError(f"{text!r} is not a number above 1")


def _add_help(parser: ArgumentParser) -> None:
    parser.add_argument("-h", "--help", action="help", help="show this and end")


def _positive(text: str) -> int:
    with suppress(ValueError):
        if int(text) > 0:
            return int(text)
    from argparse import ArgumentTypeError

    raise ArgumentTypeError(f"{text!r} is not a number above 0")


_VERBS: dict[str, Verb] = {
    "train": Verb(
        run=_train,
        summary="train one configuration of an app",
        usage="[APP] [OVERRIDES ...]",
        about=(
            "Train one configuration: `caviar train app.py X` is `python app.py X`.\n"
            "What follows the app is Hydra's, flags such as --cfg job too."
        ),
        examples=("model=mlp trainer.epochs=5", "app.py lr=0.01", "app.py --cfg job"),
    ),
    "sweep": Verb(
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
    ),
    "resume": Verb(
        run=_resume,
        summary="go on with a sweep that was cut short, or extend it",
        usage="SWEEP [OVERRIDES ...]",
        about=(
            "Go on with a sweep, whatever ended it: no finished trial runs again, none is lost.\n"
            "SWEEP is its folder, or its name under outputs/sweeps. Overrides behind it extend it."
        ),
        examples=("outputs/sweeps/train-1", "outputs/sweeps/train-1 hydra.sweeper.num_samples=64"),
    ),
    "results": Verb(
        run=_results,
        summary="show a sweep's trials, also while it runs",
        usage="SWEEP [--top N | --all] [--csv | --json | --parquet FILE] [--metrics] [-o FILE]",
        about="Show a sweep's best trials as a table, or all of them as CSV, JSON or Parquet.",
        examples=("outputs/sweeps/train-1", "outputs/sweeps/train-1 --csv -o trials.csv"),
    ),
    "export": Verb(
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
    ),
}


if __name__ == "__main__":
    sys.exit(main())
