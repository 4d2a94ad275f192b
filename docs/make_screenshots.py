"""Draw docs/images/ from a real sweep: what the terminal shows while it runs and at its end.

    python docs/make_screenshots.py

It sweeps `experiment=digits_asha` in a folder of its own, which takes half a minute, and draws from
what that left, with the code that drew it on the terminal.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console, RenderableType

from sweeps.driver.progress import Progress
from sweeps.driver.summary import final_report
from sweeps.export import export_best
from sweeps.journal.events import Opened
from sweeps.journal.file import read_journal
from sweeps.journal.trials import Trials
from sweeps.results import load_sweep
from sweeps.storage.folder import SweepFolder, find_sweep

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
COMMAND = "caviar sweep experiment=digits_asha"
NAME = "digits"
WIDTH = 136
SEEN_AT = 0.55
"""The share of the sweep's events after which the live display is drawn."""


def main() -> None:
    """Sweep, and draw."""
    with tempfile.TemporaryDirectory() as place, contextlib.chdir(place):
        sweep()
        folder = find_sweep(NAME)
        draw("live.svg", COMMAND, lambda console: console.print(live(folder)))
        draw("sweep.svg", COMMAND, lambda console: end(folder, console))


def sweep() -> None:
    """Run the sweep here."""
    command = [
        sys.executable,
        "-m",
        "sweeps.cli",
        *COMMAND.split()[1:],
        f"hydra.sweeper.name={NAME}",
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(command, check=True, env=environment)  # noqa: S603 - our own


def live(folder: SweepFolder) -> RenderableType:
    """The live display, as it was in the middle of the sweep."""
    events = list(read_journal(folder.journal))
    objective = load_sweep(folder).objective
    trials, now = Trials(objective), [0.0]
    progress = Progress(
        objective,
        total=lambda: 32,
        max_t=27,
        console=Console(file=io.StringIO(), force_terminal=True, width=WIDTH),
        clock=lambda: now[0],
    )
    for event in events[: round(SEEN_AT * len(events))]:
        now[0] = event.time
        if isinstance(event, Opened):
            progress.__enter__()
        trials.apply(event)
        progress(event, trials)
    shown = progress._render()
    progress.__exit__(None, None, None)
    return shown


def end(folder: SweepFolder, console: Console) -> None:
    """What is printed when the sweep is over."""
    final_report(load_sweep(folder), console=console, export=export_best(folder))


def draw(name: str, title: str, show: Callable[[Console], object]) -> None:
    """Write a picture of a terminal; it fetches no font."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    show(console)
    plain = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    console.save_svg(str(IMAGES / name), title=title, code_format=plain)


if __name__ == "__main__":
    main()
