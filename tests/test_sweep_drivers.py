"""What happens to a sweep when its driver ends, is killed, or is not the only one."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from sweeps.errors import SweepError
from sweeps.journal.events import Asked, Closed, Ended, Opened, Reported, Started
from sweeps.journal.file import Journal, read_journal
from sweeps.journal.status import Status
from sweeps.storage.durable import write_whole
from sweeps.storage.folder import Record
from sweeps.storage.lease import Lease

CURVE = ["curve.py", "+x=interval(-5,5)", "hydra.sweeper.metric=loss", "hydra.sweeper.mode=min"]
CURVE += ["hydra.sweeper.seed=3"]
CURVE += ["hydra/sweeper/scheduler=asha", "hydra.sweeper.scheduler.max_t=27"]
SHORT = [*CURVE, "hydra.sweeper.num_samples=20", "+epoch_s=0.02"]
RESUME = "hydra.sweeper.resume=true"


# The lease


@pytest.fixture
def bystander() -> Iterator[psutil.Process]:
    """A process that runs for as long as the test."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield psutil.Process(process.pid)
        process.kill()


def hold(path: Path, **holder: Any) -> Path:
    """Write a lease as another driver would."""
    now = {"host": socket.gethostname(), "heartbeat": time.time(), "workers": []}
    write_whole(path, json.dumps(now | holder))
    return path


def test_a_second_driver_is_refused_while_the_first_lives(
    tmp_path: Path, bystander: psutil.Process
) -> None:
    path = hold(tmp_path / "driver.json", pid=bystander.pid, started=bystander.create_time())

    with (
        pytest.raises(SweepError, match=f"process {bystander.pid} on {socket.gethostname()}"),
        Lease(path),
    ):
        pass
    assert json.loads(path.read_text())["pid"] == bystander.pid


@contextmanager
def beating(path: Path, **holder: Any) -> Iterator[None]:
    """Another host's driver, whose clock may be wrong, writes its heartbeat."""
    over = threading.Event()

    def beat() -> None:
        while not over.wait(0.05):
            hold(path, **other, count=next(counts))

    other = {"host": "elsewhere", "pid": 1, "started": 1.0, **holder}
    counts = itertools.count()
    hold(path, **other, count=next(counts))
    thread = threading.Thread(target=beat)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize("clock_s", [-300, 0, 300])
def test_a_lease_of_another_host_holds_while_its_heartbeat_goes_on_whatever_its_clock_says(
    tmp_path: Path, clock_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeps.storage.lease._STALE_S", 0.5)
    path = tmp_path / "driver.json"
    with (
        beating(path, heartbeat=time.time() + clock_s),
        pytest.raises(SweepError, match="process 1 on elsewhere"),
        Lease(path),
    ):
        pass
    hold(path, host="elsewhere", pid=1, started=1.0, heartbeat=time.time() + clock_s)
    with Lease(path):
        assert json.loads(path.read_text())["pid"] == os.getpid()


def test_a_lease_that_is_given_back_while_it_is_watched_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = hold(tmp_path / "driver.json", host="elsewhere", pid=1, started=1.0)
    monkeypatch.setattr("time.sleep", lambda _: path.unlink())
    with Lease(path):
        assert json.loads(path.read_text())["pid"] == os.getpid()


def test_a_driver_whose_lease_was_taken_over_writes_nothing_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeps.storage.lease._HEARTBEAT_S", 0.01)
    path = tmp_path / "driver.json"
    with Lease(path) as lease:
        journal = Journal(tmp_path / "journal.log", check=lease.check)
        journal.append(Opened(run=1, time=1.0))
        taken = {"host": "elsewhere", "pid": 1, "started": 1.0, "heartbeat": 1.0, "workers": []}
        while lease._thread.is_alive():  # a beat may be on its way
            with lease._writing:
                write_whole(path, json.dumps(taken))
            lease._thread.join(0.05)
        with pytest.raises(SweepError, match="taken over by process 1 on elsewhere"):
            journal.append(Opened(run=2, time=2.0))
    assert len(list(read_journal(tmp_path / "journal.log"))) == 1
    assert json.loads(path.read_text()) == taken


def test_the_lease_of_a_dead_process_is_taken_over_also_where_its_pid_came_again(
    tmp_path: Path, bystander: psutil.Process
) -> None:
    path = hold(tmp_path / "driver.json", pid=bystander.pid, started=bystander.create_time() - 100)

    with Lease(path):
        assert json.loads(path.read_text())["pid"] == os.getpid()
    assert not path.exists()


@pytest.mark.parametrize("text", ["", "{}", '{"pid": 1', "[]"])
def test_a_lease_that_cannot_be_read_is_taken_over(tmp_path: Path, text: str) -> None:
    path = tmp_path / "driver.json"
    path.write_text(text)

    with Lease(path):
        assert json.loads(path.read_text())["pid"] == os.getpid()


def test_what_runs_for_this_process_is_not_ended_where_its_own_lease_was_left(
    tmp_path: Path, bystander: psutil.Process
) -> None:
    own, runs = psutil.Process(), [[bystander.pid, bystander.create_time()]]
    path = hold(tmp_path / "driver.json", pid=own.pid, started=own.create_time(), workers=runs)

    with Lease(path):
        assert bystander.status() != psutil.STATUS_ZOMBIE


def test_what_a_dead_driver_left_running_is_ended_by_the_next(
    tmp_path: Path, bystander: psutil.Process
) -> None:
    left = [bystander.pid, bystander.create_time()]
    stranger = [os.getppid(), 1.0]
    path = hold(tmp_path / "driver.json", pid=1, started=1.0, workers=[left, stranger])

    with Lease(path):
        bystander.wait(timeout=5)
    assert psutil.pid_exists(os.getppid())


# Signals, and the death of a driver


def check_exact(swept: Any, *, trials: int = 20) -> None:
    """Each trial is there once and ended once, and no epoch was trained that was reported before.

    Every report of the app comes with a checkpoint, so a trial goes on at the epoch after the last
    that the journal knows.
    """
    assert [event.trial for event in swept.events if isinstance(event, Asked)] == [*range(trials)]
    runs = [event.run for event in swept.events if isinstance(event, Opened)]
    assert runs == [*range(1, len(runs) + 1)]
    ended: set[int] = set()
    reported: dict[int, int] = {}
    begins_at: dict[tuple[int, int], int] = {}
    for event in swept.events:
        match event:
            case Asked() | Started():
                assert event.trial not in ended
                begins_at.setdefault((event.trial, event.run), reported.get(event.trial, 0) + 1)
            case Reported():
                assert event.step == reported.get(event.trial, 0) + 1
                reported[event.trial] = event.step
            case Ended():
                assert event.trial not in ended
                ended.add(event.trial)
    for (trial, run), first in begins_at.items():
        log = swept.job(trial, run) / "epochs.log"
        epochs = [int(epoch) for epoch in log.read_text().split()] if log.exists() else []
        assert epochs == list(range(first, first + len(epochs)))
    assert {trial.status for trial in swept.trials} <= {Status.COMPLETE, Status.PAUSED}
    assert {trial.step for trial in swept.trials} <= {1, 3, 9, 27}
    assert isinstance(swept.events[-1], Closed)
    assert swept.events[-1].reason == "done"


@contextmanager
def signalled(sweep: Any, number: int, *, after: int) -> Iterator[None]:
    """Send this process a signal when the sweep's journal has so many more reports."""
    journal = sweep.storage / "s" / "journal.log"
    over = threading.Event()

    def reports() -> int:
        return journal.read_text().count("intermediate_value")

    def send(enough: int) -> None:
        while not over.wait(0.02):
            if reports() >= enough:
                os.kill(os.getpid(), number)
                return

    sender = threading.Thread(target=send, args=(reports() + after,))
    sender.start()
    try:
        yield
    finally:
        over.set()
        sender.join()


@pytest.mark.slow
@pytest.mark.ray
def test_a_sweep_goes_on_exactly_after_a_sudden_death_and_three_signals(sweep) -> None:
    driver = sweep.drive(*SHORT)
    driver.wait_for_reports(5)
    assert driver.listens_on == {"127.0.0.1"}
    second = sweep(*SHORT, RESUME)
    assert second.code == 1
    assert f"is being written by process {driver.process.pid}" in second.err
    assert driver.end(signal.SIGKILL) == -signal.SIGKILL

    journal = driver.folder.journal
    with journal.open("ab") as file:
        file.write(b'{"torn')
    os.symlink(journal, f"{journal}.lock")
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        with signalled(sweep, number, after=3):
            swept = sweep(*SHORT, RESUME)

        assert swept.code == 130
        assert swept.events[-1].reason == "interrupted"
        assert swept.err.endswith("interrupted\n")
        path = swept.folder.path
        shown = min(str(path), os.path.relpath(path), key=len)
        assert f"caviar resume {shown}" in swept.out
        assert "Traceback" not in swept.err + swept.out
        assert not swept.folder.lease.exists()

    swept = sweep.caviar("resume", str(driver.folder.path))
    assert swept.code == 0
    check_exact(swept)
    assert swept.trials.run == 5
    assert not driver.left()

    events = len(swept.events)
    again = sweep.caviar("resume", str(driver.folder.path))
    assert again.code == 0
    assert len(again.events) == events + 2  # opened and closed, with nothing left to do


@pytest.mark.slow
@pytest.mark.ray
def test_auto_begins_a_sweep_and_goes_on_with_it_and_no_secret_is_kept(sweep) -> None:
    few = [*CURVE, "hydra.sweeper.resume=auto", "hydra.sweeper.scheduler.max_t=3"]
    swept = sweep(*few, "hydra.sweeper.num_samples=2", "+api_key=sk-1")
    assert swept.code == 0
    record = Record.read(swept.folder)
    assert "+api_key=***" in record.overrides
    assert "sk-1" not in f"{record.overrides} {record.app}"

    refused = sweep.caviar("resume", str(swept.folder.path))
    assert refused.code == 2
    assert "api_key: sweep.yaml keeps no secrets" in refused.err

    swept = sweep(*few, "hydra.sweeper.num_samples=3", "+api_key=${oc.env:HOME}")
    assert swept.code == 0
    assert "going on with" in swept.err
    check_exact(swept, trials=3)


@pytest.mark.slow
@pytest.mark.ray
def test_an_interrupt_from_the_keyboard_which_all_processes_hear_ends_them_all(sweep) -> None:
    driver = sweep.drive(*CURVE, "+epoch_s=60")
    driver.wait_until((driver.folder.path / "trials").exists)

    assert driver.end(signal.SIGINT, group=True) == 130
    assert "Traceback" not in driver.output
    assert "caviar resume" in driver.output
    assert not driver.left()


@pytest.mark.slow
@pytest.mark.ray
def test_a_driver_that_is_killed_at_ten_random_moments_loses_and_repeats_nothing(sweep) -> None:
    generator = random.Random(0)
    many = [*CURVE, "hydra.sweeper.num_samples=60", "+epoch_s=0.1"]

    for kill in range(10):
        driver = sweep.drive(*many, *([RESUME] if kill else []))
        if kill % 2 == 0:
            driver.wait_for_reports(1)
        time.sleep(generator.uniform(0, 4))
        driver.end(signal.SIGKILL)

    swept = sweep(*many, RESUME)
    assert swept.code == 0
    check_exact(swept, trials=60)


def test_a_lease_may_be_renewed_from_two_threads_at_once(tmp_path: Path) -> None:
    lease = Lease(tmp_path / "driver.json")
    with lease, ThreadPoolExecutor(2) as threads:
        for renewed in [threads.submit(lease.renew) for _ in range(60)]:
            renewed.result()
        assert json.loads((tmp_path / "driver.json").read_text())["pid"] == os.getpid()
