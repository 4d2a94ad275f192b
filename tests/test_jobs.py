"""What was submitted, listed, watched and stopped: verbs over the ledger, storage and clusters."""

from __future__ import annotations

import os
import pty
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cluster.backend import Code, State, Submission
from cluster.ledger import Entry, Ledger
from cluster.profile import load_profile, make_backend
from sweeps.cli import main
from sweeps.journal.events import Asked, Ended
from sweeps.journal.file import read_journal
from sweeps.journal.status import Status
from sweeps.storage.folder import SweepFolder
from tests.cluster.heads import head

ROOT = Path(__file__).parents[1]
CURVE = ["curve.py", "+x=interval(-5,5)", "hydra.sweeper.metric=loss", "hydra.sweeper.mode=min"]
CURVE += ["hydra.sweeper.seed=3"]


@dataclass(frozen=True)
class Submissions:
    """Submits command lines that need no Ray."""

    root: Path

    def submit(self, *arguments: str, name: str = "one", **told: Any) -> Entry:
        backend = make_backend(load_profile("process", self.root))
        code = Code(root=self.root)
        handle = backend.submit(
            Submission(name=name, arguments=arguments, code=code, storage=str(self.root))
        )
        entry = self.note(handle=str(handle), name=name, arguments=arguments, **told)
        if not told.get("waits"):
            wait_until(lambda: backend.status(handle).state.is_over)
        return entry

    def note(self, **told: Any) -> Entry:
        told.pop("waits", None)
        usual = {"name": "one", "cluster": "process", "storage": str(self.root), "cwd": "/"}
        usual |= {"handle": "process://elsewhere/1", "arguments": (), "root": str(self.root)}
        entry = Entry(**{**usual, **told})
        Ledger().add(entry)
        return entry


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def submissions(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Submissions:
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "waits.py").write_text("import time\nprint('begun', flush=True)\ntime.sleep(600)\n")
    monkeypatch.chdir(tmp_path)
    return Submissions(tmp_path)


# list


def test_what_was_submitted_is_listed_with_its_state(submissions, capsys) -> None:
    done = submissions.submit("--version", name="good")
    failed = submissions.submit("nonsense", name="bad")
    lost = submissions.note(name="lost")
    gone = submissions.note(name="gone", cluster="no-more")

    assert main(["list"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line}
    assert re.search(r"good +process +succeeded +\d+s ago", lines[done.id])
    assert done.handle in lines[done.id]
    assert "failed" in lines[failed.id]
    assert "unknown" in lines[lost.id]
    assert "unknown" in lines[gone.id]


def test_the_latest_are_listed_and_all_on_request(submissions, capsys) -> None:
    for number in range(25):
        submissions.note(name=f"sweep-{number:02d}", time=float(number))
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    assert "sweep-04" not in out
    assert "sweep-05" in out
    assert "5 earlier ones" in out
    assert main(["list", "--all"]) == 0
    assert "sweep-00" in capsys.readouterr().out


def test_a_damaged_entry_is_named_and_the_others_are_listed(submissions, capsys) -> None:
    entry = submissions.note()
    (Ledger().folder / "torn.json").write_text('{"na')
    assert main(["list"]) == 0
    said = capsys.readouterr()
    assert "torn.json cannot be read and is passed over" in said.err
    assert entry.id in said.out


def test_nothing_submitted_is_said(submissions, capsys) -> None:
    assert main(["list"]) == 0
    assert "nothing was submitted from this machine yet" in capsys.readouterr().out


# status


def test_status_shows_the_job_and_how_far_the_sweep_is(submissions, make_sweep, capsys) -> None:
    made = make_sweep(name="one")
    for number, status in enumerate([Status.COMPLETE, Status.STOPPED]):
        made.ask(number, lr=0.1)
        made.report(number, 1, 0.5 + number / 10)
        made.end(number, status, 0.5 + number / 10)
    made.ask(2, lr=0.2)
    entry = submissions.submit("--version")

    assert main(["status", entry.id]) == 0
    out = capsys.readouterr().out
    assert f"handle      {entry.handle}" in out
    assert "job         succeeded  exit code 0" in out
    assert "2 of 20 done  3 trials: 1 running  1 stopped  1 complete" in out
    assert "val_accuracy 0.6  trial 1" in out


def test_status_before_the_first_trial_counts_none(submissions, make_sweep, capsys) -> None:
    make_sweep(name="one")
    entry = submissions.submit("--version")
    assert main(["status", entry.id]) == 0
    assert "0 of 20 done  0 trials  0s\n" in re.sub(r"  \d+s\n", "  0s\n", capsys.readouterr().out)


def test_status_of_a_job_that_died_says_that_nothing_runs(submissions, make_sweep, capsys) -> None:
    made = make_sweep(name="one")
    made.ask(0, lr=0.1)
    entry = submissions.submit("nonsense")

    dead = f"what shows as running is not; caviar resume {entry.id} goes on"
    assert main(["status", entry.id]) == 0
    assert dead in " ".join(capsys.readouterr().out.split())
    made.close("interrupted")
    assert main(["status", entry.id]) == 0
    assert "without closing it" not in capsys.readouterr().out


def test_status_without_the_storage_says_so(submissions, capsys) -> None:
    entry = submissions.submit("--version", storage="/not/on/this/machine")
    assert main(["status", entry.handle]) == 0
    out = capsys.readouterr().out
    assert "succeeded" in out
    assert "it has not begun, or this machine does not have that storage" in out


def test_status_of_a_cluster_that_cannot_be_reached_still_shows_the_sweep(
    submissions, make_sweep, capsys
) -> None:
    make_sweep(name="one")
    entry = submissions.note()
    assert main(["status", entry.id]) == 1
    said = capsys.readouterr()
    assert "0 of 20 done" in said.out
    assert "is a process of elsewhere: ask there" in said.err


@pytest.mark.parametrize("verb", ["status", "logs"])
def test_a_job_that_its_cluster_does_not_know_is_a_failure(submissions, capsys, verb) -> None:
    entry = submissions.note(handle=f"process://{socket.gethostname()}/gone")
    assert main([verb, entry.id]) == 1
    assert "there is no job gone" in "".join(capsys.readouterr())


@pytest.mark.parametrize("verb", ["status", "logs", "stop"])
def test_an_unknown_handle_is_answered_with_the_nearest(submissions, capsys, verb: str) -> None:
    submissions.note(name="digits")
    assert main([verb, "digitz"]) == 2
    said = capsys.readouterr().err
    assert "no submission 'digitz': the latest are digits (caviar list)" in said
    assert "did you mean digits?" in said


def test_an_ambiguous_start_names_what_it_may_be(submissions, capsys) -> None:
    submissions.note(name="digits-1", id="aaaa")
    submissions.note(name="digits-2", id="bbbb")
    assert main(["status", "digits"]) == 2
    assert "may be aaaa (digits-1), bbbb (digits-2)" in capsys.readouterr().err


def test_a_handle_that_is_not_in_the_ledger_is_asked_of_its_cluster(submissions, capsys) -> None:
    entry = submissions.submit("--version")
    for file in Ledger().folder.iterdir():
        file.unlink()
    assert main(["status", entry.handle]) == 0
    assert "succeeded" in capsys.readouterr().out
    assert main(["status", entry.handle, "--cluster", "nope"]) == 2


@pytest.mark.parametrize("verb", ["status", "logs", "stop"])
def test_a_handle_that_is_not_in_the_ledger_goes_to_no_other_cluster(
    submissions, capsys, verb: str
) -> None:
    with head(mode="disabled") as there, head() as another:
        place = there.address.removeprefix("http://")
        for name, address in {"ray": another.address, "lab": there.address}.items():
            file = submissions.root / "conf" / "cluster" / f"{name}.yaml"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"backend: ray\naddress: {address}\n")

        assert main([verb, f"ray://{place}/digits-1"]) == 2
        assert "say so with --cluster NAME, such as --cluster lab" in capsys.readouterr().err
        assert main([verb, "ray://nowhere:1/digits-1"]) == 2
        assert capsys.readouterr().err.endswith("with --cluster NAME\n")
        assert main([verb, "rayup://fleet/digits-1"]) == 2
        assert not there.asked
        main([verb, f"ray://{place}/digits-1", "--cluster", "lab", "--insecure"])
        assert there.asked
        assert not another.asked


@pytest.mark.parametrize("wrong", ["process://x", "http://x/y"])
def test_what_is_no_handle_is_refused(submissions, capsys, wrong: str) -> None:
    assert main(["status", wrong]) == 2
    assert f"{wrong!r} is no handle" in capsys.readouterr().err


# logs


def test_logs_show_what_the_job_printed(submissions, capsys) -> None:
    entry = submissions.submit("--version")
    assert main(["logs", entry.name]) == 0
    assert capsys.readouterr().out.startswith("caviar 0.")
    assert main(["logs", "-f", entry.id]) == 0
    assert capsys.readouterr().out.startswith("caviar 0.")


def test_logs_of_a_trial_are_read_from_the_storage_in_their_order(
    submissions, make_sweep, capsys
) -> None:
    made = make_sweep(name="one")
    made.ask(0, lr=0.1)
    for run in (10, 2):
        job = made.folder.job(0, run)
        job.mkdir(parents=True)
        (job / "output.log").write_text(f"run {run}\n")
    entry = submissions.note()

    for name in (entry.id, str(made.folder.path)):
        assert main(["logs", name, "--trial", "0"]) == 0
        assert capsys.readouterr().out == "run 2\nrun 10\n"
    assert main(["logs", entry.id, "--trial", "1"]) == 2
    assert "--trial is 1; one has trials 0 to 0" in capsys.readouterr().err


def test_logs_of_a_trial_before_the_first_begins_say_so(submissions, make_sweep, capsys) -> None:
    made = make_sweep(name="one")
    assert main(["logs", str(made.folder.path), "--trial", "0"]) == 2
    assert "one has no trial yet; -f waits for 0" in capsys.readouterr().err
    assert main(["logs", "-f", str(made.folder.path), "--trial", "20"]) == 2
    assert "one has trials 0 to 19" in capsys.readouterr().err


def test_logs_of_a_trial_that_has_not_begun_are_waited_for(
    make_sweep, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_sweep(name="one")

    def begin(_: float) -> None:
        made.ask(0, lr=0.1)
        output = made.folder.output(0, 1)
        output.parent.mkdir(parents=True)
        output.write_text("first\n")
        made.end(0, Status.COMPLETE, 1.0)

    monkeypatch.setattr("sweeps.commands.jobs.time.sleep", begin)
    assert main(["logs", "-f", str(made.folder.path), "--trial", "0"]) == 0
    assert capsys.readouterr().out == "first\n"


def test_logs_of_a_trial_that_will_not_begin_are_not_waited_for(make_sweep, capsys) -> None:
    made = make_sweep(name="one")
    made.close("interrupted")
    assert main(["logs", "-f", str(made.folder.path), "--trial", "0"]) == 2
    assert "one has no trial yet" in capsys.readouterr().err


def test_logs_of_a_trial_are_followed_until_it_ends(submissions, make_sweep) -> None:
    made = make_sweep(name="one")
    made.ask(0, lr=0.1)
    output = made.folder.output(0, 1)
    output.parent.mkdir(parents=True)
    output.write_text("first\n")

    command = [sys.executable, "-m", "sweeps.cli", "logs", "-f", str(made.folder.path)]
    with subprocess.Popen(
        [*command, "--trial", "0"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "first\n"
        with output.open("a") as file:
            file.write("second\n")
        assert reader.stdout.readline() == "second\n"
        made.end(0, Status.COMPLETE, 1.0)
        assert reader.stdout.read() == ""
        assert reader.wait(timeout=60) == 0


# stop, and other verbs


def test_a_job_is_stopped_and_how_to_go_on_is_said(submissions, capsys) -> None:
    entry = submissions.submit("train", "waits.py", waits=True)
    backend = make_backend(load_profile("process", submissions.root))
    wait_until(lambda: "begun" in "".join(backend.logs(handle_of(entry))))

    assert main(["stop", entry.id]) == 0
    said = capsys.readouterr().err
    assert "it was interrupted and has ended" in said
    assert f"caviar resume {entry.id}" in said
    assert backend.status(handle_of(entry)).state is State.STOPPED
    assert main(["stop", entry.id]) == 0
    assert "was over" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("closed", "said"),
    [
        (None, "go on with it: caviar resume"),
        ("interrupted", "its state is saved; go on with it: caviar resume"),
        ("done", "its sweep is done: caviar results"),
    ],
)
def test_a_stop_tells_how_the_sweep_ended(
    submissions, make_sweep, capsys, closed: str | None, said: str
) -> None:
    made = make_sweep(name="one")
    if closed:
        made.close(closed)
    entry = submissions.submit("--version")

    assert main(["stop", entry.id]) == 0
    assert f"\n{said} {entry.id}\n" in capsys.readouterr().err


def test_a_stop_before_the_sweep_began_says_so(submissions, make_sweep, capsys) -> None:
    entry = submissions.submit("--version")
    assert main(["stop", entry.id]) == 0
    said = capsys.readouterr().err
    assert "is saved" not in said
    assert "the sweep one is not in" in said
    assert (
        f"it has not begun, or this machine does not have that storage; go on with it: caviar "
        f"resume {entry.id}" in said
    )

    make_sweep(name="one").folder.journal.unlink()
    assert main(["stop", entry.id]) == 0
    assert f"its sweep had not begun; go on with it: caviar resume {entry.id}" in (
        capsys.readouterr().err
    )


def handle_of(entry: Entry):
    from cluster.handle import Handle

    return Handle.parse(entry.handle)


@pytest.fixture
def living(submissions: Submissions) -> Iterator[Entry]:
    """A submission of the sweep `one` that runs, between two that are over."""
    (submissions.root / "curve.py").write_text((ROOT / "tests/apps/curve.py").read_text())
    sweep = ("sweep", *CURVE, *named_one(submissions))
    submissions.note(id="aaaa", handle="process://elsewhere/a", time=1.0, arguments=sweep)
    entry = submissions.submit("train", "waits.py", waits=True)
    submissions.note(id="ffff", handle="process://elsewhere/f", arguments=sweep)
    yield entry
    main(["stop", entry.id])


def named_one(submissions: Submissions) -> list[str]:
    """Overrides by which the sweep `one` begins, or goes on."""
    given = {"name": "one", "resume": "auto", "storage_path": submissions.root}
    return [f"hydra.sweeper.{key}={value}" for key, value in given.items()]


def test_a_sweep_that_lives_is_not_submitted_again(submissions, living, start) -> None:
    listed = Ledger().read()
    for command in (
        ["resume", "one"],
        ["resume", "aaaa"],
        ["submit", "--cluster", "process", *CURVE, *named_one(submissions)],
    ):
        refused = start.caviar(*command)
        assert refused.code == 1, refused
        told = f"one is running as {living.handle}: `caviar logs -f {living.id}` shows it"
        assert told in refused.err
    assert Ledger().read() == listed


def test_a_sweeps_name_is_its_submission_that_lives(living, capsys) -> None:
    assert main(["status", "one"]) == 0
    assert living.handle in capsys.readouterr().out
    assert main(["status", "ffff"]) == 1  # its machine is not this one
    assert main(["stop", "one"]) == 0
    assert f"caviar resume {living.id}" in capsys.readouterr().err
    assert main(["status", "one"]) == 1  # the latest again


def test_results_take_what_names_a_submission(submissions, make_sweep, capsys) -> None:
    made = make_sweep(name="one")
    made.ask(0, lr=0.1)
    entry = submissions.note()
    assert main(["results", entry.id]) == 0
    assert "1 trial: 1 running" in capsys.readouterr().out
    assert main(["export", entry.id]) == 1
    assert main(["results", submissions.note(name="nowhere").id]) == 2
    assert "this machine does not have that storage" in capsys.readouterr().err


# doctor, and checks before a submission


def test_the_doctor_says_what_holds_of_this_machine(submissions, capsys) -> None:
    assert main(["doctor"]) == 0
    assert "a sweep can run on local" in capsys.readouterr().out
    assert main(["doctor", "--cluster", "nope"]) == 2
    assert "there is no cluster 'nope'" in capsys.readouterr().err


def test_a_check_that_fails_is_shown_with_what_to_do_and_nothing_is_sent(start, home) -> None:
    done = start.caviar(
        "submit",
        "--cluster=process",
        str(ROOT / "tests/apps/number.py"),
        "x=interval(0,1)",
        "hydra.sweeper.storage_path=/proc/sweeps",
    )
    assert done.code == 1
    assert "FAIL" in done.err
    assert "hydra.sweeper.storage_path=/a/folder" in done.err
    assert "nothing was sent to process" in done.err
    assert Ledger().read() == ([], [])
    assert not (home / "state" / "caviar" / "jobs").exists()


# A sweep from its submission to its end


@pytest.fixture
def project(submissions: Submissions) -> Submissions:
    app = ROOT / "tests" / "apps" / "curve.py"
    (submissions.root / "curve.py").write_text(app.read_text())
    yield submissions
    for entry in Ledger().read()[0]:
        main(["stop", entry.id])


def caviar(*arguments: str, **how: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sweeps.cli", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
        timeout=300,
        **how,
    )


@pytest.mark.slow
def test_a_sweep_is_submitted_stopped_extended_and_followed_to_its_end(project) -> None:
    several = ["hydra.sweeper.num_samples=3", "+epochs=15", "+epoch_s=0.1"]
    few = [*several, "hydra.sweeper.max_concurrent_trials=1", "hydra.sweeper.name=one"]
    sent = caviar("submit", "--cluster", "process", *CURVE, *few)
    assert sent.returncode == 0, sent.stderr
    (entry,), _ = Ledger().read()
    assert sent.stdout == f"{entry.handle}\n"
    folder = SweepFolder(project.root / "outputs" / "sweeps" / "one")
    wait_until(lambda: folder.journal.exists() and "intermediate" in folder.journal.read_text())

    assert "running" in caviar("status", "one").stdout
    stopped = caviar("stop", entry.id)
    assert (stopped.returncode, "its state is saved" in stopped.stderr) == (0, True), stopped.stderr
    assert "stopped" in caviar("list").stdout

    again = caviar("resume", entry.id, "--follow", "hydra.sweeper.num_samples=4")
    assert again.returncode == 0, again.stderr
    assert "going on with one: 4 trials" in again.stdout
    assert [e.trial for e in read_journal(folder.journal) if isinstance(e, Asked)] == [0, 1, 2, 3]
    assert sum(isinstance(e, Ended) for e in read_journal(folder.journal)) == 4
    status = caviar("status", "one").stdout
    assert "succeeded" in status
    assert "4 of 4 done" in status


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_without_a_cluster_a_sweep_runs_in_front_and_a_signal_saves_it(project, number) -> None:
    command = [sys.executable, "-m", "sweeps.cli", "submit", *CURVE, "+epoch_s=0.2"]
    with subprocess.Popen(
        [*command, "hydra.sweeper.name=one"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as front:
        assert front.stdout is not None
        shown = []
        for line in front.stdout:
            shown.append(line)
            if "at step 1," in line:
                front.send_signal(number)
        assert front.wait(timeout=60) == 130, shown
    assert shown[-1] == "interrupted\n"
    assert "caviar resume outputs/sweeps/one\n" in "".join(shown)
    (entry,), _ = Ledger().read()
    assert (entry.cluster, entry.handle.partition(":")[0]) == ("local", "local")
    assert "stopped" in caviar("status", entry.id).stdout


@pytest.mark.slow
def test_without_a_cluster_a_sweep_has_the_terminal(project) -> None:
    primary, secondary = pty.openpty()
    command = [sys.executable, "-m", "sweeps.cli", "submit", *CURVE, "hydra.sweeper.num_samples=2"]
    with subprocess.Popen(
        [*command, "+epochs=3", "hydra.sweeper.name=one"],
        stdin=secondary,
        stdout=secondary,
        stderr=secondary,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm"},
    ) as front:
        os.close(secondary)
        shown = b""
        with suppress(OSError):  # a terminal that nobody holds any more
            while piece := os.read(primary, 1 << 16):
                shown += piece
        os.close(primary)
        assert front.wait(timeout=60) == 0, shown
    assert b"\x1b[" in shown
    assert b"2/2" in shown  # the live display
    (entry,), _ = Ledger().read()
    assert "succeeded" in caviar("status", entry.id).stdout
    assert "printed to the terminal" in caviar("logs", entry.id).stderr
