"""Jobs on a real cluster: a head and two nodes, with token authentication."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cluster.backend import Ask, Check, Code, State, Status, Submission
from cluster.backends.ray_jobs import RayBackend, RayOptions
from cluster.doctor import examine
from cluster.errors import ClusterError
from cluster.handle import Handle
from cluster.jobs_api import Trouble
from cluster.project import import_paths
from tests.cluster.nodes import RayCluster, ray_cluster

pytestmark = [pytest.mark.slow, pytest.mark.cluster]

APPS = Path(__file__).parents[1] / "apps"
WITHIN_S = 180

A_JOB_S = 2.5
"""What the smallest job takes at most on a machine of its own."""

BUCKET = "sweeps"
S3 = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1"}

LISTS = '''\
"""Tells what came along, and ends."""

from pathlib import Path

import hydra


@hydra.main(version_base=None, config_path=None)
def main(cfg):
    names = [path.relative_to(Path.cwd()) for path in Path.cwd().rglob("*") if path.is_file()]
    print("came:", sorted(name.as_posix() for name in names if name.parts[0] != "outputs"))
    print("seen there:", Path("outputs/mine").exists())
    for number in range(cfg.get("lines", 0)):
        print("line", number)
    import time
    try:
        time.sleep(cfg.get("sleeps_s", 0))
    except KeyboardInterrupt:
        time.sleep(cfg.get("saving_s", 0))


if __name__ == "__main__":
    main()
'''


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The address of an S3 server of this machine, with an empty bucket."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    boto3.client(
        "s3",
        endpoint_url=address,
        region_name=S3["AWS_REGION"],
        aws_access_key_id="test",
        aws_secret_access_key="test",
    ).create_bucket(Bucket=BUCKET)
    yield address
    server.stop()


@pytest.fixture(scope="module")
def there(s3: str) -> Iterator[RayCluster]:
    env = {**S3, "AWS_ENDPOINT_URL": s3}
    with ray_cluster() as cluster:
        cluster.start_head(env=env)
        cluster.add_node("a", cpus=1, env=env)
        cluster.add_node("b", cpus=2, gpus=1, env=env)
        yield cluster


@pytest.fixture(scope="module")
def storage() -> Iterator[str]:
    folder = tempfile.mkdtemp(prefix="cvs", dir="/tmp")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def backend(there: RayCluster) -> RayBackend:
    return make_backend(there)


def make_backend(there: RayCluster, **options: Any) -> RayBackend:
    usual = {"address": there.dashboard, "token_file": str(there.token_file)}
    return RayBackend("lab", RayOptions(**{**usual, "python": sys.executable, **options}))


@pytest.fixture
def submission(tmp_path: Path, storage: str) -> Callable[..., Submission]:
    """Makes submissions of a project with one app, `tells.py`, and files: name -> size."""

    def make(*overrides: str, name: str = "tells", **files: int) -> Submission:
        root = tmp_path / "project"
        root.mkdir(exist_ok=True)
        (root / "tells.py").write_text(LISTS)
        for file, size in files.items():
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            (root / file).write_bytes(os.urandom(size))
        return Submission(
            name=name,
            arguments=("train", "tells.py", *overrides),
            code=Code(root=root),
            storage=storage,
        )

    return make


def wait(backend: RayBackend, handle: Handle, state: State | None = None) -> Status:
    """Its status once it is over, or in that state."""
    deadline = time.monotonic() + WITHIN_S
    while True:
        status = backend.status(handle)
        if status.state is state or (state is None and status.state.is_over):
            return status
        assert time.monotonic() < deadline, (status, "".join(backend.logs(handle)))
        time.sleep(0.1)


def test_a_request_without_a_token_and_one_with_a_wrong_token_run_nothing(
    there: RayCluster, backend: RayBackend, tmp_path: Path
) -> None:
    def post(headers: dict[str, str]) -> int:
        job = {"submission_id": "intruder", "entrypoint": f"touch {tmp_path}/ran"}
        request = urllib.request.Request(
            f"{there.dashboard}/api/jobs/",
            data=json.dumps(job).encode(),
            headers={"Content-Type": "application/json", **headers},
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    assert post({}) == 401
    assert post({"Authorization": f"Bearer {'0' * 64}"}) == 403
    assert backend.connect().info("intruder") is None
    assert post({"Authorization": f"Bearer {there.token}"}) == 200
    handle = Handle("ray", "x", "intruder")
    assert wait(backend, handle).state is State.SUCCEEDED
    assert (tmp_path / "ran").exists()


def test_a_wrong_token_is_told_by_the_doctor_and_nothing_is_submitted(
    there: RayCluster, tmp_path: Path, submission: Callable[..., Submission]
) -> None:
    wrong = tmp_path / "token"
    wrong.touch(mode=0o600)
    wrong.write_text("f" * 64)
    backend = make_backend(there, token_file=str(wrong))
    *_, check = backend.checks(None)
    assert (check.name, check.ok) == ("token", False)
    assert "another token than ours" in check.what
    with pytest.raises(Trouble, match="another token than ours"):
        backend.submit(submission())


def test_a_healthy_cluster_passes_every_check_in_under_ten_seconds(
    backend: RayBackend, submission: Callable[..., Submission]
) -> None:
    def all_checks() -> tuple[float, dict[str, Check]]:
        began = time.monotonic()
        checks = {check.name: check for check in examine(backend, wanted)}
        return time.monotonic() - began, checks

    def bare_job() -> float:
        began = time.monotonic()
        api = backend.connect()
        api.submit({"submission_id": "bare", "entrypoint": "true"})
        wait(backend, Handle("ray", "x", "bare"))
        return time.monotonic() - began

    wanted = replace(submission(), ask=Ask(cpus=1, gpus=0))
    slowness = max(1.0, bare_job() / A_JOB_S)  # of a machine that does other things too
    took, checks = min((all_checks() for _ in range(2)), key=lambda run: run[0])

    assert took < 10 * slowness
    gpus = checks.pop("gpus")  # of a node that only says that it has one
    assert "1 on 1 node" in gpus.what
    assert [name for name, check in checks.items() if not check.ok] == [], checks
    assert {"package", "address", "token", "python", "storage", "resources"} <= set(checks)
    assert "on 3 nodes" in checks["storage"].what
    assert checks["resources"].what.endswith("fits, and 3 run at once")


def test_what_the_doctor_finds_wrong_inside(
    there: RayCluster, submission: Callable[..., Submission]
) -> None:
    def check(name: str, wanted: Submission, **options: Any) -> Check:
        checks = {each.name: each for each in make_backend(there, **options).checks(wanted)}
        assert name in checks, checks
        return checks[name]

    missing = check("job", submission(), python="/no/such/python")
    assert "/no/such/python: not found" in missing.what
    assert "python in the profile" in missing.todo
    nowhere = check("storage", replace(submission(), storage="/proc/nowhere"))
    assert (nowhere.ok, nowhere.warning) == (False, False)
    assert "/proc/nowhere" in nowhere.what
    large = check("resources", replace(submission(), ask=Ask(cpus=64)))
    assert "with 64 CPU fits nowhere: 3 nodes" in large.what


def test_what_is_ignored_or_secret_stays_here(
    backend: RayBackend, submission: Callable[..., Submission]
) -> None:
    files = {".env": 1, "key.pem": 1, "outputs/mine": 1, "data/raw": 1, "shop/a.py": 0}
    wanted = submission(**files)
    (wanted.code.root / ".gitignore").write_text("data/\n")
    handle = backend.submit(wanted)
    assert wait(backend, handle).state is State.SUCCEEDED
    log = "".join(backend.logs(handle))
    assert "came: ['.gitignore', 'shop/a.py', 'tells.py']\nseen there: False" in log


@pytest.mark.parametrize("where", ["folder", "s3"])
def test_a_package_over_the_heads_limit_goes_through_the_storage(
    backend: RayBackend,
    submission: Callable[..., Submission],
    s3: str,
    where: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in {**S3, "AWS_ENDPOINT_URL": s3}.items():
        monkeypatch.setenv(name, value)
    wanted = submission(**{"weights.pt": 101 << 20})
    if where == "s3":
        wanted = replace(wanted, storage=f"s3://{BUCKET}/lab")
    handle = backend.submit(wanted)
    ended = wait(backend, handle)
    log = "".join(backend.logs(handle))
    assert ended.state is State.SUCCEEDED, (ended, log)
    assert "came: ['tells.py', 'weights.pt']" in log
    info = backend.connect().info(handle.job)
    assert info is not None
    assert info["runtime_env"]["working_dir"].startswith("s3://" if where == "s3" else "file:///")


def test_a_storage_that_is_not_mounted_here_takes_no_package(
    backend: RayBackend, submission: Callable[..., Submission], tmp_path: Path
) -> None:
    wanted = submission(**{"weights.pt": 101 << 20})
    with pytest.raises(ClusterError, match="mount the storage at the same path here"):
        backend.submit(replace(wanted, storage=str(tmp_path / "nfs" / "sweeps")))
    assert not (tmp_path / "nfs").exists()


def test_jobs_of_one_sweep_are_counted_and_show_no_token(
    there: RayCluster, backend: RayBackend, submission: Callable[..., Submission]
) -> None:
    handles = [backend.submit(submission(name="my sweep")) for _ in range(2)]
    assert [handle.job for handle in handles] == ["my-sweep-1", "my-sweep-2"]
    assert str(handles[0]) == f"ray://127.0.0.1:{there.dashboard_port}/my-sweep-1"
    for handle in handles:
        assert wait(backend, handle).exit_code == 0
        assert there.token not in json.dumps(backend.connect().info(handle.job))
        assert there.token not in "".join(backend.logs(handle))


def test_a_long_log_is_followed_whole(
    backend: RayBackend, submission: Callable[..., Submission]
) -> None:
    handle = backend.submit(submission("+lines=20000"))
    heard = "".join(backend.logs(handle, follow=True))
    assert [line for line in heard.splitlines() if line.startswith("line ")] == [
        f"line {number}" for number in range(20000)
    ]
    assert "".join(backend.logs(handle, follow=True)) == heard == "".join(backend.logs(handle))


def test_a_running_job_tells_its_node_and_is_killed_if_it_does_not_end(
    there: RayCluster, submission: Callable[..., Submission]
) -> None:
    backend = make_backend(there, stop_s=2)
    handle = backend.submit(submission("+sleeps_s=100", "+saving_s=100"))
    wait(backend, handle, State.RUNNING)
    deadline = time.monotonic() + 30
    while "came:" not in "".join(backend.logs(handle)):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    stopped = backend.stop(handle)
    assert stopped.done
    assert "had not ended 2 s after the interrupt and was killed" in stopped.message
    assert backend.status(handle).state is State.STOPPED


def test_a_pending_job_that_cannot_be_stopped_is_said_to_be_so(
    there: RayCluster, submission: Callable[..., Submission], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cluster.backends.ray_jobs._PENDING_S", 1.0)
    backend = make_backend(there, driver_cpus=99)
    handle = backend.submit(submission())
    stopped = backend.stop(handle)
    assert not stopped.done
    assert f"{handle} is pending and could not be stopped" in stopped.message
    assert backend.status(handle).state is State.PENDING


def test_a_driver_that_holds_a_cpu_runs_on_a_node(
    there: RayCluster, submission: Callable[..., Submission]
) -> None:
    backend = make_backend(there, driver_cpus=1)
    handle = backend.submit(submission())
    assert wait(backend, handle).state is State.SUCCEEDED


def test_a_sweep_of_a_src_layout_runs_its_trials_on_the_nodes(
    backend: RayBackend, tmp_path: Path, storage: str
) -> None:
    root = tmp_path / "project"
    shutil.copytree(APPS / "packaged", root / "src")
    (root / "pyproject.toml").touch()
    arguments = ["sweep", "-m", "shop.train", "+x=interval(0,1)", "hydra.sweeper.num_samples=2"]
    where = [f"hydra.sweeper.storage_path={storage}", "hydra.sweeper.name=shop"]
    wanted = Submission(
        name="shop",
        arguments=(*arguments, *where, "hydra.sweeper.resume=auto"),
        code=Code(root=root, import_paths=import_paths(root)),
        storage=storage,
    )
    handle = backend.submit(wanted)
    ended = wait(backend, handle)
    assert ended.state is State.SUCCEEDED, "".join(backend.logs(handle))
    assert Path(storage, "shop", "trials.parquet").exists()


def test_the_verbs_go_from_a_profile_to_a_sweep_and_show_no_token(
    there: RayCluster, tmp_path: Path, storage: str
) -> None:
    root, home = tmp_path / "project", tmp_path / "home"
    (home / "caviar" / "clusters").mkdir(parents=True)
    root.mkdir()
    (root / "pyproject.toml").touch()
    (root / ".env").write_text("KEY=1")
    shutil.copy(APPS / "curve.py", root)
    profile = {"backend": "ray", "address": there.dashboard, "token_file": str(there.token_file)}
    profile |= {"python": sys.executable, "storage": storage}
    (home / "caviar" / "clusters" / "lab.yaml").write_text(json.dumps(profile))
    homes = {"XDG_CONFIG_HOME": str(home), "XDG_STATE_HOME": str(home)}

    def caviar(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "sweeps.cli", *arguments],
            cwd=root,
            env={**os.environ, **homes, "RAY_ADDRESS": "http://127.0.0.1:1"},
            capture_output=True,
            text=True,
            check=False,
            timeout=WITHIN_S,
        )
        shown = done.stdout + done.stderr
        assert done.returncode == 0, shown
        assert there.token not in shown
        return shown

    assert "a sweep can run on lab" in caviar("doctor", "--cluster", "lab")
    search = ["+x=interval(-5,5)", "hydra.sweeper.metric=loss", "hydra.sweeper.mode=min"]
    search += ["hydra.sweeper.num_samples=2", "hydra.sweeper.name=verbs", "+epochs=1"]
    search += ["hydra.sweeper.resources={cpus:1}"]
    handle = f"ray://127.0.0.1:{there.dashboard_port}/verbs-1"
    assert handle in caviar("submit", "--cluster", "lab", "curve.py", *search, "--follow")
    assert Path(storage, "verbs", "trials.parquet").exists()
    assert "succeeded" in caviar("status", handle)
    assert handle in caviar("list")
    assert "Running entrypoint" in caviar("logs", handle)
    assert "succeeded" in caviar("stop", handle)


def test_a_job_of_another_cluster_is_not_known(backend: RayBackend) -> None:
    gone = Handle("ray", "127.0.0.1:1", "gone-1")
    assert backend.status(gone).state is State.UNKNOWN
    assert backend.stop(gone).done
    with pytest.raises(ClusterError, match="knows no job gone-1"):
        list(backend.logs(gone, follow=True))
    with contextlib.suppress(ClusterError):
        list(backend.logs(gone))
