"""A page that is really served, in a browser that really draws it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

CHROMIUM = Path("/usr/bin/chromium")
PATIENCE_MS = 120_000
"""What a page may take on a machine that does much else."""


@dataclass
class Served:
    """`caviar ui` in a process of its own."""

    process: subprocess.Popen[bytes]
    output: Path
    url: str

    def stop(self, number: int = signal.SIGINT) -> int:
        """Send it a signal; its exit code."""
        with suppress(ProcessLookupError):
            os.kill(self.process.pid, number)
        return self.process.wait(timeout=60)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture(scope="session")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Served]]:
    """Starts `caviar ui`, and waits until it says where it is."""
    started: list[Served] = []

    def start(*arguments: str) -> Served:
        output = tmp_path_factory.mktemp("ui") / "output.txt"
        port = free_port()
        command = [sys.executable, "-m", "sweeps.cli", "ui", *arguments, "--port", str(port)]
        with output.open("wb") as file:
            process = subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True)
        served = Served(process, output, f"http://127.0.0.1:{port}")
        started.append(served)
        deadline = time.monotonic() + 120
        while served.url not in output.read_text():
            assert process.poll() is None, output.read_text()
            assert time.monotonic() < deadline, output.read_text()
            time.sleep(0.05)
        return served

    yield start
    for served in started:
        if served.process.poll() is None:
            served.stop()


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Debian's Chromium, headless."""
    if not CHROMIUM.exists():
        pytest.skip(f"there is no {CHROMIUM}: apt-get install chromium")
    api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    with api.sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        opened = playwright.chromium.launch(executable_path=str(CHROMIUM), args=flags)
        yield opened
        opened.close()


@dataclass
class Visit:
    """A page in the browser, and all that it asked for and complained about."""

    page: Any
    url: str
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def open(self, **query: str) -> Visit:
        """Go to the list, or to `sweep=` one, `view=` a part of it."""
        asked = "&".join(f"{key}={quote(value)}" for key, value in query.items())
        self.page.goto(f"{self.url}/?{asked}")
        self.page.evaluate("window.neverReloaded = true")
        return self

    @property
    def was_reloaded(self) -> bool:
        return not self.page.evaluate("window.neverReloaded === true")

    @property
    def outside(self) -> list[str]:
        """Requests that left this machine."""
        inside = ("http://127.0.0.1:", "ws://127.0.0.1:", "data:", "blob:")
        return [url for url in self.requests if not url.startswith(inside)]

    def says(self, text: str) -> None:
        """Wait until the page shows a text."""
        self.page.get_by_text(text).first.wait_for(timeout=PATIENCE_MS)

    def until(self, condition: Callable[[], bool], what: object = "") -> None:
        """Wait until something is so."""
        deadline = time.monotonic() + PATIENCE_MS / 1000
        while not condition():
            assert time.monotonic() < deadline, (what, self.page.inner_text("body"))
            self.page.wait_for_timeout(100)

    def table(self, place: int = 0) -> list[list[str]]:
        """The rows of a table that are in sight, the header first."""
        rows: list[list[str]] = self.page.evaluate(
            """place => {
                const frames = document.querySelectorAll('[data-testid="stDataFrame"]');
                if (frames.length <= place) return [];
                return [...frames[place].querySelectorAll('table[role="grid"] tr')].map(
                    row => [...row.querySelectorAll('th, td')].map(cell => cell.textContent));
            }""",
            place,
        )
        return rows

    def column(self, name: str, place: int = 0) -> list[str]:
        """What a table shows under a header."""
        header, *rows = self.table(place) or [[]]
        return [row[header.index(name)] for row in rows] if name in header else []

    def click(self, row: int, x: int, place: int = 0) -> None:
        """Click into a row of a table, so many pixels from its left edge; 0 is the first row."""
        frame = self.page.get_by_test_id("stDataFrame").nth(place)
        frame.scroll_into_view_if_needed(timeout=PATIENCE_MS)
        frame.locator(".dvn-scroller").click(position={"x": x, "y": 18 + 35 * (row + 1)})


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[..., Visit]]:
    """Opens pages; at the end none may have complained, or asked another machine for anything."""
    visits: list[Visit] = []

    def begin(url: str, *, width: int = 1280, height: int = 900, scheme: str = "light") -> Visit:
        page = browser.new_page(
            viewport={"width": width, "height": height}, color_scheme=scheme, locale="en-US"
        )
        page.set_default_timeout(PATIENCE_MS)
        made = Visit(page, url)
        page.on("request", lambda request: made.requests.append(request.url))
        page.on("pageerror", lambda error: made.complaints.append(str(error)))
        page.on("console", lambda said: _note(made, said))
        visits.append(made)
        return made

    yield begin
    for made in visits:
        made.page.close()
    assert [made.complaints for made in visits if made.complaints] == []
    assert [made.outside for made in visits if made.outside] == []


def _note(made: Visit, said: Any) -> None:
    if said.type == "error":
        made.complaints.append(said.text)
