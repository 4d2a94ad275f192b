"""Jobs as processes: what they owe to nobody, and how they end when they would not."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil
import pytest

from cluster.backend import Code, State, Submission
from cluster.backends.process import ProcessBackend, ProcessOptions
from cluster.errors import ClusterError
from cluster.handle import Handle

ROOT = Path(__file__).parents[2]

APP = """\
import os, signal, subprocess, sys, time
from pathlib import Path

match sys.argv[1]:
    case "deaf":
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        Path("child").write_text(str(child.pid))
    case "signals":
        kept = [signal.getsignal(n) == signal.SIG_IGN for n in (signal.SIGTERM, signal.SIGHUP)]
        Path("ignored").write_text(f"{kept} {signal.getsignal(signal.SIGINT)}")
    case "env":
        Path("env").write_text(f"{os.environ['A']} {os.environ['PYTHONPATH']} {os.getcwd()}")
Path("pid").write_text(str(os.getpid()))
while sys.argv[1] in ("wait", "deaf"):
    time.sleep(0.02)
"""


@dataclass
class Here:
    """A backend and a project of one script, which jobs run through `caviar train`."""

    folder: Path
    options: ProcessOptions = field(default_factory=ProcessOptions)

    @property
    def backend(self) -> ProcessBackend:
        return ProcessBackend("here", self.options, state=self.folder / "state")

    @property
    def root(self) -> Path:
        return self.folder / "it's a project"

    def submission(self, *arguments: str) -> Submission:
        return Submission(
            name="job",
            arguments=("train", "app.py", *arguments),
            code=Code(root=self.root),
            storage=str(self.folder),
        )

    def submit(self, *arguments: str) -> Handle:
        return self.backend.submit(self.submission(*arguments))

    def pid(self) -> int:
        """Of the command, once it runs."""
        file = self.root / "pid"
        wait_until(lambda: file.exists() and file.read_text() != "")
        return int(file.read_text())

    def wait(self, handle: Handle) -> None:
        wait_until(lambda: self.backend.status(handle).state.is_over)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Here]:
    made = Here(tmp_path)
    made.root.mkdir()
    (made.root / "app.py").write_text(APP)
    yield made
    for name in ("pid", "child"):
        with suppress(OSError, ValueError, psutil.Error):
            psutil.Process(int((made.root / name).read_text())).kill()


def test_a_job_outlives_the_process_and_the_session_that_submitted_it(here: Here) -> None:
    program = (
        "import sys; from pathlib import Path; from tests.cluster.test_process import Here;"
        "print(Here(Path(sys.argv[1])).submit('wait'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(here.folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        start_new_session=True,
    )
    handle = Handle.parse(done.stdout.strip())

    driver = here.pid()
    assert os.getsid(driver) != os.getsid(0)
    assert here.backend.status(handle).state is State.RUNNING
    os.kill(driver, signal.SIGTERM)
    here.wait(handle)
    assert here.backend.status(handle).exit_code == 128 + signal.SIGTERM


def test_a_driver_that_is_killed_has_failed_with_the_exit_code_of_a_shell(here: Here) -> None:
    handle = here.submit("wait")
    os.kill(here.pid(), signal.SIGKILL)
    here.wait(handle)

    status = here.backend.status(handle)
    assert (status.state, status.exit_code) == (State.FAILED, 137)


def test_a_job_whose_machine_was_started_again_has_failed(here: Here) -> None:
    handle = here.submit("wait")
    driver = psutil.Process(here.pid())
    attendant = driver.parent()
    assert attendant is not None
    for process in (attendant, driver):
        process.kill()
    psutil.wait_procs([attendant, driver], timeout=20)

    status = here.backend.status(handle)
    assert (status.state, status.exit_code) == (State.FAILED, None)
    assert "the machine was started again" in status.message
    assert here.backend.stop(handle).done


def test_a_process_that_came_to_the_same_number_is_not_taken_for_the_job(here: Here) -> None:
    handle = here.submit("wait")
    driver = psutil.Process(here.pid())
    attendant = driver.parent()
    assert attendant is not None
    note = here.folder / "state" / "jobs" / handle.job / "job.json"
    note.write_text(note.read_text().replace(str(attendant.pid), str(os.getpid())))

    assert here.backend.status(handle).state is State.FAILED
    assert here.backend.stop(handle).done
    assert driver.is_running()


def test_a_job_that_does_not_hear_the_interrupt_is_killed_with_all_it_began(here: Here) -> None:
    here.options = ProcessOptions(stop_s=0.2)
    handle = here.submit("deaf")
    family = [psutil.Process(here.pid())]
    family += family[0].children()
    assert len(family) == 2

    stopped = here.backend.stop(handle)

    assert stopped.done
    assert "0.2 s after the interrupt and was killed" in stopped.message
    deadline = time.monotonic() + 20
    while here.backend.status(handle).state is State.RUNNING and time.monotonic() < deadline:
        time.sleep(0.05)
    assert here.backend.status(handle).state is State.STOPPED
    _, alive = psutil.wait_procs(family, timeout=20)
    assert not alive


def test_a_job_hears_signals_also_where_the_one_who_submits_ignores_them(here: Here) -> None:
    before = {n: signal.signal(n, signal.SIG_IGN) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        handle = here.submit("signals")
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    here.wait(handle)
    assert (here.root / "ignored").read_text().startswith("[False, False] <built-in function")


def test_the_environment_of_the_profile_and_the_import_paths_reach_the_job(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    here.options = ProcessOptions(env={"A": 1})
    submission = replace(
        here.submission("env"), code=Code(root=here.root, import_paths=("src", "lib"))
    )
    handle = here.backend.submit(submission)
    here.wait(handle)

    paths = os.pathsep.join([f"{here.root}/src", f"{here.root}/lib", str(ROOT)])
    assert (here.root / "env").read_text() == f"1 {paths} {here.root}"
    shown = here.backend.preview(submission)
    assert "A=1" in shown
    assert str(ROOT) not in shown.replace(sys.executable, "")


def test_what_a_job_leaves_is_its_owners_alone(here: Here) -> None:
    handle = here.submit("end")
    here.wait(handle)
    folder = here.folder / "state" / "jobs" / handle.job
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for file in ("job.json", "output.log"):
        assert stat.S_IMODE((folder / file).stat().st_mode) == 0o600


def test_a_root_that_is_gone_is_said_and_nothing_runs(here: Here) -> None:
    gone = replace(here.submission(), code=Code(root=here.folder / "gone"))
    with pytest.raises(ClusterError, match=r"could not be started: .*gone.*No such file"):
        here.backend.submit(gone)


def test_a_job_of_another_machine_is_not_looked_for_here(here: Here) -> None:
    handle = Handle("process", "elsewhere", "1234")
    for ask in (here.backend.status, here.backend.stop, here.backend.logs):
        with pytest.raises(ClusterError, match="is a process of elsewhere: ask there"):
            list(ask(handle))  # type: ignore[call-overload]


def test_a_log_that_is_not_there_is_said(here: Here) -> None:
    handle = here.submit("end")
    here.wait(handle)
    with pytest.raises(ClusterError, match="there is no job nope"):
        list(here.backend.logs(replace(handle, job="nope")))


def test_storage_that_cannot_be_written_is_found_before(here: Here, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    (fine,) = here.backend.checks(here.submission())
    (wrong,) = here.backend.checks(replace(here.submission(), storage=f"{file}/deep/er"))
    assert fine.ok
    assert not wrong.ok
    assert str(file) in wrong.what
    assert "hydra.sweeper.storage_path" in wrong.todo
