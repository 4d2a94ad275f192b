"""What every backend promises, held against each that `tests/cluster/backends.py` lists."""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from cluster.backend import Code, State, Status, Submission
from cluster.handle import Handle
from sweeps.journal.events import Asked, Closed, Ended, Opened
from sweeps.journal.file import read_journal
from sweeps.storage.folder import SweepFolder
from tests.cluster.backends import BACKENDS, Place

APPS = Path(__file__).parents[1] / "apps"
CURVE = ["+x=interval(-5,5)", "hydra.sweeper.metric=loss", "hydra.sweeper.mode=min"]
CURVE += ["hydra.sweeper.seed=3", "hydra.sweeper.max_concurrent_trials=1"]
SECRET = "sk-of-the-one-who-submits"

PLAIN = '''\
"""A job without a sweep: it begins at once, and does as it is told."""

import time
from pathlib import Path

import hydra


@hydra.main(version_base=None, config_path=None)
def main(cfg):
    folder = Path(cfg.folder)
    folder.mkdir(parents=True, exist_ok=True)
    print("begun", flush=True)
    (folder / "begun").touch()
    try:
        while cfg.get("waits") and not (folder / "go").exists():
            time.sleep(0.02)
    except KeyboardInterrupt:
        time.sleep(cfg.get("saving_s", 0))
        (folder / "saved").touch()
        raise
    print("ended", flush=True)
    raise SystemExit(cfg.get("code", 0))


if __name__ == "__main__":
    main()
'''


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=marks) for name, (_, marks) in BACKENDS.items()],
)
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    factory, _ = BACKENDS[request.param]
    with factory() as there:
        yield there


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with two apps."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "pyproject.toml").touch()
    (folder / "plain.py").write_text(PLAIN)
    shutil.copy(APPS / "curve.py", folder)
    return folder


@dataclass
class Jobs:
    """Submits, waits, and in the end stops what it has submitted."""

    place: Place
    root: Path
    handles: list[Handle] = field(default_factory=list)
    name: str = field(default_factory=lambda: f"job-{secrets.token_hex(4)}")

    @property
    def folder(self) -> Path:
        return Path(self.place.storage) / self.name

    @property
    def sweep(self) -> SweepFolder:
        return SweepFolder(self.folder)

    def plain(self, *overrides: str) -> Submission:
        return self._submission("train", "plain.py", f"+folder='{self.folder}'", *overrides)

    def curve(self, *overrides: str) -> Submission:
        where = [f"hydra.sweeper.name={self.name}", "hydra.sweeper.resume=auto"]
        where += [f"hydra.sweeper.storage_path='{self.place.storage}'"]
        return self._submission("sweep", "curve.py", *CURVE, *overrides, *where)

    def _submission(self, *arguments: str) -> Submission:
        code = Code(root=self.root)
        return Submission(
            name=self.name, arguments=arguments, code=code, storage=self.place.storage
        )

    def submit(self, submission: Submission) -> Handle:
        handle = self.place.backend.submit(submission)
        self.handles.append(handle)
        return handle

    def wait(self, handle: Handle) -> Status:
        """Its status when it is over."""
        self.wait_until(lambda: self.place.backend.status(handle).state.is_over)
        return self.place.backend.status(handle)

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait until something is so, which it must become while a job lives."""
        deadline = time.monotonic() + self.place.within_s
        while not condition():
            late = time.monotonic() > deadline or (self.are_over() and not condition())
            assert not late, self.logs()
            time.sleep(0.05)

    def are_over(self) -> bool:
        return all(self.place.backend.status(handle).state.is_over for handle in self.handles)

    def wait_for(self, name: str) -> None:
        """Wait until a job has made that file."""
        self.wait_until((self.folder / name).exists)

    def logs(self) -> str:
        return "\n".join("".join(self.place.backend.logs(handle)) for handle in self.handles)

    def reports(self) -> int:
        journal = self.sweep.journal
        return journal.read_text().count("intermediate_value") if journal.exists() else 0

    def clean_up(self) -> None:
        for handle in self.handles:
            self.place.backend.stop(handle)


@pytest.fixture
def jobs(place: Place, root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Jobs]:
    monkeypatch.setenv("CONTRACT_API_KEY", SECRET)
    running = Jobs(place, root)
    yield running
    running.clean_up()


def test_submit_returns_while_the_job_runs_and_its_end_is_told(place: Place, jobs: Jobs) -> None:
    handle = jobs.submit(jobs.plain("+waits=true"))

    assert place.backend.status(handle).state in (State.PENDING, State.RUNNING)
    jobs.wait_for("begun")
    assert place.backend.status(handle).state is State.RUNNING
    (jobs.folder / "go").touch()
    ended = jobs.wait(handle)
    assert (ended.state, ended.exit_code) == (State.SUCCEEDED, 0)
    assert place.backend.stop(handle).done
    assert place.backend.status(handle).state is State.SUCCEEDED


def test_a_handle_is_found_again_by_its_text(place: Place, jobs: Jobs) -> None:
    handle = jobs.submit(jobs.plain())
    ended = jobs.wait(handle)

    again = Handle.parse(str(handle))
    assert again == handle
    assert place.backend.status(again) == ended


def test_a_log_is_followed_to_the_end(place: Place, jobs: Jobs) -> None:
    handle = jobs.submit(jobs.plain("+waits=true"))
    jobs.wait_for("begun")
    jobs.wait_until(lambda: "begun" in jobs.logs())  # also without following
    assert "ended" not in jobs.logs()

    def follow() -> str:
        heard = ""
        for piece in place.backend.logs(handle, follow=True):
            heard += piece
            if "begun" in heard:
                (jobs.folder / "go").touch()
        return heard

    with ThreadPoolExecutor() as pool:
        heard = pool.submit(follow).result(timeout=place.within_s)
    assert heard.index("begun") < heard.index("ended")
    assert heard.count("begun") == heard.count("ended") == 1
    assert place.backend.status(handle).state.is_over


def test_a_failure_is_told_with_its_exit_code(place: Place, jobs: Jobs) -> None:
    ended = jobs.wait(jobs.submit(jobs.plain("+code=3")))
    assert (ended.state, ended.exit_code) == (State.FAILED, 3)


def test_wrong_usage_is_told_with_its_exit_code_and_its_message(place: Place, jobs: Jobs) -> None:
    submission = jobs.plain()
    submission = replace(submission, arguments=("train", "plain.py", "folder=x"))
    ended = jobs.wait(jobs.submit(submission))

    assert (ended.state, ended.exit_code) == (State.FAILED, 2)
    assert "folder" in jobs.logs()


def test_a_stop_waits_until_the_state_is_saved(place: Place, jobs: Jobs) -> None:
    handle = jobs.submit(jobs.plain("+waits=true", "+saving_s=1"))
    jobs.wait_for("begun")

    stopped = place.backend.stop(handle)

    assert stopped.done
    assert (jobs.folder / "saved").exists()
    assert place.backend.status(handle).state is State.STOPPED
    assert place.backend.stop(handle).done


def test_a_handle_that_is_not_known_there_is_no_error(place: Place, jobs: Jobs) -> None:
    handle = jobs.submit(jobs.plain())
    unknown = replace(handle, job=place.unknown)

    assert place.backend.status(unknown).state is State.UNKNOWN
    jobs.wait(handle)


def test_a_preview_shows_what_would_run_and_sends_nothing(place: Place, jobs: Jobs) -> None:
    there = sorted(jobs.root.rglob("*"))

    shown = place.backend.preview(jobs.curve("optimizer.name=sgd"))

    assert jobs.name in shown
    assert "sweeps.cli" in shown
    assert "optimizer.name=sgd" in shown
    assert not jobs.folder.exists()
    assert sorted(jobs.root.rglob("*")) == there


def test_no_secret_is_shown(place: Place, jobs: Jobs) -> None:
    submission = jobs.plain()
    handle = jobs.submit(submission)
    status = jobs.wait(handle)

    shown = f"{place.backend.preview(submission)} {place.backend!r}"
    shown += f"{handle} {status} {jobs.logs()} {[*place.backend.checks(submission)]}"
    for secret in (SECRET, *place.secrets):
        assert secret not in shown
    assert os.environ["CONTRACT_API_KEY"] == SECRET


@pytest.mark.slow
def test_a_sweep_that_was_stopped_goes_on_when_it_is_submitted_again(
    place: Place, jobs: Jobs
) -> None:
    submission = jobs.curve("hydra.sweeper.num_samples=4", "+epochs=5", "+epoch_s=0.1")
    handle = jobs.submit(submission)
    jobs.wait_until(lambda: jobs.reports() >= 7)

    assert place.backend.stop(handle).done
    assert place.backend.status(handle).state is State.STOPPED
    stopped = list(read_journal(jobs.sweep.journal))
    assert isinstance(stopped[-1], Closed)
    assert stopped[-1].reason == "interrupted"
    assert not jobs.sweep.lease.exists()

    assert jobs.wait(jobs.submit(submission)).state is State.SUCCEEDED
    events = list(read_journal(jobs.sweep.journal))
    assert [event.run for event in events if isinstance(event, Opened)] == [1, 2]
    assert [event.trial for event in events if isinstance(event, Asked)] == [0, 1, 2, 3]
    assert sorted(event.trial for event in events if isinstance(event, Ended)) == [0, 1, 2, 3]
    assert jobs.reports() == 20


@pytest.mark.slow
def test_a_second_driver_of_one_sweep_is_refused_and_the_first_goes_on(
    place: Place, jobs: Jobs
) -> None:
    submission = jobs.curve("+epoch_s=0.1", "+epochs=2000")
    first = jobs.submit(submission)
    jobs.wait_until(lambda: jobs.reports() >= 1)

    second = jobs.submit(submission)

    refused = jobs.wait(second)
    assert (refused.state, refused.exit_code) == (State.FAILED, 1)
    assert "is being written by process" in "".join(place.backend.logs(second))
    assert place.backend.status(first).state is State.RUNNING
