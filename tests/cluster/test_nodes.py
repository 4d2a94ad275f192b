"""Sweeps over several nodes: what a trial finds on each, and how many there are at once."""

from __future__ import annotations

import itertools
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ray.job_submission import JobSubmissionClient

from cluster.auth import token_headers
from sweeps.journal.events import Asked, Closed, Reported
from sweeps.journal.file import read_journal
from sweeps.results import SweepResults, load_sweep
from sweeps.storage.folder import SweepFolder
from tests.cluster.nodes import RayCluster, ray_cluster

pytestmark = [pytest.mark.slow, pytest.mark.cluster]

PROJECT = Path(__file__).parent / "project"
RANKS = Path(__file__).parents[1] / "apps" / "ranks.py"
SWEEP = [sys.executable, "-m", "sweeps.cli", "sweep"]
LOSS = ["hydra.sweeper.metric=loss", "hydra.sweeper.mode=min", "hydra.sweeper.seed=3"]
X = ["app.py", "x=interval(-5, 5)", *LOSS]
ASHA = ["hydra/sweeper/scheduler=asha", "hydra.sweeper.scheduler.max_t=9"]
OF_SLURM = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "2", "SLURM_PROCID": "0"}
A, B = "127.0.0.3", "127.0.0.4"
"""The addresses of the first two nodes that are added."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """A cluster, a project, and a storage that all nodes share."""

    cluster: RayCluster
    folder: Path

    @property
    def project(self) -> Path:
        return self.folder / "project"

    @property
    def storage(self) -> Path:
        return self.folder / "sweeps"

    def where(self, name: str, storage: Path | None = None) -> list[str]:
        place = self.storage if storage is None else storage
        return [f"hydra.sweeper.name={name}", f"hydra.sweeper.storage_path={place}"]

    def start(
        self, command: list[str], cwd: Path | None = None, *, log: str = "driver"
    ) -> subprocess.Popen[bytes]:
        """A driver of its own on this machine, outside of every node."""
        with (self.folder / log).open("w") as output:
            return subprocess.Popen(
                command,
                cwd=cwd or self.project,
                env=self.cluster.environment | {"RAY_ADDRESS": self.cluster.address},
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def said(self) -> str:
        """What the last driver said."""
        return self.said_in("driver")

    def said_in(self, log: str) -> str:
        return " ".join((self.folder / log).read_text().split())

    def run(self, command: list[str], cwd: Path | None = None) -> int:
        with self.start(command, cwd) as driver:
            try:
                return driver.wait(timeout=400)
            finally:
                driver.kill()

    def notes(self, name: str) -> dict[int, list[dict[str, Any]]]:
        """By trial: what its app noted, in the order of time."""
        found: dict[int, list[dict[str, Any]]] = {}
        for file in self.storage.glob(f"{name}/trials/*/**/notes.jsonl"):
            trial = int(file.relative_to(self.storage / name / "trials").parts[0])
            found.setdefault(trial, []).extend(map(json.loads, file.read_text().splitlines()))
        return {trial: sorted(notes, key=lambda n: n["time"]) for trial, notes in found.items()}

    def begins(self, name: str) -> list[dict[str, Any]]:
        return [n for notes in self.notes(name).values() for n in notes if n["kind"] == "begin"]


@pytest.fixture(scope="module")
def make_place(tmp_path_factory: pytest.TempPathFactory) -> Callable[[RayCluster], Place]:
    def make(cluster: RayCluster) -> Place:
        place = Place(cluster=cluster, folder=tmp_path_factory.mktemp("nodes"))
        make_project(place.project)
        return place

    return make


def make_project(folder: Path) -> None:
    shutil.copytree(PROJECT, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "pyproject.toml").touch()


@pytest.fixture(scope="module")
def two(make_place: Callable[[RayCluster], Place]) -> Iterator[Place]:
    """A head without slots and two nodes of two CPUs, the second with four GPUs, in Slurm jobs."""
    with ray_cluster() as cluster:
        cluster.start_head()
        cluster.add_node("a", cpus=2, env=OF_SLURM)
        cluster.add_node("b", cpus=2, gpus=4, env=OF_SLURM)
        yield make_place(cluster)


def wait_until(condition: Callable[[], bool], what: str, *, timeout_s: float = 240) -> float:
    """Wait until something is so; for how long."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < timeout_s, what
        time.sleep(0.05)
    return time.monotonic() - began


def check_exact(place: Place, name: str, *, trials: int) -> SweepResults:
    """All trials are in the journal once, and each trained each epoch once, as the journal says."""
    folder = SweepFolder(place.storage / name)
    events, sweep = list(read_journal(folder.journal)), load_sweep(folder)
    assert [event.trial for event in events if isinstance(event, Asked)] == [*range(trials)]
    assert isinstance(events[-1], Closed)
    assert events[-1].reason == "done"
    notes = place.notes(name)
    for number in range(trials):
        trained = [note["epoch"] for note in notes[number] if note["kind"] == "epoch"]
        reported = [e.step for e in events if isinstance(e, Reported) and e.trial == number]
        assert trained == reported == [*range(1, len(trained) + 1)]
        last = sweep.trials[number].checkpoint
        assert last is not None
    assert sweep.best is not None
    assert sweep.best.checkpoint is not None
    assert (folder.path / sweep.best.checkpoint / "state.json").exists()
    return sweep


# Where the code is


def test_a_driver_outside_the_cluster_trains_on_every_node(two: Place) -> None:
    many = [*X, *ASHA, *two.where("out"), "hydra.sweeper.num_samples=48"]
    assert two.run([*SWEEP, *many, "hydra.sweeper.resources={cpus: 1}"]) == 0, two.said

    assert "each trial gets no GPU, 1 CPU; 4 run at once on 2 nodes" in two.said, two.said
    sweep = check_exact(two, "out", trials=48)
    assert sum(trial.promotions for trial in sweep.trials) >= 16
    begins = two.begins("out")
    assert {begin["node"] for begin in begins} == {A, B}
    assert moved(two, "out"), "no promoted trial went on on another node"
    for begin in begins:
        assert Path(begin["app"]) == two.project / "app.py"
        assert begin["devices"] == ""
        assert begin["threads"] == "1"
        assert begin["niceness"] == 0
        assert begin["slurm"] == []


def moved(place: Place, name: str) -> list[int]:
    """Trials that went on from a checkpoint on another node than the one before."""
    found = []
    for trial, notes in place.notes(name).items():
        nodes = [note["node"] for note in notes if note["kind"] == "begin"]
        if len(set(nodes)) > 1:
            found.append(trial)
    return found


def test_in_a_job_each_node_trains_its_own_copy_and_another_checkout_goes_on(
    two: Place, tmp_path: Path
) -> None:
    sweep = [*X, *ASHA, *two.where("job"), "hydra.sweeper.num_samples=16"]
    command = [*SWEEP, *sweep, "hydra.sweeper.resources={cpus: 1}"]
    status, logs = run_job(two, command)
    assert status == "SUCCEEDED", logs

    check_exact(two, "job", trials=16)
    begins = two.begins("job")
    assert {begin["node"] for begin in begins} == {A, B}
    for begin in begins:
        node = two.cluster.nodes["a" if begin["node"] == A else "b"]
        for key in ("app", "module", "cwd", "words", "config"):
            assert Path(begin[key]).is_relative_to(node.folder), (key, begin)

    elsewhere = tmp_path / "checkout"
    make_project(elsewhere)
    with without_copies(two.cluster):
        check_goes_on(two, tmp_path, elsewhere)


def check_goes_on(two: Place, outside: Path, elsewhere: Path) -> None:
    """The job's sweep goes on, and is exported, in another checkout alone."""
    folder = str(two.storage / "job")
    caviar = [sys.executable, "-m", "sweeps.cli"]
    assert two.run([*caviar, "resume", folder], outside) == 1
    assert "app.py, with which the sweep was begun, is not here" in two.said
    assert f"nor in the project in {outside}" in two.said
    assert "Traceback" not in two.said
    more = ["hydra.sweeper.num_samples=20"]
    assert two.run([*caviar, "resume", folder, *more], elsewhere) == 0, two.said
    check_exact(two, "job", trials=20)
    later = [note for number in range(16, 20) for note in two.notes("job")[number]]
    cwds = {note["cwd"] for note in later if note["kind"] == "begin"}
    assert cwds == {str(elsewhere)}
    assert two.run([*caviar, "export", folder], elsewhere) == 0, two.said
    assert two.run([*caviar, "results", folder], elsewhere) == 0, two.said


def run_job(place: Place, command: list[str]) -> tuple[str, str]:
    """Run a command as a Ray job with the project as its working folder."""
    client = JobSubmissionClient(
        place.cluster.dashboard, headers=token_headers(place.cluster.token)
    )
    job = client.submit_job(
        entrypoint=shlex.join(command), runtime_env={"working_dir": str(place.project)}
    )
    wait_until(lambda: client.get_job_status(job).is_terminal(), "the job never ends")
    return client.get_job_status(job).value, client.get_job_logs(job)


@contextmanager
def without_copies(cluster: RayCluster) -> Iterator[None]:
    """Put what was sent along out of sight, as if this were another machine than the head."""
    (copies,) = cluster.nodes["head"].folder.glob("session_2*/runtime_resources/working_dir_files")
    hidden = copies.rename(copies.with_name("hidden"))
    try:
        yield
    finally:
        hidden.rename(copies)


def test_a_storage_in_the_jobs_own_copy_is_refused(two: Place) -> None:
    relative = ["hydra.sweeper.name=r", "hydra.sweeper.storage_path=outputs"]
    status, logs = run_job(two, [*SWEEP, *X, *relative, "hydra.sweeper.resources={cpus: 1}"])

    assert status == "FAILED"
    assert "a copy of the project that goes with the job" in " ".join(logs.split())
    assert "Traceback" not in logs.partition("hydra.sweeper.storage_path leads")[2]


# GPUs


def test_parts_of_a_gpu_fill_it_and_never_more(two: Place) -> None:
    shares = ["hydra.sweeper.resources={cpus: 0.4, gpus: 0.25}", "epochs=2", "together=5"]
    sweep = [*SWEEP, *X, *two.where("gpus"), "hydra.sweeper.num_samples=10", *shares]
    assert two.run(sweep) == 0, two.said

    assert "each trial gets 0.25 GPU and 0.4 CPU; 5 run at once" in two.said
    begins = two.begins("gpus")
    assert {begin["node"] for begin in begins} == {B}
    assert {begin["devices"] for begin in begins} <= {"0", "1", "2", "3"}
    assert sorted(at_once(two, "gpus", "devices").values()) == [1, 4]


def at_once(place: Place, name: str, key: str) -> dict[str, int]:
    """By what they found under a key: the most trials that ran at once."""
    changes: dict[str, list[tuple[float, int]]] = {}
    for notes in place.notes(name).values():
        found = changes.setdefault(notes[0][key], [])
        found.append((notes[0]["time"], 1))
        if notes[-1]["kind"] == "end":
            found.append((notes[-1]["time"], -1))
    return {
        value: max(itertools.accumulate(change for _, change in sorted(steps)))
        for value, steps in changes.items()
    }


def test_auto_is_a_gpu_where_one_node_has_some_and_what_no_node_has_is_refused(two: Place) -> None:
    sweep = [*SWEEP, *X, "hydra.sweeper.num_samples=2", "epochs=1"]
    assert two.run([*sweep, *two.where("auto")]) == 0, two.said
    assert "each trial gets 1 GPU and 1 CPU; 2 run at once" in two.said
    assert {len(begin["devices"]) for begin in two.begins("auto")} == {1}

    three = "hydra.sweeper.resources={cpus: 3}"
    assert two.run([*sweep, *two.where("three"), three]) == 2
    assert "hydra.sweeper.resources.cpus is 3, and no node has more than 2" in two.said
    assert not (two.storage / "three").exists()


def test_threads_follow_the_cpus_of_a_trial(two: Place) -> None:
    two_cpus = ["hydra.sweeper.resources={cpus: 2}", "hydra.sweeper.num_samples=2", "epochs=1"]
    assert two.run([*SWEEP, *X, *two.where("cpus"), *two_cpus]) == 0, two.said
    assert {begin["threads"] for begin in two.begins("cpus")} == {"2"}


# Ranks


@pytest.mark.parametrize(("workers", "nodes"), [(2, 1), (4, 2)])
def test_ranks_meet_on_one_node_where_they_fit_and_on_two_where_not(
    two: Place, workers: int, nodes: int
) -> None:
    name = f"ranks{workers}"
    each = f"hydra.sweeper.resources={{workers: {workers}, cpus: 1}}"
    sweep = [str(RANKS), "+x=1,2", *LOSS, "hydra/sweeper/searcher=grid", *two.where(name), each]
    assert two.run([*SWEEP, *sweep]) == 0, two.said

    for trial in (0, 1):
        job = two.storage / name / "trials" / str(trial) / "1"
        begins = [json.loads(line) for line in (job / "begins.jsonl").read_text().splitlines()]
        assert sorted(begin["rank"] for begin in begins) == [*range(workers)]
        assert {begin["LOCAL_WORLD_SIZE"] for begin in begins} == {str(workers // nodes)}
        (address,) = {begin["MASTER_ADDR"] for begin in begins}
        assert address in ({A, B} if nodes == 2 else {"127.0.0.1"})
        ends = [json.loads(line) for line in (job / "ends.jsonl").read_text().splitlines()]
        assert {end["total"] for end in ends} == {workers * (workers + 1) / 2}
        assert {begin["devices"] for begin in begins} == {""}


# Storage


def test_a_storage_that_a_node_does_not_share_or_cannot_write_is_refused(
    two: Place, tmp_path: Path
) -> None:
    own, fixed = tmp_path / "own", tmp_path / "fixed"
    own.mkdir()
    fixed.mkdir()
    mount = f"mount -t tmpfs none {own} && mount -o bind,ro {fixed} {fixed}"
    node = two.cluster.add_node(
        "c", cpus=0, within=["unshare", "--mount", "sh", "-c", f'{mount} && exec "$@"', "sh"]
    )
    try:
        for storage, why in (
            (own, "what the driver wrote cannot be read there: No such file or directory"),
            (fixed, "it cannot be written there: Read-only file system"),
        ):
            assert two.run([*SWEEP, *X, *two.where("s", storage)]) == 2
            assert f"(127.0.0.5) {why}. Nothing was started" in two.said
            assert two.said.count(why) == 1
            assert list(storage.iterdir()) == []
    finally:
        node.kill()


# Nodes that join


def test_a_sweep_waits_for_the_first_node_and_the_next_takes_work_within_seconds(
    make_place: Callable[[RayCluster], Place], request: pytest.FixtureRequest
) -> None:
    with ray_cluster() as cluster:
        cluster.start_head(dashboard=False)
        place = make_place(cluster)
        epochs = ["epochs=8", "epoch_s=0.25", "hydra.sweeper.num_samples=40"]
        limit = "hydra.sweeper.max_concurrent_trials=3"
        driver = place.start([*SWEEP, *X, *place.where("joins"), *epochs, limit])
        request.addfinalizer(driver.kill)
        asks = ["hydra.sweeper.resources={cpus: 1}", "hydra.sweeper.num_samples=1", "epochs=1"]
        other = place.start([*SWEEP, *X, *place.where("asks"), *asks], log="other")
        request.addfinalizer(other.kill)
        wait_until(lambda: "waiting for the first" in place.said, place.said)
        waits = "1 CPU; no node has room for one yet: waiting for nodes"
        wait_until(lambda: waits in place.said_in("other"), "it does not wait")
        assert driver.poll() is other.poll() is None

        cluster.add_node("a", cpus=2)
        first = wait_until(lambda: bool(place.notes("joins")), place.said)
        assert "each trial gets no GPU, 1 CPU; 2 run at once" in place.said
        assert other.wait(timeout=120) == 0
        cluster.add_node("b", cpus=2)
        second = wait_until(lambda: B in {n["node"] for n in place.begins("joins")}, place.said)
        print(f"first trial on the first node after {first:.1f} s, on the second {second:.1f} s")
        assert second < 15 * max(1, os.getloadavg()[0] / (os.cpu_count() or 1))
        driver.send_signal(signal.SIGINT)
        assert driver.wait(timeout=60) == 130
        assert sum(at_once(place, "joins", "node").values()) == 3
        assert len(place.notes("joins")) < 40
