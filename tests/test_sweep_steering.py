"""Real sweeps that are steered as they run: killed, resumed, and in a bucket too."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from cluster.bucket import Bucket
from sweeps.cli import main
from sweeps.journal.events import Asked, Ended, Event, Reported, Requested
from sweeps.journal.file import read_journal
from sweeps.journal.segments import has_journal, read_events
from sweeps.journal.status import Status
from sweeps.storage.folder import SweepFolder
from sweeps.storage.requests import Requests

pytestmark = [pytest.mark.ray, pytest.mark.slow]

OBJECTIVE = ["hydra.sweeper.metric=loss", "hydra.sweeper.mode=min", "hydra.sweeper.seed=3"]
CURVE = ["curve.py", *OBJECTIVE, "+x=interval(-5,5)"]
ONE_LANE = "hydra.sweeper.max_concurrent_trials=1"


def requests_in(events: Iterable[Event]) -> list[dict[str, Any]]:
    return [dict(event.asked) for event in events if isinstance(event, Requested)]


def test_a_sweep_is_steered_killed_and_resumed_and_every_request_holds(sweep: Any) -> None:
    given = [*CURVE, "+epochs=50", "+epoch_s=0.5", "hydra.sweeper.num_samples=2", ONE_LANE]
    driver = sweep.drive(*given)
    place = str(driver.folder.path)
    driver.wait_for_reports(2)

    enqueued = sweep.caviar("enqueue", place, "x=1.75")
    assert enqueued.code == 0
    assert "trial 1 is enqueued: x=1.75" in enqueued.err
    extended = sweep.caviar("extend", place, "num_samples=4")
    assert extended.code == 0
    assert "the sweep now has num_samples=4" in extended.err
    stopped = sweep.caviar("stop", place, "--trial", "0")
    assert stopped.code == 0
    assert "trial 0 stopped at step" in stopped.err
    late = sweep.caviar("stop", place, "--trial", "0")
    assert late.code == 2
    assert "trial 0 is over: it is stopped" in late.err
    driver.wait_for_reports(2)
    assert not list(driver.folder.requests.glob("*.json"))
    driver.end(signal.SIGKILL)

    kept = sweep.caviar("stop", place, "--trial", "1")
    assert kept.code == 0
    assert "no driver runs s now" in kept.err
    sweep.caviar("enqueue", place, "x=2.25")
    resumed = sweep.caviar("resume", place, "hydra.sweeper.max_concurrent_trials=2")
    assert resumed.code == 0, resumed.err
    assert "4 trials" in resumed.err
    first, second, third, fourth = resumed.trials
    assert [t.status for t in (first, second)] == [Status.STOPPED] * 2
    assert [t.cause for t in (first, second)] == ["request"] * 2
    assert [t.status for t in (third, fourth)] == [Status.COMPLETE] * 2
    assert (second.params["x"], third.params["x"]) == (1.75, 2.25)
    assert 0 < first.step < 50
    assert resumed.trials.best.number == 2
    assert len(requests_in(resumed.events)) == 5
    assert [e.trial for e in resumed.events if isinstance(e, Asked)] == [0, 1, 2, 3]
    assert "2 trials stopped by request" in resumed.out
    again = sweep.caviar("resume", place)
    assert again.code == 0
    assert len(again.trials) == 4
    shown = sweep.caviar("results", place, "--csv")
    assert shown.out.count("request") == 2


@contextmanager
def asking(events: Callable[[], Iterable[Event]], act: Callable[[], None]) -> Iterator[None]:
    """Act once the first trial was asked for, while a sweep runs in this process."""
    over, failed = threading.Event(), list[BaseException]()

    def wait() -> None:
        while not over.wait(0.1):
            if any(isinstance(event, Asked) for event in events()):
                try:
                    act()
                except BaseException as error:  # noqa: BLE001 - told to the test
                    failed.append(error)
                return

    thread = threading.Thread(target=wait)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        assert not failed


def test_a_trial_that_never_reports_is_ended_and_the_sweep_goes_on(sweep: Any) -> None:
    folder = SweepFolder(sweep.storage / "s")
    grid = ["hydra/sweeper/searcher=grid", "hydra.sweeper.teardown_timeout_s=1", ONE_LANE]

    def events() -> Iterable[Event]:
        return read_journal(folder.journal) if folder.journal.exists() else ()

    with asking(events, lambda: Requests(folder).put({"stop": 0}) and None):
        swept = sweep("trouble.py", "+kind=hangs,fine", *grid)
    assert swept.code == 0, swept.err
    assert swept.statuses == ["stopped", "complete"]
    hung = swept.trials[0]
    assert (hung.cause, hung.value) == ("request", None)
    assert hung.seconds < 60
    assert "trial 0 stopped, by request" in swept.err


def test_a_sweep_in_a_bucket_is_steered_too(sweep: Any, bucket: str) -> None:
    storage = f"{bucket}/sweeps"
    given = [*CURVE, "+epochs=60", "+epoch_s=0.5", "hydra.sweeper.num_samples=1", ONE_LANE]
    codes: list[int] = []

    def events() -> Iterable[Event]:
        folder = SweepFolder.at(Bucket.parse(storage), "s")
        return list(read_events(folder)) if has_journal(folder) else ()

    def act() -> None:
        codes.append(main(["enqueue", f"{storage}/s", "x=2.5"]))
        codes.append(main(["stop", f"{storage}/s", "--trial", "0"]))

    with asking(events, act):
        swept = sweep(*given, f"hydra.sweeper.storage_path={storage}")
    assert swept.code == 0, swept.err
    assert codes == [0, 0]
    there = list(events())
    assert requests_in(there) == [{"enqueue": {"x": 2.5}}, {"stop": 0}]
    ended = {event.trial: event for event in there if isinstance(event, Ended)}
    assert (ended[0].status, ended[0].cause) == (Status.STOPPED, "request")
    assert ended[1].status is Status.COMPLETE
    assert [e.params["x"] for e in there if isinstance(e, Asked)][1] == 2.5
    assert max(e.step for e in there if isinstance(e, Reported) and e.trial == 0) < 60
    assert not (Bucket.parse(storage) / "s").sizes("requests")
