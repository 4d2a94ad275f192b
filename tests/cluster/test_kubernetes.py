"""The backend of Kubernetes, over a kubectl that answers as the real one."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

import cluster.backends.kubernetes as kubernetes
import cluster.kube_checks as kube_checks
from cluster.backend import Code, State, Submission
from cluster.backends.kubernetes import KubernetesBackend, read_status
from cluster.errors import ClusterError, ConfigError
from cluster.handle import Handle
from cluster.kubectl import Kubectl
from cluster.profile import Profile
from tests.cluster.kube import FakeKube, fake_kube

DRIVER = f"""#!{sys.executable}
import signal, sys, time, pathlib
if sys.argv[-1] == "--version":
    print("caviar {metadata.version("caviar")}")
    sys.exit()
here = pathlib.Path.cwd()
def save(*_):
    print("saved", flush=True)
    sys.exit(130)
signal.signal(signal.SIGINT, save)
print("drives", sys.argv[3:], here.name, flush=True)
print((here / "app.txt").read_text(), flush=True)
if "wait" in sys.argv:
    (here / "waits").touch()
    time.sleep(60)
sys.exit(int(sys.argv[-1]))
"""


@pytest.fixture
def kube(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeKube]:
    monkeypatch.setattr(kubernetes, "_POLL_S", 0.05)
    with fake_kube(tmp_path / "kube") as made:
        yield made


@pytest.fixture
def backend(tmp_path: Path, kube: FakeKube) -> Callable[..., KubernetesBackend]:
    (tmp_path / "store").mkdir()
    python = tmp_path / "driver"
    python.write_text(DRIVER)
    python.chmod(0o755)

    def make(**options: Any) -> KubernetesBackend:
        basic = {
            "image": "shop:1",
            "namespace": "lab",
            "python": str(python),
            "volume": {"claim": "sweeps", "path": str(tmp_path / "store")},
            "code": {"travels": "shared"},
            "termination_grace_period_seconds": 10,
        }
        return KubernetesBackend.from_profile(
            Profile(name="k", path=None, backend="kubernetes", options=basic | options)
        )

    return make


@pytest.fixture
def submission(tmp_path: Path) -> Callable[..., Submission]:
    project = tmp_path / "project"
    project.mkdir()
    (project / "app.txt").write_text("the app")
    (project / ".env").write_text("PASSWORD=hunter2")

    def make(*arguments: str, name: str = "shop lr") -> Submission:
        return Submission(
            name=name,
            arguments=("sweep", *arguments),
            code=Code(root=project),
            storage=str(tmp_path / "store"),
        )

    return make


def wait_for(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_job_runs_to_its_end_and_tells_what_it_printed(backend, submission):
    made = backend()
    handle = made.submit(submission("lr=tag(log, interval(1, 2))", "0"))
    assert str(handle).startswith("k8s://lab/shop-lr-")
    assert Handle.parse(str(handle)) == handle
    text = "".join(made.logs(handle, follow=True))
    assert "drives ['sweep', 'lr=tag(log, interval(1, 2))', '0']" in text
    assert "the app" in text
    status = made.status(handle)
    assert (status.state, status.exit_code) == (State.SUCCEEDED, 0)
    assert "".join(made.logs(handle)) == text


def test_code_travels_as_a_zip_on_the_storage_without_secrets(backend, submission, tmp_path, kube):
    made = backend(code={"travels": "package"})
    handle = made.submit(submission("0"))
    assert "the app" in "".join(made.logs(handle, follow=True))
    (package,) = (tmp_path / "store" / ".packages").iterdir()
    sent = json.loads(kube.job(handle.job)["spec"]["runtimeEnvYAML"])["working_dir"]
    assert sent == package.as_uri()
    shutil.unpack_archive(package, tmp_path / "seen")
    assert [f.name for f in (tmp_path / "seen").rglob("*") if f.is_file()] == ["app.txt"]


def test_the_same_code_is_on_the_storage_once(backend, submission, tmp_path):
    made = backend(code={"travels": "package"})
    made.submit(submission("0"))
    made.submit(submission("0"))
    assert len(list((tmp_path / "store" / ".packages").iterdir())) == 1


def test_code_cannot_travel_over_a_storage_that_is_not_mounted_here(backend, submission):
    made = backend(code={"travels": "package"}, volume={"claim": "s", "path": "/mnt/elsewhere"})
    job = submission("0")
    away = Submission(
        name=job.name, arguments=job.arguments, code=job.code, storage="/mnt/elsewhere/s"
    )
    with pytest.raises(
        ConfigError, match=r"not mounted here.* code\.travels in cluster k to image"
    ):
        made.submit(away)


def test_a_failure_is_told_with_its_exit_code(backend, submission):
    made = backend()
    handle = made.submit(submission("3"))
    wait_for(lambda: made.status(handle).state.is_over)
    status = made.status(handle)
    assert (status.state, status.exit_code) == (State.FAILED, 3)
    assert "exit code 3" in status.message


def test_stop_lets_the_driver_save(backend, submission, tmp_path):
    made = backend()
    handle = made.submit(submission("wait", "0"))
    wait_for((tmp_path / "project" / "waits").exists)
    assert made.status(handle).state is State.RUNNING
    stopped = made.stop(handle)
    assert stopped.done
    assert "it was interrupted and has ended" in stopped.message
    assert made.status(handle).state is State.STOPPED
    assert "saved" in "".join(made.logs(handle))
    again = made.stop(handle)
    assert again.done
    assert "over already" in again.message


def test_a_driver_that_cannot_be_asked_hears_of_it_from_its_pod(
    backend, submission, tmp_path, kube
):
    """Deleting the RayJob ends the head's pod, and what stands in its preStop runs."""
    made = backend()
    handle = made.submit(submission("wait", "0"))
    wait_for((tmp_path / "project" / "waits").exists)
    kube.fault(exec={"code": 1, "err": "error: unable to upgrade connection: Forbidden"})
    stopped = made.stop(handle)
    assert stopped.done
    assert "its RayJob was deleted, as kubectl exec" in stopped.message
    assert "unable to upgrade connection" in stopped.message
    assert "saved" in (kube.root / "deleted" / handle.job / "log").read_text()
    assert (kube.root / "deleted" / handle.job / "code").read_text() == "130\n"


def test_a_pending_job_is_deleted_and_said_so(backend, submission, kube):
    made = backend(queue="team", workers={"min": 2, "max": 2})
    handle = made.submit(submission("0"))
    status = made.status(handle)
    assert (status.state, status.message) == (State.PENDING, "it waits for Kueue to let it in")
    stopped = made.stop(handle)
    assert stopped.done
    assert "had not begun" in stopped.message
    assert made.status(handle).state is State.UNKNOWN
    assert (kube.root / "deleted" / handle.job).exists()


def test_a_job_that_cannot_be_deleted_is_not_called_stopped(backend, submission, kube):
    made = backend(queue="team", workers={"min": 2, "max": 2})
    handle = made.submit(submission("0"))
    kube.fault(delete={"code": 1, "err": "Error from server (Forbidden): no"})
    stopped = made.stop(handle)
    assert not stopped.done
    assert "Forbidden" in stopped.message


def test_an_unknown_handle_is_unknown(backend):
    made = backend()
    gone = Handle.parse("k8s://lab/gone-123456")
    assert made.status(gone).state is State.UNKNOWN
    assert made.stop(gone).done
    with pytest.raises(ClusterError, match="no RayJob gone-123456; its log is gone"):
        list(made.logs(gone))


def test_preview_sends_nothing(backend, submission, kube, tmp_path):
    backend(code={"travels": "package"}).preview(submission("0"))
    assert not (kube.root / "calls.jsonl").exists()
    assert list((tmp_path / "store").iterdir()) == []


def test_a_token_is_made_where_the_named_secret_is_not_there(backend, submission, kube, capfd):
    made = backend(auth_secret="ray-token")
    job = submission("0")
    made.submit(job)
    token = json.loads((kube.root / "secret" / "ray-token.json").read_text())["stringData"]
    assert len(token["auth_token"]) == 64
    made.submit(job)
    assert sum("ray-token" in call and "create" in call for call in kube.calls) == 0
    assert sum(call.count("create") for call in kube.calls) == 3  # the Secret, and two jobs
    shown = made.preview(job) + json.dumps(kube.calls) + "".join(capfd.readouterr())
    assert token["auth_token"] not in shown


def test_every_call_names_the_context_and_the_namespace(backend, submission, kube):
    made = backend(context="arn:aws:eks:eu:1:cluster/lab")
    handle = made.submit(submission("0"))
    assert handle.place == "lab@arn:aws:eks:eu:1:cluster%2Flab"
    made.status(Handle.parse(str(handle)))
    for call in kube.calls:
        assert call[:2] == ["--context=arn:aws:eks:eu:1:cluster/lab", "--namespace=lab"]


def test_a_context_may_hold_an_at_sign():
    kubectl = Kubectl(namespace="lab", context="admin@home")
    assert Kubectl.at(kubectl.place) == kubectl
    assert Kubectl.at("lab") == Kubectl(namespace="lab")


def test_a_refusal_is_one_line(backend, submission, kube):
    kube.fault(
        create={
            "code": 1,
            "err": "W1121 10:00:00.000000  1 warnings.go:70] old\n"
            'error: resource mapping not found for name: "x" namespace: "lab" from "STDIN": '
            'no matches for kind "RayJob" in version "ray.io/v1"\nensure CRDs are installed first',
        }
    )
    with pytest.raises(ClusterError) as error:
        backend().submit(submission("0"))
    assert "\n" not in str(error.value)
    assert 'no matches for kind "RayJob"' in str(error.value)


def test_a_cluster_that_never_answers_is_given_up(kube):
    kube.fault(get="hang")
    began = time.monotonic()
    with pytest.raises(ClusterError, match=r"no answer in 0\.5 s.*`kubectl -n lab get pods`"):
        Kubectl(namespace="lab").get("rayjobs.ray.io", "x", timeout=0.5)
    assert time.monotonic() - began < 5


def test_without_kubectl_it_says_what_to_install(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ClusterError, match="kubectl is not on the PATH; install it"):
        Kubectl(namespace="lab").get("rayjobs.ray.io", "x")


def test_a_log_that_broke_off_goes_on_where_it_was(backend, submission):
    """`kubectl logs --follow` ends when its connection does, and begins from the start again."""
    made = backend()
    handle = made.submit(submission("0"))
    wait_for(lambda: made.status(handle).state.is_over)
    kubectl, given = made.kubectl, {}
    whole = b"".join(kubernetes._pod_log(kubectl, f"{handle.job}-submit", {}, follow=False))
    given[f"{handle.job}-submit"] = 10
    rest = b"".join(kubernetes._pod_log(kubectl, f"{handle.job}-submit", given, follow=False))
    assert rest == whole[10:]
    assert given[f"{handle.job}-submit"] == len(whole)


@pytest.mark.parametrize(
    ("told", "state", "message"),
    [
        ({}, State.PENDING, "KubeRay's operator has not seen it yet"),
        ({"jobDeploymentStatus": "Initializing"}, State.PENDING, "its pods are starting"),
        ({"jobDeploymentStatus": "Running", "jobStatus": "PENDING"}, State.PENDING, ""),
        ({"jobDeploymentStatus": "Running", "jobStatus": "RUNNING"}, State.RUNNING, ""),
        ({"jobDeploymentStatus": "Running", "jobStatus": "FAILED"}, State.RUNNING, ""),
        ({"jobDeploymentStatus": "Retrying"}, State.PENDING, "it failed and is begun again"),
        ({"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"}, State.SUCCEEDED, ""),
        ({"jobDeploymentStatus": "Complete", "jobStatus": "STOPPED"}, State.STOPPED, ""),
        ({"jobDeploymentStatus": "Complete", "jobStatus": "FAILED"}, State.FAILED, ""),
        ({"jobDeploymentStatus": "Failed", "jobStatus": "STOPPED"}, State.STOPPED, ""),
        (
            {"jobDeploymentStatus": "ValidationFailed", "reason": "R", "message": "not\nso"},
            State.FAILED,
            "R not so",
        ),
        (
            {"jobDeploymentStatus": "Failed", "reason": "DeadlineExceeded", "message": "late"},
            State.FAILED,
            "DeadlineExceeded late",
        ),
    ],
)
def test_what_kuberay_says_is_read(told, state, message):
    status = read_status({"status": told, "spec": {}})
    assert (status.state, status.message) == (state, message)


# doctor


def ready(kube: FakeKube) -> None:
    kube.add("secret", "keys")
    kube.add(
        "persistentvolumeclaim",
        "sweeps",
        spec={"accessModes": ["ReadWriteMany"]},
        status={"phase": "Bound"},
    )
    kube.add("localqueues.kueue.x-k8s.io", "team")
    kube.add("node", "a", status={"allocatable": {"nvidia.com/gpu": "8"}})


ALL = {
    "env_from": ["keys"],
    "auth_secret": "token",
    "queue": "team",
    "workers": {"min": 2, "max": 2, "gpus": 2},
}


def test_all_holds_on_a_cluster_that_is_ready(backend, kube):
    ready(kube)
    found = list(backend(**ALL).checks(None))
    assert [(check.name, check.ok) for check in found] == [
        (name, True)
        for name in (
            "kubectl",
            "cluster",
            "namespace",
            "KubeRay",
            "rights",
            "secret",
            "token",
            "volume",
            "queue",
            "GPU",
        )
    ]


def _without(kind: str, name: str) -> Callable[[FakeKube], None]:
    return lambda kube: (kube.root / kind / f"{name}.json").unlink()


def _once_only(kube: FakeKube) -> None:
    kube.add("persistentvolumeclaim", "sweeps", spec={"accessModes": ["ReadWriteOnce"]})


REFUSED = {"code": 1, "err": "The connection to the server 10.0.0.1:6443 was refused"}
FORBIDDEN = {"code": 1, "err": "Error from server (Forbidden): nodes is forbidden"}


@pytest.mark.parametrize(
    ("broken", "name", "what", "todo"),
    [
        (lambda k: k.fault(get=REFUSED), "cluster", "was refused", "get-contexts"),
        (_without("namespace", "lab"), "namespace", "lab is not there", "create namespace lab"),
        (
            lambda k: (k.root / "api-resources.txt").write_text(""),
            "KubeRay",
            "does not know RayJobs",
            "helm install",
        ),
        (lambda k: (k.root / "old").touch(), "KubeRay", "older than 1.6", "helm upgrade"),
        (
            lambda k: k.allow(["get", "rayjobs.ray.io"]),
            "rights",
            "you may not create, delete, exec",
            "auth can-i --list",
        ),
        (_without("secret", "keys"), "secret", "keys of env_from", "create secret generic keys"),
        (
            _without("persistentvolumeclaim", "sweeps"),
            "volume",
            "sweeps is not there",
            "ReadWriteMany",
        ),
        (_once_only, "volume", "ReadWriteOnce: pods on several nodes", "a bucket"),
        (_without("localqueues.kueue.x-k8s.io", "team"), "queue", "no local queue team", "queue"),
    ],
)
def test_what_does_not_hold_is_said_with_what_to_do(backend, kube, broken, name, what, todo):
    ready(kube)
    broken(kube)
    (wrong,) = [c for c in backend(**ALL).checks(None) if not c.ok and not c.warning]
    assert wrong.name == name
    assert what in wrong.what
    assert todo in wrong.todo
    assert "\n" not in wrong.what + wrong.todo


@pytest.mark.parametrize(
    ("storage", "ok", "warning", "what"),
    [
        ("{volume}/sweeps", True, False, "lies on the volume"),
        ("/elsewhere", False, False, "on Kubernetes it must lie under"),
        ("s3://bucket/sweeps", False, True, "s3://bucket/sweeps is not looked at"),
    ],
)
def test_what_can_be_said_of_a_profiles_storage(
    backend, kube, tmp_path, storage: str, ok: bool, warning: bool, what: str
):
    ready(kube)
    made = backend(storage=storage.format(volume=tmp_path / "store"))
    (said,) = [check for check in made.checks(None) if check.name == "storage"]
    assert (said.ok, said.warning) == (ok, warning)
    assert what in said.what
    assert bool(said.todo) == (not ok)


def test_too_few_gpus_and_nodes_that_one_may_not_see_are_warnings(backend, kube):
    ready(kube)
    kube.add("node", "a", status={"allocatable": {"nvidia.com/gpu": "1"}})
    (few,) = [c for c in backend(**ALL).checks(None) if not c.ok]
    assert few.warning
    assert "no node has 2 nvidia.com/gpu now; the most is 1" in few.what
    kube.fault(get_nodes=FORBIDDEN)
    (hidden,) = [c for c in backend(**ALL).checks(None) if not c.ok]
    assert hidden.warning
    assert "nodes is forbidden" in hidden.what


def test_a_cluster_that_hangs_costs_the_doctor_seconds(backend, kube, monkeypatch):
    monkeypatch.setattr(kube_checks, "_REACH_S", 0.5)
    kube.fault(get="hang")
    *_, last = backend().checks(None)
    assert (last.name, last.ok) == ("cluster", False)
    assert "no answer in 0.5 s" in last.what
