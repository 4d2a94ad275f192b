"""The live page in a real browser: what a user sees and does."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sweeps.journal.status import Status
from sweeps.storage.lease import Lease

pytestmark = pytest.mark.slow

SPACE = {"lr": "tag(log, interval(0.001, 1))", "model": "mlp,convnet"}
HOSTILE = "![x](http://elsewhere.example/x.png) <img src=x onerror=alert(1)>"


def add_trial(made: Any, number: int, value: float, *, steps: int = 3) -> None:
    """A trial that was trained to its end, written by the journal's own writer."""
    made.ask(number, lr=0.001 * (number + 1), model=("mlp", "convnet")[number % 2])
    for step in range(1, steps + 1):
        made.report(number, step, value * (1 - math.exp(-step)), val_loss=1 / step)
    made.end(number, Status.COMPLETE, value)


@pytest.fixture(scope="module")
def folder(make_sweep_in: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sweeps that are whole, and some that are not."""
    place = tmp_path_factory.mktemp("sweeps")
    small = make_sweep_in(place, SPACE, name="small")
    for number in range(6):
        add_trial(small, number, 0.5 + 0.05 * number)
    small.ask(6, lr=0.5, model="mlp")
    small.end(6, Status.FAILED, error=f"Traceback\n  File x\nValueError: {HOSTILE}\n")
    output = small.folder.output(5, 1)
    output.parent.mkdir(parents=True)
    output.write_text("epoch 1\n\x1b[32mepoch 2\x1b[0m\nloss 0.5\rloss 0.25\n")
    small.close()
    make_sweep_in(place, SPACE, name="no-journal").folder.journal.unlink()
    make_sweep_in(place, SPACE, name="damaged").folder.journal.write_text("nonsense\n")
    make_sweep_in(place, SPACE, name=HOSTILE.replace("/", "_"))
    return place


@pytest.fixture(scope="module")
def url(serve: Callable[..., Any], folder: Path) -> str:
    found: str = serve(str(folder)).url
    return found


def test_sweeps_are_listed_and_a_broken_one_says_what_is_wrong(visit: Any, url: str) -> None:
    page = visit(url).open()
    page.until(lambda: page.column("status").count("unreadable") == 2, page.table)
    rows = dict(zip(page.column("sweep"), page.column("what is wrong"), strict=True))
    assert rows["no-journal"] == "journal.log is missing"
    assert "line 1, cannot be read" in rows["damaged"]
    assert dict(zip(page.column("sweep"), page.column("status"), strict=True))["small"] == "done"


def test_a_click_opens_a_sweep_and_the_browser_s_back_leads_back(visit: Any, url: str) -> None:
    page = visit(url).open()
    page.until(lambda: "done" in page.column("status"))
    page.click(page.column("sweep").index("small"), 40)
    page.says("7 of 20 trials done, 1 failed")
    assert "sweep=small" in page.page.url
    page.until(lambda: page.page.get_by_text("Newest first").count() == 0)
    page.page.go_back()
    page.until(lambda: "small" in page.column("sweep"), page.table)
    page.click(page.column("sweep").index("small"), 40)
    page.says("7 of 20 trials done, 1 failed")
    page.page.get_by_role("button", name="All sweeps", exact=True).click()
    page.until(lambda: "small" in page.column("sweep"), page.table)
    assert "sweep=" not in page.page.url
    assert not page.was_reloaded


def test_a_broken_sweep_s_own_page_says_what_is_wrong_until_it_is_mended(
    visit: Any, url: str, folder: Path, make_sweep_in: Callable[..., Any]
) -> None:
    page = visit(url).open(sweep="yet-to-come")
    page.says("there is no sweep 'yet-to-come'")
    add_trial(make_sweep_in(folder, SPACE, name="yet-to-come"), 0, 0.7)
    page.says("1 of 20 trials done")
    assert not page.was_reloaded


def test_a_running_sweep_s_trials_appear_and_what_is_selected_stays(
    visit: Any, serve: Callable[..., Any], make_sweep: Callable[..., Any]
) -> None:
    made = make_sweep(SPACE)
    for number in range(3):
        add_trial(made, number, 0.5 + number / 100)
    with Lease(made.folder.lease):
        page = visit(serve(str(made.folder.path)).url).open(sweep="sweep")
        page.until(lambda: page.column("trial") == ["2", "1", "0"], page.table)
        page.says("running")
        page.click(0, 18)
        page.until(lambda: len(page.column("trial 2", 1)) == 2, lambda: page.table(1))
        for number in range(3, 6):
            add_trial(made, number, 0.6 + number / 100)
        page.until(lambda: page.column("trial") == ["5", "4", "3", "2", "1", "0"], page.table)
        page.says("6 of 20 trials done")
        page.click(0, 18)
        page.until(lambda: len(page.column("trial 5", 1)) == 2, lambda: page.table(1))
        assert page.column("trial 2", 1) == ["0.003", "mlp"]
    assert not page.was_reloaded


def test_trials_are_filtered_by_conditions_and_by_status(visit: Any, url: str) -> None:
    page = visit(url).open(sweep="small")
    page.until(lambda: len(page.column("trial")) == 7, page.table)
    conditions = page.page.get_by_label("filter")
    conditions.fill("model==mlp and lr<0.004")
    conditions.press("Enter")
    page.until(lambda: page.column("trial") == ["2", "0"], page.table)
    conditions.fill("width<3")
    conditions.press("Enter")
    page.says("width")
    conditions.fill("")
    conditions.press("Enter")
    page.page.get_by_role("button", name="failed", exact=True).click()
    page.until(lambda: page.column("trial") == ["6"], page.table)


def test_selected_trials_are_compared_by_their_curves_and_configs(visit: Any, url: str) -> None:
    page = visit(url).open(sweep="small")
    page.until(lambda: page.column("trial")[:2] == ["5", "4"], page.table)
    page.click(0, 18)
    page.click(1, 18)
    page.until(lambda: page.table(1)[:1] == [["", "trial 4", "trial 5"]], lambda: page.table(1))
    configs = {row[0]: row[1:] for row in page.table(1)[1:]}
    assert configs == {"lr": ["0.005", "0.006"], "model": ["mlp", "convnet"]}
    names = page.page.locator(".legendtext")
    page.until(lambda: names.all_text_contents() == ["trial 4", "trial 5"])


def test_a_trial_s_output_is_shown_as_a_terminal_would(visit: Any, url: str) -> None:
    page = visit(url).open(sweep="small", view="Logs")
    page.page.get_by_label("trial", exact=True).fill("5")
    page.page.get_by_label("trial", exact=True).press("Enter")
    page.says("loss 0.25")
    said = page.page.get_by_test_id("stCode").first.inner_text()
    assert said.split("\n")[:3] == ["epoch 1", "epoch 2", "loss 0.25"]


def test_text_of_others_is_shown_as_it_is(visit: Any, url: str) -> None:
    name = HOSTILE.replace("/", "_")
    page = visit(url).open(sweep=name)
    page.until(lambda: page.page.locator("h2").first.inner_text() == name)
    page.open(sweep="small", view="Logs")
    page.says(f"ValueError: {HOSTILE}")
    assert page.page.locator("img[src='x'], img[src*='elsewhere']").count() == 0


_SHOWN_IN = {
    "Trials": "Tick trials to compare them",
    "Plots": "It ends at",
    "Logs": "Why it failed",
    "Export": "The model is loaded back",
}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("view", ["Trials", "Plots", "Logs", "Export"])
def test_every_part_fits_the_screen(
    visit: Any, url: str, view: str, width: int, scheme: str
) -> None:
    page = visit(url, width=width, scheme=scheme).open(sweep="small", view=view)
    page.says("7 of 20 trials done")
    page.says(_SHOWN_IN[view])
    assert page.page.evaluate("document.documentElement.scrollWidth") <= width
    wide = page.page.evaluate(
        """() => [...document.querySelectorAll('.stMainBlockContainer *')]
            .filter(e => !e.closest('[data-testid=stDataFrame], [role=radiogroup], canvas, svg'))
            .filter(e => e.getBoundingClientRect().right > window.innerWidth + 1)
            .map(e => e.tagName + '.' + e.className).slice(0, 5)"""
    )
    assert wide == []


def test_a_folder_without_sweeps_says_how_to_make_one(
    visit: Any, serve: Callable[..., Any], tmp_path: Path, make_sweep_in: Callable[..., Any]
) -> None:
    page = visit(serve(str(tmp_path)).url).open()
    page.says("There is no sweep here yet")
    page.says(f"hydra.sweeper.storage_path={tmp_path}")
    make_sweep_in(tmp_path, SPACE, name="first")
    page.until(lambda: page.column("sweep") == ["first"], page.table)
    assert not page.was_reloaded
