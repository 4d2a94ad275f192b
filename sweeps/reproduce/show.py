"""How a reproduction looks on a screen."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from itertools import groupby

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sweeps.provenance.difference import Difference
from sweeps.render import fact
from sweeps.reproduce.compare import Comparison
from sweeps.reproduce.run import Reproduction

_PACKAGES_SHOWN = 10


def print_reproduction(result: Reproduction, console: Console) -> None:
    """Print what is equal, what is not, and what could be why."""
    console.print(_numbers(result.numbers))
    console.print()
    for line in (*_verdict(result), *_reasons(result)):
        console.print(line)
    console.print(fact("written", str(result.out)))


def _numbers(numbers: Comparison) -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, border_style="dim")
    table.add_column("metric", no_wrap=True)
    table.add_column("equal", justify="right", no_wrap=True)
    for header in ("first at step", "then", "now"):
        table.add_column(header, justify="right", no_wrap=True)
    for metric, equal in numbers.equal.items():
        miss = numbers.first(metric)
        total = equal + sum(m.metric == metric for m in numbers.misses)
        style = "green" if miss is None else "red"
        where = () if miss is None else (_step(miss.step), _exact(miss.then), _exact(miss.now))
        table.add_row(metric, Text(f"{equal} of {total}", style), *where)
    return table


def _step(step: int | None) -> str:
    return "its end" if step is None else str(step)


def _exact(value: float | None) -> str:
    """All digits: two numbers may differ in the last bit alone."""
    return "-" if value is None else repr(value)


def _verdict(result: Reproduction) -> Iterator[Text]:
    numbers = result.numbers
    values = sum(numbers.equal.values())
    if result.error is not None:
        then, now = result.error
        same = then == now
        said = f"the same error: {now}" if same else f"then: {then}  now: {now}"
        yield fact("error", Text(said, "green" if same else "red"))
    if result.is_equal and numbers.equal:
        yield fact("equal", Text(f"all {values} numbers, bit for bit", "bold green"))
    elif not result.is_equal:
        said = f"{len(numbers.misses)} of {values + len(numbers.misses)} numbers"
        yield fact("different", Text(said, "bold red"))
    if numbers.left_out:
        yield fact("left out", f"{', '.join(numbers.left_out)}: a machine's times, not a model's")


def _reasons(result: Reproduction) -> Iterator[Text]:
    if result.config:
        keys = ", ".join(result.config[:5])
        more = f" and {len(result.config) - 5} more" if len(result.config) > 5 else ""
        yield fact(
            "config", f"the app's configs say otherwise today ({keys}{more}): the recorded was used"
        )
    for kind, group in groupby(result.differences, key=lambda d: d.kind):
        yield from _of_kind(kind, list(group))
    if result.commit is not None:
        yield fact("its code", _check_out(result))
    if not result.is_equal and not result.differences:
        yield fact(
            "why",
            "nothing that is recorded differs: look for what no seed governs (the order of sets or "
            "threads, nondeterministic kernels, the time, a network)",
        )


def _of_kind(kind: str, group: Sequence[Difference]) -> Iterator[Text]:
    for difference in group[:_PACKAGES_SHOWN]:
        what = "" if difference.what in (kind, "git") else f"{difference.what} "
        said = Text(f"{what}{difference.then} -> {difference.now}", "yellow")
        yield fact(kind, said)
    if len(group) > _PACKAGES_SHOWN:
        yield fact(kind, f"and {len(group) - _PACKAGES_SHOWN} more: see reproduce.json")


def _check_out(result: Reproduction) -> str:
    commands = [f"git checkout {result.commit}"]
    if result.diff is not None:
        commands.append(shlex.join(["git", "apply", str(result.diff)]))
    return " && ".join(commands)
