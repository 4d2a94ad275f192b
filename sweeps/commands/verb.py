"""What a verb is, and what several of them say alike."""

from __future__ import annotations

import math
import sys
from argparse import ArgumentParser, ArgumentTypeError, RawDescriptionHelpFormatter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass


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


def say(message: str) -> None:
    """Tell the user, beside the output."""
    sys.stderr.write(f"{message}\n")


def add_help(parser: ArgumentParser) -> None:
    """The flag that shows the help."""
    parser.add_argument("-h", "--help", action="help", help="show this and end")


def add_sweep(parser: ArgumentParser) -> None:
    """The sweep that a verb is about."""
    parser.add_argument(
        "sweep",
        metavar="SWEEP",
        help="its folder, its name in outputs/sweeps, or what `caviar list` shows of it",
    )


def positive(text: str) -> int:
    """A flag's number above 0."""
    return _above(0, text)


def several(text: str) -> int:
    """A flag's number above 1."""
    return _above(1, text)


def numbers(text: str) -> list[int]:
    """A flag's numbers of 0 or more: `3` or `3,5`."""
    parts = text.split(",")
    if not all(part.strip().isdecimal() for part in parts):
        raise ArgumentTypeError(f"{text!r} is no number of a trial, nor several such as 3,5")
    return [int(part) for part in parts]


def at_least_0(text: str) -> float:
    """A flag's number of 0 or more, whole or not."""
    with suppress(ValueError):
        if 0 <= float(text) < math.inf:
            return float(text)
    raise ArgumentTypeError(f"{text!r} is not a number of 0 or more")


def _above(least: int, text: str) -> int:
    with suppress(ValueError):
        if int(text) > least:
            return int(text)
    raise ArgumentTypeError(f"{text!r} is not a number above {least}")


def port(text: str) -> int:
    """A flag's TCP port."""
    with suppress(ValueError):
        if 0 < int(text) < 65536:
            return int(text)
    raise ArgumentTypeError(f"{text!r} is no port: 1 to 65535")
