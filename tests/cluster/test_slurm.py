"""Sweeps on a real Slurm of two nodes."""

from __future__ import annotations

import json
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from cluster.backend import Code, State, Status, Submission
from cluster.backends.slurm import SlurmBackend
from cluster.handle import Handle
from sweeps.journal.events import Asked, Closed, Opened, Reported
from sweeps.journal.file import read_journal
from sweeps.results import load_sweep
from sweeps.storage.folder import SweepFolder
from tests.cluster.audit import wait_until
from tests.cluster.slurm_cluster import SlurmCluster, slurm_cluster

pytestmark = [pytest.mark.slow, pytest.mark.cluster]

EPOCHS = 4
APP = '''\
"""Trains in epochs, the last two of them behind a gate, and notes where it does so."""

import json
import os
import time
from pathlib import Path

import hydra
import ray
from hydra.core.hydra_config import HydraConfig

import sweeps


@hydra.main(version_base=None, config_path=None)
def main(cfg):
    place = Path(cfg.place)
    checkpoint = sweeps.get_checkpoint()
    first = json.loads((checkpoint / "state.json").read_text())["epoch"] + 1 if checkpoint else 1
    where = ray.get_runtime_context().get_node_labels()["slurm"]
    state = Path(HydraConfig.get().runtime.output_dir) / "state"
    state.mkdir(exist_ok=True)
    for epoch in range(first, 5):
        slurm = [name for name in os.environ if name.startswith(("SLURM", "SBATCH", "PMI"))]
        told = {"trial": HydraConfig.get().job.num, "epoch": epoch, "at": where, "slurm": slurm}
        told["gpu"] = os.environ.get("CUDA_VISIBLE_DEVICES")
        with (place / "audit").open("a") as file:
            file.write(json.dumps(told) + "\\n")
        while epoch > 2 and not (place / "gate").exists():
            time.sleep(0.05)
        time.sleep(0.6)  # so that no report is held back for the next
        (state / "state.json").write_text(json.dumps({"epoch": epoch}))
        sweeps.report({"loss": (cfg.x - 2) ** 2 + 1 / epoch}, step=epoch, checkpoint=state)


if __name__ == "__main__":
    main()
'''


@pytest.fixture(scope="module")
def slurm() -> Iterator[SlurmCluster]:
    with slurm_cluster() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    (folder / "pyproject.toml").touch()
    (folder / "gated.py").write_text(APP)
    return folder


@dataclass
class Sweep:
    """A submission of the gated app."""

    slurm: SlurmCluster
    backend: SlurmBackend
    submission: Submission
    place: Path
    handle: Handle = field(init=False)
    key: str = field(init=False)
    """Its job's name in Slurm."""

    def begin(self) -> None:
        self.place.mkdir()
        self.submit()

    def submit(self) -> None:
        self.handle = self.backend.submit(self.submission)
        told = self.slurm.ask("scontrol", "-o", "show", "job", self.handle.job)
        self.key = told.partition("JobName=")[2].split()[0]

    @property
    def folder(self) -> SweepFolder:
        return SweepFolder(Path(self.submission.storage) / self.submission.name)

    @property
    def status(self) -> Status:
        return self.backend.status(self.handle)

    @property
    def log(self) -> str:
        return "".join(self.backend.logs(self.handle))

    @property
    def audit(self) -> list[dict[str, Any]]:
        file = self.place / "audit"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    @property
    def at_the_gate(self) -> set[tuple[int, str]]:
        """(trial, where) of all that have come to the gate."""
        return {(told["trial"], told["at"]) for told in self.audit if told["epoch"] == 3}

    def open_gate(self) -> None:
        (self.place / "gate").touch()

    def workers(self) -> list[str]:
        """The worker jobs that run."""
        name = f"--name={self.key}-w"
        return self.slurm.ask("squeue", "-h", name, "-t", "RUNNING", "-o", "%A").split()

    def wait_until(self, condition: Callable[[], bool], seconds: float = 240) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            late = time.monotonic() > deadline or (self.status.state.is_over and not condition())
            assert not late, f"{self.status}\n{self.log}"
            time.sleep(0.2)

    def wait_to_the_end(self) -> Status:
        """Its status when it is over; Slurm's pause before a requeued job begins is cut short."""

        def over() -> bool:
            if "BeginTime" in self.status.message:
                self.slurm.ask("scontrol", "update", f"JobId={self.handle.job}", "StartTime=now")
            return self.status.state.is_over

        self.wait_until(over)
        return self.status

    def assert_exact(self, trials: int) -> None:
        """Every trial is complete, asked for once, and each of its epochs reported once."""
        events = list(read_journal(self.folder.journal))
        assert [e.trial for e in events if isinstance(e, Asked)] == list(range(trials))
        reports = Counter((e.trial, e.step) for e in events if isinstance(e, Reported))
        wanted = {(trial, step) for trial in range(trials) for step in range(1, EPOCHS + 1)}
        assert reports == Counter(wanted)
        ends = {trial.number: trial.status.value for trial in load_sweep(self.folder).trials}
        assert ends == dict.fromkeys(range(trials), "complete"), self.log

    def runs(self) -> list[int]:
        return [e.run for e in read_journal(self.folder.journal) if isinstance(e, Opened)]


@pytest.fixture
def sweep(slurm: SlurmCluster, project: Path) -> Iterator[Callable[..., Sweep]]:
    """Makes submissions; what is left of them in the end is cancelled."""
    made: list[Sweep] = []

    def make(trials: int, **options: Any) -> Sweep:
        name = f"s{secrets.token_hex(3)}"
        storage, place = slurm.folder / "storage", slurm.folder / name
        space = ["+x=interval(-5,5)", "hydra.sweeper.metric=loss", "hydra.sweeper.mode=min"]
        where = [f"hydra.sweeper.name={name}", f"hydra.sweeper.storage_path={storage}"]
        submission = Submission(
            name=name,
            arguments=(
                *("sweep", "gated.py", *space, f"hydra.sweeper.num_samples={trials}"),
                *(f"+place={place}", *where, "hydra.sweeper.resume=auto"),
            ),
            code=Code(root=project),
            storage=str(storage),
        )
        backend = slurm.backend(**options)
        made.append(Sweep(slurm=slurm, backend=backend, submission=submission, place=place))
        return made[-1]

    yield make
    for each in made:
        if hasattr(each, "handle"):
            each.backend.stop(each.handle)


def test_an_elastic_sweep_begins_with_its_first_worker_and_takes_in_later_ones(
    slurm: SlurmCluster, sweep: Callable[..., Sweep]
) -> None:
    held = {"hold": True}
    driver = {"cpus_per_task": 1, "mem_gb": 1, "additional_parameters": held}
    ours = sweep(4, workers="0..2", gres="gpu:1", additional_parameters=held, driver=driver)
    ours.begin()

    assert ours.status.state is State.PENDING
    assert "JobHeldUser" in ours.status.message
    assert ours.log == ""
    slurm.ask("scontrol", "release", ours.handle.job)
    ours.wait_until(lambda: "2 are queued (JobHeldUser)" in ours.status.message)
    assert ours.status.state is State.RUNNING
    assert ours.status.nodes == ("n1",)

    queued = slurm.ask("squeue", "-h", "-t", "PENDING", "-o", "%A").split()
    slurm.ask("scontrol", "release", queued[0])
    ours.wait_until(lambda: len(ours.at_the_gate) == 1)
    slurm.ask("scontrol", "release", queued[1])
    ours.wait_until(lambda: len(ours.at_the_gate) == 2)
    ours.open_gate()

    ended = ours.wait_to_the_end()
    assert (ended.state, ended.exit_code) == (State.SUCCEEDED, 0)
    ours.assert_exact(4)
    assert {told["at"].partition(".")[0] for told in ours.audit} == set(queued)
    assert [told["slurm"] for told in ours.audit] == [[]] * len(ours.audit)
    devices = {told["at"]: told["gpu"] for told in ours.audit}
    assert sorted(devices.values()) == ["0", "1"], "each worker has a GPU of its own of the node"
    assert "4 complete" in "".join(ours.backend.logs(ours.handle, follow=True))
    ours.wait_until(lambda: not ours.workers())
    assert ours.backend.stop(ours.handle).done


def test_a_driver_whose_time_is_up_goes_on_in_the_next_job(
    slurm: SlurmCluster, sweep: Callable[..., Sweep]
) -> None:
    driver = {"cpus_per_task": 1, "mem_gb": 1, "timeout_min": 3}
    ours = sweep(4, workers="2", driver=driver, signal_delay_s=60)
    ours.begin()
    ours.wait_until(lambda: len(ours.at_the_gate) == 2)

    ours.wait_until(lambda: ours.status.state is State.PENDING)
    assert "waits to go on in its next job" in ours.status.message
    first = set(ours.at_the_gate)
    ours.open_gate()

    assert ours.wait_to_the_end().state is State.SUCCEEDED
    ours.assert_exact(4)
    assert ours.runs() == list(range(1, len(ours.runs()) + 1))
    assert len(ours.runs()) > 1
    later = {told["at"] for told in ours.audit[len(first) * 3 :]}
    assert not later & {at for _, at in first}, "the new head has workers of its own"
    assert "Restarts=" in (told := slurm.ask("scontrol", "-o", "show", "job", ours.handle.job))
    assert "Restarts=0" not in told


def test_a_worker_that_slurm_takes_away_costs_no_trial(sweep: Callable[..., Sweep]) -> None:
    ours = sweep(4, workers="2", signal_delay_s=45)
    ours.begin()
    ours.wait_until(lambda: len(ours.at_the_gate) == 2)
    drained, killed = sorted(ours.workers())

    ours.slurm.ask("scancel", "--signal=USR1", "--batch", drained)
    ours.wait_until(lambda: drained not in ours.workers())
    ours.slurm.ask("scancel", "--signal=KILL", "--full", killed)
    ours.wait_until(lambda: len(ours.at_the_gate) >= 4)
    ours.open_gate()

    assert ours.wait_to_the_end().state is State.SUCCEEDED
    ours.assert_exact(4)
    jobs = {at.partition(".")[0] for _, at in ours.at_the_gate}
    assert {drained, killed} < jobs
    assert ours.runs() == [1]


def test_workers_without_work_are_let_go_and_the_sweep_goes_on(
    slurm: SlurmCluster, sweep: Callable[..., Sweep]
) -> None:
    ours = sweep(1, workers="0..5", additional_parameters={"hold": True})
    ours.begin()
    ours.wait_until(lambda: "5 are queued" in ours.status.message)
    queued = sorted(slurm.ask("squeue", "-h", "-t", "PENDING", "-o", "%A").split())
    slurm.ask("scontrol", "release", queued[0])
    ours.wait_until(lambda: len(ours.at_the_gate) == 1)

    ours.wait_until(lambda: slurm.ask("squeue", "-h", "-t", "PENDING", "-o", "%A") == "")
    assert ours.workers() == [queued[0]]
    ours.wait_until(lambda: "1 workers have joined, 0 are queued" in ours.status.message)
    ours.open_gate()

    assert ours.wait_to_the_end().state is State.SUCCEEDED
    ours.assert_exact(1)


def test_a_stop_saves_the_state_and_the_same_submission_goes_on(
    slurm: SlurmCluster, sweep: Callable[..., Sweep]
) -> None:
    ours = sweep(2, workers="0..2")
    ours.begin()
    ours.wait_until(lambda: len(ours.at_the_gate) == 2)

    stopped = ours.backend.stop(ours.handle)

    assert stopped.done
    assert stopped.message == "it was interrupted and has ended"
    assert (ours.status.state, ours.status.exit_code) == (State.STOPPED, 130)
    assert isinstance(list(read_journal(ours.folder.journal))[-1], Closed)
    ours.wait_until(lambda: not ours.workers())

    ours.open_gate()
    ours.submit()
    assert ours.wait_to_the_end().state is State.SUCCEEDED
    ours.assert_exact(2)


def test_a_job_in_the_queue_is_cancelled_which_is_known_when_slurm_has_forgotten_it(
    slurm: SlurmCluster, sweep: Callable[..., Sweep]
) -> None:
    ours = sweep(2, driver={"additional_parameters": {"hold": True}})
    ours.begin()

    stopped = ours.backend.stop(ours.handle)

    assert stopped.done
    assert stopped.message == "it was in the queue and was cancelled: nothing of it has run"
    assert ours.status.state is State.STOPPED
    assert slurm.ask("squeue", "-h", "-t", "PENDING", f"--jobs={ours.handle.job}") == ""
    wait_until(lambda: slurm.ask("scontrol", "-o", "show", "job", ours.handle.job) == "", within=90)
    assert ours.status.state is State.STOPPED


def test_an_allocation_uses_all_its_nodes_and_goes_on_when_requeued(
    slurm: SlurmCluster, sweep: Callable[..., Sweep]
) -> None:
    ours = sweep(4, mode="allocation", nodes=2)
    ours.begin()
    ours.wait_until(lambda: len(ours.at_the_gate) == 2)
    assert {at for _, at in ours.at_the_gate} == {
        f"{ours.handle.job}.{node}" for node in ("n1", "n2")
    }

    slurm.ask("scancel", "--signal=USR1", "--batch", ours.handle.job)
    ours.wait_until(lambda: ours.status.state is State.PENDING)
    ours.open_gate()

    assert ours.wait_to_the_end().state is State.SUCCEEDED
    ours.assert_exact(4)
    assert ours.runs() == [1, 2]
    assert {told["slurm"] == [] for told in ours.audit} == {True}


def test_workers_that_cannot_start_end_the_sweep_and_name_their_log(
    sweep: Callable[..., Sweep],
) -> None:
    ours = sweep(
        2, workers="1", setup=['[[ $SLURM_JOB_NAME != *-w ]] || { echo "no cuda"; exit 1; }']
    )
    ours.begin()

    ended = ours.wait_to_the_end()

    assert (ended.state, ended.exit_code) == (State.FAILED, 1)
    assert "3 worker jobs in a row ended before they joined Ray: see " in ended.message
    assert "no cuda" in Path(ended.message.rpartition("see ")[2]).read_text()


def test_doctor_finds_all_well_within_its_time(sweep: Callable[..., Sweep]) -> None:
    ours = sweep(2)
    began = time.monotonic()

    checks = list(ours.backend.checks(ours.submission))

    assert time.monotonic() - began < 30
    assert [check for check in checks if not check.ok and not check.warning] == []
    said = "; ".join(check.what for check in checks)
    assert "slurm" in said
    assert "in partition main" in said
    assert "a node has Python" in said
    assert f"a node reads and writes {ours.submission.storage}" in said


@pytest.mark.parametrize(
    ("options", "what", "todo"),
    [
        ({"partition": "mian"}, "Invalid partition", "set partition to one of main; did you mean"),
        ({"cpus_per_task": 64}, "node config", "lower cpus_per_task"),
        ({"timeout_min": 600}, "timeout_min is 600, and the partition allows 60", "at most 60"),
        ({"python": "/no/python"}, "/no/python", "the profile's setup and python"),
        ({"setup": ["module load cuda"]}, "module", "the profile's setup and python"),
    ],
)
def test_doctor_says_what_does_not_hold_and_what_to_do(
    sweep: Callable[..., Sweep], options: dict[str, Any], what: str, todo: str
) -> None:
    failing = [c for c in sweep(2, **options).backend.checks(None) if not c.ok and not c.warning]
    assert what in failing[0].what
    assert todo in failing[0].todo


def test_a_job_that_slurm_never_had_is_unknown(slurm: SlurmCluster) -> None:
    assert slurm.backend().status(Handle("slurm", "default", "999999")).state is State.UNKNOWN
