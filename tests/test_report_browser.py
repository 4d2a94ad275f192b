"""The report in a real browser, the network off."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sweeps.journal.status import Decision, Status
from sweeps.reports.write import write_report
from sweeps.results import load_sweep

pytestmark = pytest.mark.slow

CHROMIUM = Path("/usr/bin/chromium")
NASTY = "<script>document.title='owned'</script><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    if not CHROMIUM.exists():
        pytest.skip("Chromium is not installed")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=str(CHROMIUM), args=flags)
        yield chromium
        chromium.close()


@pytest.fixture
def page_of(browser):
    """Opens a file as a browser of a width and colour scheme does; what went wrong, beside it."""

    def open_(path: Path, *, width: int = 1280, scheme: str = "light") -> tuple[Any, list[str]]:
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True
        )
        page, wrong = context.new_page(), []
        page.on("console", lambda m: wrong.append(m.text) if m.type != "log" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda r: _note(wrong, r.url))
        page.goto(path.as_uri())
        return page, wrong

    return open_


def _note(wrong: list[str], url: str) -> None:
    if not url.startswith(("file:", "data:", "blob:")):
        wrong.append(url)


def wait_until(page: Any, expression: str) -> None:
    """Wait for what is so in the page; its policy forbids Playwright's own way."""
    deadline = time.monotonic() + 120
    while not page.evaluate(expression):
        assert time.monotonic() < deadline, expression
        page.wait_for_timeout(100)


@pytest.fixture
def written(make_sweep) -> Path:
    """The report of a sweep under ASHA, with names that would do harm as markup."""
    space = {"lr": "tag(log, interval(0.001, 1))", "model": "mlp,convnet", "x": "interval(0, 1)"}
    made = make_sweep(space, metric=f"acc/{NASTY}", scheduler={"name": "asha", "max_t": 9})
    metric = f"acc/{NASTY}"
    for trial in range(24):
        model = ("mlp", "convnet")[trial % 2]
        made.ask(trial, lr=0.001 * 1.3**trial, model=model, x=trial % 7 / 7)
        made.report(trial, 1, 0.1 + (trial % 5) / 10, Decision.PAUSE, metric=metric)
    for trial in range(4, 24, 5):
        made.promote(trial)
        made.report(trial, 2, 0.6, metric=metric)
        made.report(trial, 3, 0.7 + trial / 100, Decision.PAUSE, metric=metric)
    made.ask(24, lr=0.1, model="mlp", x=0.5)
    made.end(24, Status.FAILED, error=f"ValueError: {NASTY}")
    made.close()
    return write_report(load_sweep(made.folder))


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (400, "dark")])
def test_every_plot_is_drawn_without_the_network(written, page_of, width, scheme):
    page, wrong = page_of(written, width=width, scheme=scheme)
    wait_until(page, "document.body.dataset.ready === 'yes'")
    page.set_viewport_size({"width": width, "height": 20_000})  # all of it is near the screen
    drawn = "[...document.querySelectorAll('.plot')].every((p) => p.querySelector('.main-svg'))"
    wait_until(page, drawn)
    assert page.evaluate("document.querySelectorAll('.plot').length") == 12
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert "owned" not in page.title()
    assert page.evaluate("document.querySelectorAll('img').length") == 0
    assert page.evaluate("document.querySelector('.ytitle').textContent").startswith(f"acc/{NASTY}")
    assert page.is_hidden("#undrawn")
    assert wrong == []


def test_it_follows_the_colour_scheme_and_prints_light(written, page_of):
    page, wrong = page_of(written, scheme="light")
    wait_until(page, "document.querySelector('.plot').dataset.drawn === 'yes'")
    ink = "getComputedStyle(document.querySelector('.plot .xtick text')).fill"
    wait_until(
        page, f"document.querySelector('.plot .xtick text') && {ink} === 'rgb(90, 100, 114)'"
    )
    page.emulate_media(color_scheme="dark")
    wait_until(page, f"{ink} === 'rgb(168, 176, 187)'")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    wait_until(page, f"{ink} === 'rgb(90, 100, 114)'")
    assert page.evaluate(
        "[...document.querySelectorAll('.plot')].every((plot) => plot.querySelector('.main-svg'))"
    )
    assert wrong == []


def test_the_best_parameters_can_be_copied(written, page_of):
    page, _ = page_of(written)
    button = page.get_by_role("button", name="Copy")
    button.click()
    wait_until(page, "document.querySelector('[data-copies]').textContent !== 'Copy'")
    assert page.inner_text("#best").startswith("lr=")


def test_a_browser_that_cannot_inflate_says_so_and_keeps_the_tables(written, page_of, browser):
    context = browser.new_context(offline=True)
    context.add_init_script("delete globalThis.DecompressionStream")
    page = context.new_page()
    page.goto(written.as_uri())
    page.wait_for_selector("#undrawn", state="visible")
    assert "This browser cannot draw the plots" in page.inner_text("#undrawn")
    assert page.is_visible("table.best-trials")
    assert page.is_hidden(".plot >> nth=0")
