"""What a head may answer, and what is made of it; a real one is in test_ray_jobs.py."""

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

import pytest

from cluster import jobs_api
from cluster.backend import Check, Code, State, Submission
from cluster.backends import ray_jobs
from cluster.backends.ray_checks import check_version
from cluster.backends.ray_jobs import RayBackend, RayOptions, read_status
from cluster.errors import ConfigError
from cluster.handle import Handle
from cluster.jobs_api import JobsApi, Trouble
from cluster.parcel import MOST_BYTES
from cluster.profile import Profile
from tests.cluster.heads import MODE, VERSION, breaking_head, head, silent_head


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.touch(mode=0o600)
    file.write_text("ours")
    return file


def backend(address: str, token_file: Path, *, insecure: bool = False) -> RayBackend:
    options = {"address": address, "token_file": str(token_file)}
    return RayBackend.from_profile(
        Profile(name="lab", path=None, backend="ray", options=options, insecure=insecure)
    )


def last(checks: object) -> Check:
    found = list(checks)  # type: ignore[call-overload]
    assert all(check.ok for check in found[:-1]), found
    return found[-1]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("head:8265", "did you mean http://head:8265?"),
        ("head", "did you mean http://head:8265?"),
        ("10.0.0.1:6379", "did you mean http://10.0.0.1:8265?"),
        ("ray://head:10001", "did you mean http://head:8265?"),
        ("http://head:8265/jobs", "must be http://HOST:PORT or https://HOST:PORT, and no more"),
        ("http://head:port", "must be http://HOST:PORT or https://HOST:PORT, and no more"),
        ("http://", "must be http://HOST:PORT or https://HOST:PORT, and no more"),
    ],
)
def test_an_address_without_a_scheme_is_answered_with_the_right_one(given: str, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        RayBackend("lab", RayOptions(address=given))
    assert f"cluster lab.address is {given!r}" in str(refused.value)
    assert said in str(refused.value)


def test_a_password_in_an_address_is_refused_and_not_shown() -> None:
    with pytest.raises(ConfigError, match="holds a user or password") as refused:
        RayBackend("lab", RayOptions(address="http://me:hunter2@head:8265"))
    assert "hunter2" not in str(refused.value)


def test_making_a_backend_and_previewing_reach_for_nothing(tmp_path: Path) -> None:
    made = RayBackend("lab", RayOptions(address="http://192.0.2.1:8265/"))
    submission = Submission(
        name="my sweep/1",
        arguments=("sweep", "app.py", "x=interval(0, 1)"),
        code=Code(root=tmp_path, import_paths=("src",)),
        storage="/shared",
        env={"OMP_NUM_THREADS": "1"},
    )
    shown = made.preview(submission)
    assert shown.startswith("POST http://192.0.2.1:8265/api/jobs/\n")
    assert '"submission_id": "my-sweep-1-1"' in shown
    assert " python -m sweeps.cli sweep app.py 'x=interval(0, 1)'" in shown
    assert '"PYTHONPATH": "src"' in shown
    assert '"OMP_NUM_THREADS": "1"' in shown


def test_a_preview_says_that_a_large_project_may_go_to_the_storage(tmp_path: Path) -> None:
    made = RayBackend("lab", RayOptions(address="http://h:1"))
    sent = Submission(name="s", arguments=(), code=Code(root=tmp_path), storage="/shared")
    assert '"working_dir": "(uploaded with the request)"' in made.preview(sent)
    with (tmp_path / "weights.pt").open("wb") as file:
        file.truncate(MOST_BYTES)
    assert '"working_dir": "/shared/.packages/(its hash).zip if it is over' in made.preview(sent)


def test_code_that_does_not_travel_is_entered_where_it_lies(tmp_path: Path) -> None:
    code = {"travels": "image", "path": "/opt/my app"}
    made = RayBackend("lab", RayOptions(address="http://h:1", code=code))
    submission = Submission(
        name="s",
        arguments=("sweep", "app.py"),
        code=Code(root=tmp_path, import_paths=("src",), travels=False),
        storage="/shared",
    )
    shown = made.preview(submission)
    assert "cd '/opt/my app' && " in shown
    assert '"PYTHONPATH": "/opt/my app/src"' in shown
    assert "working_dir" not in shown


def test_code_in_an_image_needs_its_path_there() -> None:
    with pytest.raises(ConfigError, match=r"lab\.code\.path is not set"):
        RayBackend("lab", RayOptions(address="http://h:1", code={"travels": "image"}))
    with pytest.raises(ConfigError, match=r"lab\.code\.travels is 'mail'; it must be one of"):
        RayBackend("lab", RayOptions(address="http://h:1", code={"travels": "mail"}))


@pytest.mark.parametrize("drip_s", [None, 0.05])
def test_a_server_that_accepts_and_says_nothing_is_given_up_in_time(
    token_file: Path, monkeypatch: pytest.MonkeyPatch, drip_s: float | None
) -> None:
    monkeypatch.setattr(jobs_api, "REACH_S", 0.3)
    with silent_head(drip_s) as address:
        began = time.monotonic()
        check = last(backend(address, token_file).checks(None))
        assert time.monotonic() - began < 1.5
    assert (check.name, check.ok) == ("address", False)
    assert check.what == f"{address} gave no answer within 0.3 s"
    assert "ssh -N -L 8265" in check.todo


def test_five_seconds_are_the_bound() -> None:
    assert jobs_api.REACH_S == 5


def test_an_address_where_nothing_listens(token_file: Path) -> None:
    with head() as there:
        address = there.address
    check = last(backend(address, token_file).checks(None))
    assert (check.name, check.what) == (
        "address",
        f"{address} cannot be reached: Connection refused",
    )


def test_a_server_that_is_no_ray(token_file: Path) -> None:
    with head({MODE: (404, "x"), VERSION: (404, "x")}) as there:
        check = last(backend(there.address, token_file).checks(None))
    assert check.what.endswith("answers, but not as Ray's dashboard does (HTTP 404)")


def test_a_cluster_without_tokens_is_refused_and_gets_none(token_file: Path) -> None:
    with head(mode="disabled") as there:
        made = backend(there.address, token_file)
        check = last(made.checks(None))
        with pytest.raises(Trouble, match="has no token authentication"):
            made.connect()
        assert there.tokens == {None}
    assert (check.name, check.ok, check.warning) == ("authentication", False, False)
    assert "--insecure" in check.todo


def test_a_cluster_without_tokens_is_taken_when_the_user_says_so(token_file: Path) -> None:
    with head(mode="disabled") as there:
        backend(there.address, token_file, insecure=True).connect().ray_version()
        assert there.tokens == {None}


def test_a_ray_from_before_tokens_counts_as_one_without(token_file: Path) -> None:
    with head({MODE: (404, "")}, ray="2.40.0") as there:
        with pytest.raises(Trouble, match="has no token authentication"):
            backend(there.address, token_file).connect()
        check = list(backend(there.address, token_file, insecure=True).checks(None))[-1]
    assert (check.name, check.ok, check.warning) == ("ray", False, False)
    assert "has Ray 2.40.0, and caviar needs 2.50 or newer" in check.what


@pytest.mark.parametrize(
    ("status", "said"),
    [(401, "asks for a token and got none"), (403, "has another token than ours")],
)
def test_no_token_and_a_wrong_one_are_told_apart(token_file: Path, status: int, said: str) -> None:
    with head({VERSION: (status, "no")}) as there:
        check = last(backend(there.address, token_file).checks(None))
    assert (check.name, check.ok) == ("token", False)
    assert said in check.what
    assert "token_file" in check.todo
    assert "ours" not in check.what.replace("than ours", "")


def test_a_missing_token_file_is_told_before_anything_is_sent(tmp_path: Path) -> None:
    with head() as there:
        check = last(backend(there.address, tmp_path / "none").checks(None))
        assert [path for path, _ in there.asked] == [MODE]
    assert (check.name, check.what) == ("token", f"{tmp_path / 'none'} is not there")


def test_the_token_is_not_carried_to_where_a_redirect_points(token_file: Path) -> None:
    with head() as other, head({VERSION: (302, other.address + VERSION)}) as there:
        with pytest.raises(Trouble, match="sends us on to"):
            backend(there.address, token_file).connect().ray_version()
        assert other.asked == []


def test_neither_ray_address_nor_a_proxy_turns_a_request_away(
    token_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with head(ray="9.9.9") as other, head() as there:
        for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "http_proxy", "HTTP_PROXY"):
            monkeypatch.setenv(name, other.address)
        assert backend(there.address, token_file).connect().ray_version() == "2.60.0"
        assert other.asked == []
        assert there.tokens == {None, "Bearer ours"}


def test_a_log_that_breaks_off_is_taken_up_where_it_broke(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_api, "_AGAIN_S", 0)
    states = ["RUNNING", "RUNNING", "SUCCEEDED"]
    streams = ["a\nb\n", "a\nb\nc", "a\nb\nc\nd\n"]
    with breaking_head(*streams, states=states, log="a\nb\nc\nd\ne\n") as address:
        pieces = list(JobsApi(address=address).follow("j"))
    assert pieces == ["a\nb\n", "c", "\nd\n", "e\n"]


def test_an_interrupt_ends_the_following_of_a_log() -> None:
    with breaking_head("a\n", breaks=False) as address:
        pieces = JobsApi(address=address).follow("j")
        assert next(pieces) == "a\n"
        threading.Timer(0.2, os.kill, [os.getpid(), signal.SIGINT]).start()
        with pytest.raises(KeyboardInterrupt):
            next(pieces)


def test_a_log_need_not_be_followed_to_its_end() -> None:
    with breaking_head("a\n", breaks=False) as address:
        pieces = JobsApi(address=address).follow("j")
        assert next(pieces) == "a\n"
        pieces.close()


def test_no_representation_holds_the_token() -> None:
    assert "ours" not in repr(JobsApi(address="http://h:1", token="ours"))


@pytest.mark.parametrize(
    ("version", "ok", "warning"),
    [
        ("2.60.0", True, False),
        ("2.55.1", False, True),
        ("3.0.0.dev0", False, True),
        ("2.9.3", False, False),
    ],
)
def test_ray_versions(version: str, ok: bool, warning: bool) -> None:
    check = check_version(version)
    assert (check.ok, check.warning) == (ok, warning)
    assert version in check.what


@pytest.mark.parametrize(
    ("info", "state", "message"),
    [
        ({"status": "PENDING", "message": "waiting"}, State.PENDING, "waiting"),
        ({"status": "RUNNING", "message": ""}, State.RUNNING, ""),
        ({"status": "SUCCEEDED", "driver_exit_code": 0, "message": "ok"}, State.SUCCEEDED, "ok"),
        (
            {"status": "FAILED", "driver_exit_code": 1, "message": "failed, logs:\na\nwhy\n"},
            State.FAILED,
            "exit code 1: why",
        ),
        ({"status": "FAILED", "driver_exit_code": 130}, State.STOPPED, "exit code 130"),
        ({"status": "STOPPED", "message": None}, State.STOPPED, ""),
        (None, State.UNKNOWN, "the cluster knows no job j"),
    ],
)
def test_what_the_cluster_says_becomes_a_status(
    info: dict[str, object] | None, state: State, message: str
) -> None:
    status = read_status(info, "j")
    assert (status.state, status.message) == (state, message)


@pytest.mark.parametrize("there", [None, "0.0.7", metadata.version("caviar")])
def test_a_python_without_our_caviar_says_what_to_install(
    tmp_path: Path, there: str | None
) -> None:
    python = tmp_path / "bare python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')  # without site-packages
    python.chmod(0o755)
    if there:
        (info := tmp_path / f"caviar-{there}.dist-info").mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: caviar\nVersion: {there}\n")
    made = RayBackend("lab", RayOptions(address="http://h:1", python=str(python)))

    done = subprocess.run(
        ["sh", "-c", made.command("-c", "print('ran')")],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(tmp_path)},
    )

    ours = metadata.version("caviar")
    if there == ours:
        assert (done.returncode, done.stdout) == (0, "ran\n")
    else:
        assert (done.returncode, done.stdout) == (1, "")
        assert f"caviar {ours} sent this, and that Python has {there or 'none'}" in done.stderr
        assert f"install caviar=={ours} on every node" in done.stderr


def test_a_job_is_interrupted_also_where_its_node_ignores_that() -> None:
    made = RayBackend("lab", RayOptions(address="http://h:1", python=sys.executable))
    waits = "import time; print('begun', flush=True); time.sleep(60)"
    with subprocess.Popen(
        ["sh", "-c", made.command("-c", waits)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),  # as `ray start &` does
    ) as job:
        assert job.stdout is not None
        assert job.stdout.readline() == "begun\n"
        job.send_signal(signal.SIGINT)
        try:
            assert "KeyboardInterrupt" in job.communicate(timeout=20)[1]
        finally:
            job.kill()


@dataclass(frozen=True)
class Told(JobsApi):
    """A cluster whose job goes from state to state, one a question; stays in the last."""

    address: str = ""
    states: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def info(self, job: str) -> dict[str, object]:
        self.asked.append(self.states[0])
        return {"status": self.states.pop(0) if len(self.states) > 1 else self.states[0]}

    def stop(self, job: str) -> None:
        self.asked.append("stop")


@pytest.mark.parametrize(
    ("states", "asked", "done", "message"),
    [
        (
            ["PENDING", "RUNNING", "STOPPED"],
            ["PENDING", "RUNNING", "stop", "STOPPED"],
            True,
            "it was interrupted and has ended",
        ),
        (["PENDING", "FAILED"], ["PENDING", "FAILED"], True, "was over: failed"),
        (["PENDING"], None, False, "it ends when it has begun, at most 7 s later"),
    ],
)
def test_a_pending_job_is_interrupted_once_it_hears_that(
    monkeypatch: pytest.MonkeyPatch,
    states: list[str],
    asked: list[str] | None,
    done: bool,
    message: str,
) -> None:
    for name in ("_POLL_S", "_PENDING_S", "_HEARS_S"):
        monkeypatch.setattr(ray_jobs, name, 0.05 if name == "_PENDING_S" else 0.01)
    api = Told(states=states)
    made = RayBackend("lab", RayOptions(address="http://h:1", stop_s=7))
    monkeypatch.setattr(made, "connect", lambda: api)

    stopped = made.stop(Handle("ray", "h:1", "j"))

    assert stopped.done is done
    assert message in stopped.message
    assert api.asked == asked if asked else api.asked[-2:] == ["stop", "PENDING"]
