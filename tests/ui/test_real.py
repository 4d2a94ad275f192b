"""The live page over sweeps that really run, exports that are really written, and many trials."""

from __future__ import annotations

import math
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sweeps.journal.events import Asked, Ended, Event, Reported
from sweeps.journal.file import Journal
from sweeps.journal.status import Decision, Status
from sweeps.results import load_sweep
from sweeps.storage.folder import SweepFolder

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def test_a_sweep_that_runs_is_followed_from_its_first_trial_to_its_end(
    start: Any, serve: Callable[..., Any], visit: Any
) -> None:
    start.storage.mkdir()
    page = visit(serve(str(start.storage)).url).open()
    page.says("There is no sweep here yet")
    driver = start.drive(
        "curve.py",
        *("+x=interval(-5,5)", "+epochs=4", "+epoch_s=1"),
        *("hydra.sweeper.metric=loss", "hydra.sweeper.mode=min", "hydra.sweeper.num_samples=6"),
    )
    driver.wait_until(driver.folder.journal.exists)
    page.until(lambda: page.column("status") == ["running"], lambda: driver.output)
    page.click(0, 40)
    page.says("of 6 trials done")
    page.until(lambda: "running" in page.column("status"), page.table)
    page.says("6 of 6 trials done")
    page.until(lambda: page.column("status") == ["complete"] * 6, page.table)
    page.says("done")
    assert driver.process.wait(60) == 0
    assert not page.was_reloaded


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> SweepFolder:
    """Three configurations of caviar's own digits, trained by its own command."""
    storage = tmp_path_factory.mktemp("trained")
    command = [
        *(sys.executable, "-m", "sweeps.cli", "sweep", "experiment=digits_asha"),
        *("hydra.sweeper.num_samples=3", "hydra.sweeper.scheduler.max_t=3"),
        *(f"hydra.sweeper.storage_path={storage}", "hydra.sweeper.name=digits"),
        "hydra.sweeper.export=false",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return SweepFolder(storage / "digits")


def test_the_best_model_is_exported_by_a_click_while_the_page_stays_alive(
    trained: SweepFolder, serve: Callable[..., Any], visit: Any
) -> None:
    page = visit(serve(str(trained.path)).url).open(sweep="digits", view="Export")
    page.page.get_by_role("button", name="Export", exact=True).click()
    page.says("exporting, ")
    page.page.get_by_role("tab", name="Trials").click()
    page.until(lambda: len(page.column("trial")) == 3, page.table)
    page.page.get_by_role("tab", name="Export").click()
    page.says("exported in ")
    assert "digits/best  verified" in page.page.inner_text("body")
    assert (trained.best / "metrics.json").exists()
    assert list(trained.best.glob("*.safetensors"))


@pytest.fixture(scope="module")
def thousand(
    make_sweep_in: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Any]:
    """A sweep of 1,000 trials of nine reports."""
    made = make_sweep_in(tmp_path_factory.mktemp("big"), name="big")
    events: list[Event] = []
    for number in range(1000):
        params = made.space.optuna_params({"lr": 0.001 + number / 1001})
        ranges = made.space.distributions()
        asked = Asked(trial=number, run=1, params=params, distributions=ranges, time=made.now)
        events.append(asked)
        for step in range(1, 10):
            made.now += 0.1
            value = math.sin(number) ** 2 * (1 - math.exp(-step))
            report = Reported(
                trial=number,
                run=1,
                step=step,
                metrics={"val_accuracy": value},
                value=value,
                checkpoint=None,
                decision=Decision.CONTINUE,
                time=made.now,
            )
            events.append(report)
        end = Ended(
            trial=number,
            status=Status.COMPLETE,
            value=value,
            metrics={},
            error=None,
            cause=None,
            time=made.now,
        )
        events.append(end)
    Journal(made.folder.journal).append(*events)
    return made


def test_a_refresh_costs_what_is_new_not_what_there_is(thousand: Any) -> None:
    from sweeps.ui.live import LiveSweep

    began = time.process_time()
    whole = load_sweep(thousand.folder)
    all_of_it = time.process_time() - began
    live = LiveSweep(thousand.folder)
    with live.reading():
        pass
    costs = []
    for number in range(1000, 1005):
        thousand.ask(number, lr=0.5)
        live._next_look = 0.0
        began = time.process_time()
        with live.reading() as sweep:
            costs.append(time.process_time() - began)
    assert len(sweep.trials) == len(whole.trials) + 5
    assert sorted(costs)[2] < all_of_it / 20


def test_a_sweep_of_a_thousand_trials_stays_responsive(
    thousand: Any, serve: Callable[..., Any], visit: Any
) -> None:
    page = visit(serve(str(thousand.folder.path)).url).open(sweep="big")
    page.until(lambda: len(page.column("trial")) > 10, page.table)
    page.page.get_by_label("filter").fill("number==777")
    page.page.get_by_label("filter").press("Enter")
    page.until(lambda: page.column("trial") == ["777"], page.table)
    for view, text in (("Logs", "last lines"), ("Plots", "It ends at"), ("Trials", "Tick trials")):
        page.page.get_by_role("tab", name=view).click()
        page.says(text)


def test_what_refreshes_does_not_fade(thousand: Any, serve: Callable[..., Any], visit: Any) -> None:
    page = visit(serve(str(thousand.folder.path)).url).open(sweep="big")
    page.until(lambda: len(page.column("trial")) > 10, page.table)
    faded = page.page.evaluate(
        """async () => {
            let least = 1, until = Date.now() + 8000;
            while (Date.now() < until) {
                for (const part of document.querySelectorAll('.stElementContainer'))
                    least = Math.min(least, Number(getComputedStyle(part).opacity));
                await new Promise(done => requestAnimationFrame(done));
            }
            return least;
        }"""
    )
    assert faded == 1


def test_a_copy_of_the_journal_opens_in_optuna_dashboard(
    thousand: Any, serve: Callable[..., Any], visit: Any
) -> None:
    before = thousand.folder.journal.read_bytes()
    served = serve("--optuna-dashboard", str(thousand.folder.path))
    page = visit(served.url)
    page.page.goto(f"{served.url}/dashboard/studies/0")
    page.says("big")
    page.says("Best Trial")
    assert thousand.folder.journal.read_bytes() == before
    assert served.stop(signal.SIGINT) == 130


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_server_ends_in_order_when_it_is_told_to(
    number: int, serve: Callable[..., Any], tmp_path: Path
) -> None:
    served = serve(str(tmp_path))
    with urllib.request.urlopen(f"{served.url}/_stcore/health", timeout=60) as answer:
        assert answer.status == 200
    assert served.stop(number) == 130
    assert "Traceback" not in served.output.read_text()


def test_a_page_of_another_host_is_refused(serve: Callable[..., Any], tmp_path: Path) -> None:
    import http.client

    served = serve(str(tmp_path))
    host = served.url.removeprefix("http://")
    for headers in ({"Host": "evil.example"}, {"Host": host, "Origin": "http://evil.example"}):
        connection = http.client.HTTPConnection(host, timeout=60)
        upgrade = {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
        }
        connection.request("GET", "/_stcore/stream", headers={**upgrade, **headers})
        assert connection.getresponse().status == 403
        connection.close()
