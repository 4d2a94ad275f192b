"""The backend of `ray up`, over a `ray` whose machines are this one."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

import cluster.backends.ray_up as ray_up
from cluster.backend import Code, State, Submission
from cluster.backends.ray_up import RayUpBackend
from cluster.errors import ClusterError, ConfigError
from cluster.handle import Handle
from cluster.profile import Profile
from tests.cluster.clouds import FakeCloud, fake_cloud
from tests.cluster.heads import Head, head

HANDLE = Handle("rayup", "lab", "job-1")


def backend(**changes: Any) -> RayUpBackend:
    options = {"provider": "machines", "head": "10.0.0.1", "workers": ["10.0.0.2"]} | changes
    return RayUpBackend.from_profile(
        Profile(name="lab", path=None, backend="ray_up", options=options)
    )


def submission(root: Path) -> Submission:
    return Submission(name="s", arguments=("sweep", "a.py"), code=Code(root=root), storage="/nfs")


@pytest.fixture
def dashboard() -> Iterator[Head]:
    job = {"status": "RUNNING", "submission_id": HANDLE.job, "message": "it runs"}
    with head({f"/api/jobs/{HANDLE.job}": (200, job)}) as there:
        yield there


@pytest.fixture
def cloud(tmp_path: Path, dashboard: Head) -> Iterator[FakeCloud]:
    port = int(dashboard.address.rpartition(":")[2])
    with fake_cloud(tmp_path / "cloud", port) as made:
        yield made


def started(made: RayUpBackend) -> RayUpBackend:
    """As `submit` leaves it."""
    made._write()
    return made


def test_a_job_is_asked_for_through_the_tunnel_with_the_clusters_token(cloud, dashboard):
    made = started(backend())
    status = made.status(HANDLE)
    assert (status.state, status.message) == (State.RUNNING, "it runs")
    assert f"Bearer {made.token_file.read_text()}" in dashboard.tokens
    (call,) = cloud.calls
    assert call.startswith("dashboard --port ")
    assert call.endswith(f"--remote-port 8265 --no-config-cache {made.file}")


def test_no_tunnel_stays_open(cloud):
    started(backend()).status(HANDLE)
    mine = psutil.Process().children(recursive=True)
    assert not [p for p in mine if "fake_ray" in " ".join(p.cmdline())]


def test_the_file_and_the_token_are_their_owners_alone(cloud):
    made = started(backend())
    for file, mode in ((made.file, 0o600), (made.token_file, 0o600), (made.folder, 0o700)):
        assert stat.S_IMODE(file.stat().st_mode) == mode
    token = made.token_file.read_text()
    assert token not in made.file.read_text()
    started(backend())
    assert made.token_file.read_text() == token


def test_a_preview_is_the_file_the_commands_and_the_job(cloud, tmp_path):
    made = backend()
    shown = made.preview(submission(tmp_path))
    assert yaml.safe_load(shown.partition("\nray up")[0]) == made.content()
    up = "ray up --yes --no-restart --no-config-cache --disable-usage-stats"
    assert f"{up} {made.file}" in shown
    assert "POST http://127.0.0.1:8265/api/jobs/" in shown
    assert cloud.calls == []
    assert not made.folder.exists()


def test_a_cluster_that_does_not_come_up_is_told_with_how_to_end_it(cloud, tmp_path, capfd):
    cloud.fault("up", "VcpuLimitExceeded")
    with pytest.raises(ClusterError, match=r"failed with exit code 1; .* `ray down --yes .*yaml`"):
        backend().submit(submission(tmp_path))
    assert "VcpuLimitExceeded" in capfd.readouterr().err


def test_a_cluster_that_takes_too_long_is_given_up_and_nothing_runs_on(cloud, tmp_path):
    cloud.fault("up", "hang")
    with pytest.raises(ClusterError, match=r"was not done after 0\.5 s"):
        backend(up_timeout_s=0.5).submit(submission(tmp_path))
    mine = psutil.Process().children(recursive=True)
    assert not [p for p in mine if "fake_ray" in " ".join(p.cmdline())]


def test_a_head_that_is_gone_is_told_in_ssh_s_words(cloud):
    cloud.fault("dashboard", "RuntimeError: Head node of cluster lab not found!")
    with pytest.raises(ClusterError, match=r"cannot be reached through ssh: .*not found!") as error:
        started(backend()).status(HANDLE)
    assert "\n" not in str(error.value)


def test_a_tunnel_that_never_opens_is_given_up(cloud, monkeypatch):
    monkeypatch.setattr(ray_up, "_TUNNEL_S", 0.5)
    cloud.fault("dashboard", "hang")
    began = time.monotonic()
    with pytest.raises(ClusterError, match="no answer"):
        started(backend()).status(HANDLE)
    assert time.monotonic() - began < 10


def test_a_cluster_of_another_machine_is_not_known_here(cloud):
    with pytest.raises(ClusterError, match="lab was not started from here"):
        backend().status(HANDLE)


def test_a_stop_says_that_the_cluster_is_still_up(cloud, dashboard):
    job = {"status": "SUCCEEDED", "submission_id": HANDLE.job, "message": ""}
    dashboard.answers[f"/api/jobs/{HANDLE.job}"] = (200, job)
    stopped = started(backend()).stop(HANDLE)
    assert stopped.done
    assert "still up: `ray down --yes" in stopped.message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"provider": "asw"}, r"provider is 'asw'; it must be one of .*did you mean aws\?"),
        ({"provider": "aws"}, "region is not set; provider aws needs it"),
        ({"head": None}, "head is not set; provider machines needs it"),
        ({"caviar": "/no/such.whl"}, "caviar is '/no/such.whl', and there is no such file"),
        ({"workers": "10.0.0.2"}, r"workers is '10.0.0.2'; it must be a list"),
        ({"code": {"travels": "imgae"}}, "travels is 'imgae'"),
        (
            {
                "provider": "gcp",
                "region": "r",
                "zone": "z",
                "project": "p",
                "image": "i",
                "head_type": "a",
                "worker_type": "b",
                "min_workers": 0,
            },
            "min_workers is 0; it must be at least 1",
        ),
    ],
)
def test_a_profile_that_cannot_be_is_answered_with_the_key(changes, message):
    with pytest.raises(ConfigError, match=message):
        backend(**changes)


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """An `ssh` that answers for the machines, and an `rsync`."""
    binaries = tmp_path / "bin"
    binaries.mkdir()
    monkeypatch.setenv("PATH", f"{binaries}:{os.environ['PATH']}")

    def answer(script: str) -> None:
        for name in ("ssh", "rsync"):
            (binaries / name).write_text(f"#!/bin/sh\n{script}\n")
            (binaries / name).chmod(0o755)

    return answer


def test_all_holds_where_every_machine_answers(ssh, tmp_path):
    key = tmp_path / "key"
    key.touch(mode=0o600)
    ssh('echo "$@" >> "$(dirname "$0")/asked"')
    found = list(backend(ssh_key=str(key), ssh_user="me").checks(None))
    assert [(check.name, check.ok) for check in found] == [
        ("ssh", True),
        ("rsync", True),
        ("key", True),
        ("file", True),
        ("machine", True),
        ("machine", True),
    ]
    asked = sorted((tmp_path / "bin" / "asked").read_text().splitlines())
    assert asked[0].startswith("-oConnectTimeout=5 -oBatchMode=yes ")
    assert asked[0].endswith(f" -i {key} me@10.0.0.1 true")


def test_a_machine_that_does_not_answer_is_named(ssh):
    ssh('case "$*" in *10.0.0.2*) echo "ssh: Permission denied (publickey)." >&2; exit 255;; esac')
    (wrong,) = [check for check in backend().checks(None) if not check.ok]
    assert wrong.what == "ubuntu@10.0.0.2: ssh: Permission denied (publickey)."
    assert "try `ssh ubuntu@10.0.0.2` by hand" in wrong.todo


def test_a_key_that_others_can_read_is_refused(ssh, tmp_path):
    key = tmp_path / "key"
    key.touch(mode=0o644)
    ssh("true")
    (wrong,) = [check for check in backend(ssh_key=str(key)).checks(None) if not check.ok]
    assert (wrong.name, wrong.todo) == ("key", f"chmod 600 {key}")


def on_aws(**changes: Any) -> RayUpBackend:
    usual = {"provider": "aws", "region": "eu-west-1", "head_type": "a", "worker_type": "b"}
    return backend(**usual, max_workers=2, setup_commands=[], **changes)


@pytest.fixture
def account(monkeypatch):
    """Sets credentials of AWS, or takes all away."""

    def have(key: str | None) -> None:
        for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
            monkeypatch.setenv(name, "/nowhere")
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            if key is None:
                monkeypatch.delenv(name, raising=False)
            else:
                monkeypatch.setenv(name, key)

    return have


@pytest.mark.parametrize("profile", [None, "nosuch"])
def test_a_cloud_without_credentials_here_is_refused(ssh, account, monkeypatch, profile):
    ssh("true")
    account(None)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    if profile:
        monkeypatch.setenv("AWS_PROFILE", profile)
    (wrong,) = [check for check in on_aws().checks(None) if not check.ok]
    assert (wrong.name, wrong.warning) == ("account", False)
    assert wrong.what == "there are no aws credentials here"
    assert "aws configure" in wrong.todo


def test_a_folder_that_is_not_looked_at_is_said(ssh):
    ssh("true")
    (said,) = [check for check in backend(storage="/nfs/sweeps").checks(None) if not check.ok]
    assert (said.name, said.warning) == ("storage", True)
    assert "all machines mount /nfs/sweeps is not looked at" in said.what


@pytest.mark.usefixtures("fresh_clients")
def test_a_bucket_is_looked_at_from_here(ssh, account, monkeypatch):
    ssh("true")
    account("test")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    made = on_aws(storage="s3://bucket/sweeps")
    (said,) = [check for check in made.checks(None) if not check.ok]
    assert (said.name, said.warning) == ("storage", True)
    assert "seen from here: s3://bucket/sweeps cannot be reached" in said.what


def test_ray_judges_the_file_before_anything_is_started(ssh, account):
    ssh("true")
    account("test")
    made = on_aws(idle_timeout_minutes=-1)
    (wrong,) = [check for check in made.checks(None) if not check.ok]
    assert wrong.name == "file"
    assert "-1" in wrong.what


def test_importing_it_is_light():
    """The backend is imported by its name in a profile; Ray only when it is used."""
    code = "import sys, cluster.backends.ray_up, cluster.backends.kubernetes; "
    code += "sys.exit('ray' in sys.modules or 'boto3' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
