"""`caviar doctor`: what must hold before a sweep can run somewhere."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterable
from contextlib import nullcontext
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from sweeps.commands.verb import Verb, add_help

if TYPE_CHECKING:
    from rich.console import Console

    from cluster.backend import Check


def _doctor(parser: ArgumentParser, given: list[str]) -> int:
    add_cluster(parser)
    add_help(parser)
    options = parser.parse_args(given)

    from cluster.doctor import examine, examine_project
    from cluster.profile import load_profile, make_backend
    from cluster.project import find_root
    from sweeps.render import make_console
    from sweeps.submission.submit import check_profile

    here = Path.cwd()
    root = find_root(here)
    profile = load_profile(options.cluster or "local", root, insecure=options.insecure)
    check_profile(profile)
    backend = make_backend(profile)
    console = make_console()
    if all_hold(chain(examine_project(profile, here), examine(backend, None)), console):
        console.print(f"a sweep can run on {profile.name}", style="green")
        return 0
    return 1


def add_cluster(parser: ArgumentParser) -> None:
    """Which cluster."""
    parser.add_argument("--cluster", metavar="NAME", help="its profile; this machine if none")
    parser.add_argument(
        "--insecure", action="store_true", help="take a cluster without token authentication"
    )


def all_hold(checks: Iterable[Check], console: Console, *, quiet: bool = False) -> bool:
    """Show checks as they are carried out, or what does not hold of them; whether a sweep can run.

    Args:
        checks: Carried out one at a time.
        console: Where to.
        quiet: Whether those that hold are left out.
    """
    holds = True
    with console.status("looking at the cluster") if console.is_terminal else nullcontext():
        for check in checks:
            holds = holds and (check.ok or check.warning)
            if not (quiet and check.ok):
                _show(check, console)
    return holds


def _show(check: Check, console: Console) -> None:
    from rich.text import Text

    word, style = ("ok", "green") if check.ok else ("FAIL", "bold red")
    if not check.ok and check.warning:
        word, style = "warn", "yellow"
    console.print(Text.assemble((f"{word:<5}", style), (f"{check.name:<11} ", "dim"), check.what))
    if not check.ok and check.todo:
        console.print(Text.assemble(" " * 17, check.todo))


DOCTOR = Verb(
    run=_doctor,
    summary="see what keeps a cluster from running sweeps",
    usage="[--cluster NAME] [--insecure]",
    about=(
        "Check a cluster as `caviar submit` does: each line is one thing that must hold, and what\n"
        "to do where it does not."
    ),
    examples=("--cluster gpus", ""),
)
