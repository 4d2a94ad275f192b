"""Draw docs/images/ from a real sweep: the terminal, the report and the live page.

    python docs/make_screenshots.py

It sweeps `experiment=digits_asha` in a folder of its own, which takes half a minute. The terminal
is drawn by the code that drew it, from what the sweep left; Chromium looks at the pages.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, ViewportSize, sync_playwright
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console, RenderableType

from sweeps.driver.progress import Progress
from sweeps.driver.summary import final_report
from sweeps.export import export_best
from sweeps.journal.events import Opened
from sweeps.journal.file import read_journal
from sweeps.journal.trials import Trials
from sweeps.results import load_sweep
from sweeps.storage.folder import Record, SweepFolder, find_sweep

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
COMMAND = "caviar sweep experiment=digits_asha"
NAME = "digits"
WIDTH = 136
SEEN_AT = 0.55
"""The share of the sweep's events after which the live display is drawn."""
PAGE: ViewportSize = {"width": 1280, "height": 1000}
COLOURS = 128
"""Of a PNG: its size is a third of a true-coloured one's."""


def main() -> None:
    """Sweep, and draw."""
    with tempfile.TemporaryDirectory() as place, contextlib.chdir(place):
        run(*COMMAND.split()[1:], f"hydra.sweeper.name={NAME}")
        folder = find_sweep(NAME)
        draw("live.svg", COMMAND, lambda console: console.print(live(folder)))
        draw("sweep.svg", COMMAND, lambda console: end(folder, console))
        with chromium() as page:
            picture_report(folder, page)
            picture_ui(page)


def run(*arguments: str) -> None:
    """Run a command here to its end."""
    if code := caviar(*arguments).wait():
        raise SystemExit(f"caviar {' '.join(arguments)} ended with {code}")


def caviar(*arguments: str, stderr: int | None = None) -> subprocess.Popen[str]:
    """Begin a command here."""
    command = [sys.executable, "-m", "sweeps.cli", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, env=environment, text=True, stderr=stderr)  # noqa: S603


def live(folder: SweepFolder) -> RenderableType:
    """The live display, as it was in the middle of the sweep."""
    record, events = Record.read(folder), list(read_journal(folder.journal))
    objective = load_sweep(folder).objective
    trials, now = Trials(objective), [0.0]
    progress = Progress(
        objective,
        total=lambda: record.num_samples or 0,
        max_t=record.scheduler["max_t"],
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


@contextlib.contextmanager
def chromium() -> Iterator[Page]:
    """A page of a browser without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
        yield browser.new_page(viewport=PAGE)
        browser.close()


def picture_report(folder: SweepFolder, page: Page) -> None:
    """What `caviar report` writes: its top, and the first of its plots."""
    run("report", NAME, "-o", "report.html")
    page.goto(Path("report.html").resolve().as_uri())
    page.locator(".js-plotly-plot .main-svg").first.wait_for()
    shoot(page, "report.png")
    page.get_by_role("heading", name="Progress").evaluate("heading => heading.scrollIntoView()")
    page.wait_for_timeout(1000)
    shoot(page, "report_plots.png")


def picture_ui(page: Page) -> None:
    """The plots that `caviar ui` shows of the sweep."""
    server = caviar("ui", f"outputs/sweeps/{NAME}", stderr=subprocess.PIPE)
    try:
        assert server.stderr is not None
        said = next(filter(None, (re.search(r"http://\S+", line) for line in server.stderr)))
        page.goto(f"{said[0]}&view=Plots")
        page.locator(".js-plotly-plot .main-svg").first.wait_for(timeout=300_000)
        page.wait_for_timeout(3000)  # what is further down comes in after the first plot
        shoot(page, "ui.png")
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(timeout=30)


def shoot(page: Page, name: str) -> None:
    """Write what is in sight, in few colours."""
    taken = Image.open(io.BytesIO(page.screenshot()))
    taken.convert("RGB").quantize(COLOURS).save(IMAGES / name, optimize=True)


if __name__ == "__main__":
    main()
