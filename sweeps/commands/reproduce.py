"""`caviar reproduce`: a trial trained again, and compared bit for bit."""

from __future__ import annotations

import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from sweeps.commands.verb import Verb, add_help, add_sweep
from sweeps.errors import ConfigError

if TYPE_CHECKING:
    from sweeps.rerun import Report

OUT = Path("outputs/reproduce")
_SAID_EVERY_S = 2.0
"""Where nobody watches a line change, one is written so often."""


def _reproduce(parser: ArgumentParser, given: list[str]) -> int:
    options = _options(parser, given)

    from sweeps.render import make_console, working
    from sweeps.reproduce import reproduce
    from sweeps.reproduce.show import print_reproduction
    from sweeps.results import load_sweep
    from sweeps.submission.found import find_any_sweep

    sweep = load_sweep(find_any_sweep(options.sweep))
    name = f"{sweep.record.name}-{options.trial}-{datetime.now():%Y%m%d-%H%M%S}"
    out = options.out or OUT / name
    console = make_console(stderr=True)
    with working(console) as tell:
        tell(f"reading what is recorded of trial {options.trial} of {sweep.record.name}")
        result = reproduce(
            sweep,
            options.trial,
            out=out,
            overrides=options.overrides,
            on_report=_progress(tell, at_once=console.is_terminal),
        )
    print_reproduction(result, make_console())
    return 0 if result.is_equal else 1


def _progress(
    tell: Callable[[str], None], *, at_once: bool
) -> Callable[[Report, Mapping[str, float] | None], None]:
    """Says how far it is, and whether the numbers are the same so far."""
    from sweeps.reproduce.compare import compare

    spoke, other = -_SAID_EVERY_S, 0

    def on_report(report: Report, then: Mapping[str, float] | None) -> None:
        nonlocal spoke, other
        numbers = compare([(report.step, then or {})], [(report.step, report.metrics)])
        other += not numbers.is_equal
        now = time.monotonic()
        if at_once or now - spoke >= _SAID_EVERY_S:
            spoke = now
            so_far = f"{other} reports differ" if other else "equal so far"
            tell(f"step {report.step}: {so_far}")

    return on_report


def _options(parser: ArgumentParser, given: list[str]) -> Namespace:
    add_sweep(parser)
    parser.add_argument("trial", metavar="TRIAL", type=int, help="its number")
    parser.add_argument(
        "overrides",
        metavar="OVERRIDES",
        nargs="*",
        default=[],  # or argparse calls it required
        help="in the place of recorded ones: a masked secret, a path that is another here",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help=f"another folder than one in {OUT}")
    add_help(parser)
    options = parser.parse_intermixed_args(given)
    for override in options.overrides:
        if "=" not in override:
            raise ConfigError(f"{override!r} is not an override such as data.path=there.npz")
    return options


REPRODUCE = Verb(
    run=_reproduce,
    summary="train a trial again and compare it bit for bit",
    usage="SWEEP TRIAL [--out DIR] [OVERRIDES ...]",
    about=(
        "Train one trial again, alone, from its recorded config, seeds and stretches, and compare\n"
        "every number that it reported. On the same CPU and versions they are the same to the\n"
        "last bit; otherwise it says what that is recorded is not the same. Exit code 0: all are\n"
        "equal, 1: not. Nothing is written into the sweep's folder."
    ),
    examples=(
        "outputs/sweeps/train-1 7",
        "outputs/sweeps/train-1 7 --out again",
        "s3://bucket/sweeps/train-1 7 api_key='${oc.env:KEY}'",
    ),
)
