"""Whole sweeps whose storage is a bucket, on a real S3 server."""

from __future__ import annotations

import json
import os
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.bucket import Bucket
from sweeps.journal.events import Asked, Closed, Ended, Event, Lost, Opened, Reported, Started
from sweeps.journal.segments import read_events
from sweeps.journal.status import Status
from sweeps.results import load_sweep
from sweeps.storage.folder import SweepFolder, find_sweep

pytestmark = [pytest.mark.ray, pytest.mark.slow]

CURVE = [
    "curve.py",
    "hydra.sweeper.metric=loss",
    "hydra.sweeper.mode=min",
    "hydra.sweeper.seed=3",
    "+x=interval(-5,5)",
]
ASHA = [*CURVE, "hydra/sweeper/scheduler=asha", "hydra.sweeper.scheduler.max_t=9"]
ONE_LANE = "hydra.sweeper.max_concurrent_trials=1"


@pytest.fixture
def storage(bucket: str) -> str:
    return f"{bucket}/sweeps"


def inside(storage: str) -> str:
    return f"hydra.sweeper.storage_path={storage}"


def sweep_in(storage: str, name: str = "s") -> SweepFolder:
    return SweepFolder.at(Bucket.parse(storage), name)


def events_in(storage: str) -> list[Event]:
    return list(read_events(sweep_in(storage)))


def stored(storage: str) -> dict[str, int]:
    return (Bucket.parse(storage) / "s").sizes()


def appends_in(storage: str) -> int:
    """How many objects the journal of a short sweep has: one an append."""
    return len((Bucket.parse(storage) / "s").sizes("journal"))


def told(event: Event) -> Any:
    """What an event says, without when."""
    return {key: value for key, value in vars(event).items() if key != "time"}


def check_exact(storage: str, *, trials: int) -> None:
    """Each trial is there once and ended once; no step was reported twice, none left out."""
    events = events_in(storage)
    assert [event.trial for event in events if isinstance(event, Asked)] == [*range(trials)]
    runs = [event.run for event in events if isinstance(event, Opened)]
    assert runs == [*range(1, len(runs) + 1)]
    ended = Counter(event.trial for event in events if isinstance(event, Ended))
    assert set(ended.values()) <= {1}
    for trial in range(trials):
        steps = [e.step for e in events if isinstance(e, Reported) and e.trial == trial]
        assert steps == [*range(1, len(steps) + 1)]
        assert len(steps) in (1, 3, 9)
    assert isinstance(events[-1], Closed)
    assert events[-1].reason == "done"


def check_epochs(storage: str, *, trials: int) -> None:
    """What each job folder's own log says fits: it begins behind what was reported before."""
    events, place = events_in(storage), Bucket.parse(storage) / "s"
    reported: dict[int, int] = {}
    begins: dict[tuple[int, int], int] = {}
    for event in events:
        if isinstance(event, Asked | Started):
            begins.setdefault((event.trial, event.run), reported.get(event.trial, 0) + 1)
        elif isinstance(event, Reported):
            reported[event.trial] = event.step
    seen = 0
    for (trial, run), first in begins.items():
        key = f"trials/{trial}/{run}/epochs.log"
        epochs = [int(epoch) for epoch in place.get(key).split()] if place.has(key) else []
        assert epochs == [*range(first, first + len(epochs))]
        seen += len(epochs)
    assert seen >= sum(reported.values()) - trials


def test_a_sweep_in_a_bucket_is_the_one_on_a_disk(sweep: Any, storage: str) -> None:
    given = [*ASHA, ONE_LANE, "hydra.sweeper.num_samples=9"]
    on_disk = sweep(*given)
    swept = sweep(*given, inside(storage))

    assert swept.code == on_disk.code == 0, swept.err
    assert [told(event) for event in events_in(storage)] == [told(e) for e in on_disk.events]
    check_epochs(storage, trials=9)
    best = on_disk.trials.best
    assert f"model       {storage}/s/best" in swept.out
    assert f"caviar resume {storage}/s hydra.sweeper" in swept.out
    keys = stored(storage)
    for key in ("sweep.yaml", "trials.parquet", "metrics.parquet", "best/checkpoint/state.json"):
        assert key in keys
    for key in (".hydra/config.yaml", ".hydra/hydra.yaml", "output.log", "curve.log"):
        assert f"trials/{best.number}/1/{key}" in keys
    assert "driver.json" not in keys
    kept = load_sweep(find_sweep(f"{storage}/s")).table()["checkpoint"].to_pylist()
    assert kept == load_sweep(on_disk.folder).table()["checkpoint"].to_pylist()


def test_results_and_export_read_from_anywhere_and_a_longer_sweep_goes_on(
    sweep: Any, storage: str, tmp_path: Path
) -> None:
    assert sweep(*ASHA, inside(storage), "hydra.sweeper.num_samples=6").code == 0
    url = f"{storage}/s"
    best = load_sweep(find_sweep(url)).best
    assert best is not None

    shown = sweep.caviar("results", url)
    assert shown.code == 0
    assert f"● {best.number}" in shown.out
    table = json.loads(sweep.caviar("results", url, "--json").out)
    assert [row["number"] for row in table] == [*range(6)]

    out = tmp_path / "model"
    exported = sweep.caviar("export", url, "--out", str(out))
    assert exported.code == 0, exported.err
    state = json.loads((out / "checkpoint" / "state.json").read_text())
    assert state == {"epoch": best.best.step}
    assert yaml.safe_load((out / "config.yaml").read_text())["x"] == pytest.approx(
        load_sweep(find_sweep(url)).values(best)["x"]
    )

    longer = sweep.caviar("resume", url, "hydra.sweeper.num_samples=9")
    assert longer.code == 0, longer.err
    check_exact(storage, trials=9)
    missing = sweep.caviar("results", f"{storage}/t")
    assert missing.code == 2
    assert missing.err == f"no sweep '{storage}/t': there are s\n"


def test_a_dry_run_writes_nothing_and_a_name_is_given_once(sweep: Any, storage: str) -> None:
    tried = sweep(*CURVE, inside(storage), "hydra.sweeper.dry_run=true")
    assert tried.code == 0
    assert f"would be in {storage}/s" in " ".join(tried.out.split())
    assert stored(storage) == {}

    few = ["+epochs=1", "hydra.sweeper.num_samples=1"]
    assert sweep(*CURVE, inside(storage), *few).code == 0
    before = stored(storage)
    again = sweep(*CURVE, inside(storage), *few)
    assert again.code == 2
    assert f"that sweep exists in {storage}: go on with it (caviar resume {storage}/s)" in again.err
    assert stored(storage) == before


def test_a_new_sweep_learns_from_one_in_a_bucket(sweep: Any, storage: str) -> None:
    assert sweep(*CURVE, inside(storage), "+epochs=2", "hydra.sweeper.num_samples=4").code == 0
    warm = f"hydra.sweeper.warm_start=['{storage}/s']"
    swept = sweep(*CURVE, warm, "+epochs=1", "hydra.sweeper.num_samples=1", name="next")
    assert swept.code == 0, swept.err
    assert len(next(e for e in swept.events if hasattr(e, "trials")).trials) == 4


def test_no_secret_is_in_anything_that_a_sweep_writes(
    sweep: Any, storage: str, capfd: pytest.CaptureFixture[str]
) -> None:
    swept = sweep(*CURVE, inside(storage), "+epochs=2", "hydra.sweeper.num_samples=2")
    assert swept.code == 0
    place = Bucket.parse(storage)
    written = b"".join(place.get_all(place.sizes())).decode("latin-1")
    for text in (written, swept.out, swept.err):
        assert os.environ["AWS_SECRET_ACCESS_KEY"] not in text
        assert os.environ["AWS_ACCESS_KEY_ID"] not in text


def test_population_based_training_copies_checkpoints_within_the_bucket(
    sweep: Any, storage: str
) -> None:
    swept = sweep(
        "population.py",
        "hydra/sweeper/scheduler=pbt",
        "hydra/sweeper/searcher=random",
        "hydra.sweeper.metric=q",
        "hydra.sweeper.mode=max",
        "hydra.sweeper.seed=1",
        "hydra.sweeper.num_samples=4",
        "hydra.sweeper.scheduler.max_t=12",
        "hydra.sweeper.scheduler.perturbation_interval=2",
        "hydra.sweeper.scheduler.hyperparam_mutations=[h]",
        "hydra.sweeper.keep_checkpoints=4",
        "+h=choice(0,1)",
        "+epochs=12",
        inside(storage),
    )
    assert swept.code == 0, swept.err
    trials = load_sweep(find_sweep(f"{storage}/s")).trials
    assert [trial.status for trial in trials] == [Status.COMPLETE] * 4
    copies = [e for e in events_in(storage) if isinstance(e, Started) and e.reason == "exploit"]
    assert len(copies) >= 3
    place = Bucket.parse(storage) / "s"
    for copy in copies:
        job = copy.checkpoint.partition("/checkpoints/")[0]
        began = json.loads(place.get(f"{job}/began.log").splitlines()[0])
        assert (began["epoch"], began["h"]) == (copy.step, copy.params["h"])
        assert began["by"][-1][0] == copy.source
    folder = sweep_in(storage)
    assert folder.remote is not None
    assert folder.remote.checkpoints() == {trial.best_checkpoint for trial in trials}


def test_ranks_pause_and_go_on_together(sweep: Any, storage: str) -> None:
    swept = sweep(
        "ranks.py",
        "+x=range(1,10)",
        "hydra.sweeper.resources={workers: 2}",
        "hydra.sweeper.metric=loss",
        "hydra.sweeper.mode=min",
        "hydra/sweeper/searcher=grid",
        "hydra/sweeper/scheduler=asha",
        "hydra.sweeper.scheduler.max_t=9",
        inside(storage),
    )
    assert swept.code == 0, swept.err
    check_exact(storage, trials=9)
    place = Bucket.parse(storage) / "s"
    for trial in range(9):
        for log in ("output.log", "output.1.log"):
            assert place.has(f"trials/{trial}/1/{log}")


def test_trials_that_train_anew_at_each_rung(sweep: Any, storage: str) -> None:
    swept = sweep(
        "share.py",
        "+x=interval(-1,1)",
        "hydra.sweeper.metric=loss",
        "hydra.sweeper.mode=min",
        "hydra.sweeper.num_samples=6",
        "hydra/sweeper/scheduler=asha",
        "hydra.sweeper.fidelity={name: +share, min: 0.1, max: 1}",
        inside(storage),
    )
    assert swept.code == 0, swept.err
    place = Bucket.parse(storage) / "s"
    trials = load_sweep(find_sweep(f"{storage}/s")).trials
    assert len(trials) == 6
    for trial in trials:
        for rung in trial.reports:
            assert place.has(f"trials/{trial.number}/1/rung-{rung}/.hydra/config.yaml")


# What dies


def test_a_trial_whose_process_dies_goes_on_from_the_bucket(sweep: Any, storage: str) -> None:
    kinds = ["+kind=dies,fine", "hydra/sweeper/searcher=grid", "hydra.sweeper.max_losses=2"]
    swept = sweep("trouble.py", *kinds, inside(storage))

    assert swept.code == 0, swept.err
    trials = load_sweep(find_sweep(f"{storage}/s")).trials
    assert [trial.status for trial in trials] == [Status.FAILED, Status.COMPLETE]
    assert sum(isinstance(event, Lost) for event in events_in(storage)) == 3
    place = Bucket.parse(storage) / "s"
    begun = place.get("trials/0/1/segments.log").split()
    assert begun[0] == b"0"
    assert set(begun[1:]) <= {b"1"}  # from the checkpoint of its first epoch


def wait_until(condition: Callable[[], bool], alive: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert alive()
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A driver's TMPDIR, in which Ray's sockets lie too: a short path."""
    with tempfile.TemporaryDirectory(prefix="cv", dir="/tmp", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def test_a_driver_that_is_killed_is_resumed_from_the_bucket_alone(
    sweep: Any, storage: str, short_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(short_folder))
    given = [*ASHA, inside(storage), "hydra.sweeper.num_samples=8", "+epoch_s=0.05"]
    driver = sweep.drive(*given)
    driver.wait_until(lambda: appends_in(storage) >= 20)
    assert driver.end(signal.SIGKILL) == -signal.SIGKILL
    monkeypatch.delenv("TMPDIR")
    place = Bucket.parse(storage) / "s"
    assert place.has("driver.json")
    before = [told(event) for event in events_in(storage)]

    swept = sweep.caviar("resume", f"{storage}/s")
    assert swept.code == 0, swept.err
    assert [told(event) for event in events_in(storage)][: len(before)] == before
    check_exact(storage, trials=8)
    check_epochs(storage, trials=8)
    assert not place.has("driver.json")
    manifests = [key for key in place.sizes("checkpoints") if key.count("/") == 3]
    trials = load_sweep(find_sweep(f"{storage}/s")).trials
    assert len(manifests) == len(trials.with_status(Status.PAUSED)) + 1


def test_a_store_that_goes_away_ends_the_sweep_with_one_message_and_nothing_is_lost(
    sweep: Any, storage: str, object_store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Bucket.__init__, "__defaults__", (1.0,))
    given = [*ASHA, inside(storage), "hydra.sweeper.num_samples=8", "+epoch_s=0.05"]
    with failing(object_store, lambda: appends_in(storage) > 15):
        swept = sweep(*given)

    assert swept.code == 1
    (message,) = [line for line in swept.err.splitlines() if "cannot be reached" in line]
    assert "run again to go on" in message
    assert "Traceback" not in swept.err
    object_store.mend()
    counted = len(events_in(storage))
    resumed = sweep.caviar("resume", f"{storage}/s")
    assert resumed.code == 0, resumed.err
    assert len(events_in(storage)) > counted
    check_exact(storage, trials=8)


class failing:
    """Lets a store fail once something is so, from another thread."""

    def __init__(self, store: Any, condition: Callable[[], bool]) -> None:
        self._store, self._condition = store, condition
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *raised: object) -> None:
        self._thread.join()

    def _watch(self) -> None:
        wait_until(self._condition, lambda: True)
        self._store.fail(status=503)


def test_a_store_that_fails_for_a_moment_is_not_noticed(
    sweep: Any, storage: str, object_store: Any
) -> None:
    stop = threading.Event()

    def disturb() -> None:
        seen = 0
        while not stop.wait(0.1):
            seen += sum(object_store.counts().values())
            if seen > 20:  # so that no request fails more than twice
                object_store.fail(status=503, times=2)
                seen = 0

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        swept = sweep(*ASHA, inside(storage), "hydra.sweeper.num_samples=6")
    finally:
        stop.set()
        thread.join()
        object_store.mend()
    assert swept.code == 0, swept.err
    check_exact(storage, trials=6)


def test_a_second_driver_is_refused_while_the_first_lives(sweep: Any, storage: str) -> None:
    given = [*ASHA, inside(storage), "hydra.sweeper.num_samples=8", "+epoch_s=0.3"]
    driver = sweep.drive(*given)
    place = Bucket.parse(storage) / "s"
    alive = lambda: driver.process.poll() is None  # noqa: E731
    wait_until(lambda: appends_in(storage) > 3, alive)
    second = sweep.caviar("resume", f"{storage}/s")
    assert second.code == 1
    assert f"{storage}/s is being written by process {driver.process.pid} on " in second.err
    assert alive()
    assert driver.end(signal.SIGINT) == 130
    assert not place.has("driver.json")
    assert isinstance(events_in(storage)[-1], Closed)
    assert place.has("trials.parquet")
