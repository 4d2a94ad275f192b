"""The documentation's site, built as `make docs` does and looked at in a browser."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.docs.pages import ROOT

pytestmark = pytest.mark.slow

SHOWN = ["index", "tutorial", "searchers", "searching", "training", "reference/cli"]
SHOWN += ["reference/sweeper", "reference/search", "reference/models", "models"]


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder without a word."""

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no chromium here")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium)
        yield browser
        browser.close()


@contextmanager
def opened(
    browser: Browser, width: int = 1280, scheme: Any = "light"
) -> Iterator[tuple[Page, list[str]]]:
    """A page, and what it asked for beyond its own site or complained of."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page, trouble = context.new_page(), list[str]()
    own = ("http://127.0.0.1:", "file:///", "data:", "blob:", "about:")
    page.on("request", lambda r: None if r.url.startswith(own) else trouble.append(r.url))
    page.on("console", lambda m: trouble.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("response", lambda r: trouble.append(f"{r.status} {r.url}") if r.status > 399 else None)
    yield page, trouble
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_pages_fit_and_ask_for_nothing_from_elsewhere(
    browser: Browser, address: str, width: int, scheme: str
) -> None:
    with opened(browser, width, scheme) as (page, trouble):
        for name in SHOWN:
            page.goto(f"{address}/{name}.html")
            assert page.locator("article h1").count() == 1, name
            beyond = page.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert beyond <= 0, (name, beyond)
            used = page.evaluate("document.body.dataset.mdColorScheme")
            assert used == {"light": "default", "dark": "slate"}[scheme], name
        assert trouble == []


@pytest.mark.parametrize("place", ["server", "disk"])
def test_the_search_finds_without_a_network(
    browser: Browser, address: str, site: Path, place: str
) -> None:
    with opened(browser) as (page, trouble):
        page.goto(f"{address}/index.html" if place == "server" else f"{site.as_uri()}/index.html")
        page.get_by_role("textbox", name="Search").press_sequentially("hyperband bracket")
        page.locator(".md-search-result__item a").first.wait_for(timeout=120_000)
        assert "schedulers.html" in " ".join(
            link.get_attribute("href") or "" for link in page.locator(".md-search-result a").all()
        )
        assert trouble == []


def test_every_page_of_the_site_names_nothing_to_fetch_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        for wanted in ('<script src="http', '<link rel="stylesheet" href="http', '<img src="http'):
            assert wanted not in text, (page, wanted)


def test_a_source_that_a_page_links_to_is_a_page(site: Path) -> None:
    shown = (site / "source" / "models" / "layers" / "dropout.py.html").read_text(encoding="utf-8")
    assert "Inverted dropout" in shown
    assert "source/models/layers/dropout.py.html" in (site / "models.html").read_text("utf-8")
