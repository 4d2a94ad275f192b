"""The manifest that a submission becomes on Kubernetes."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

import cluster.rayjob
from cluster.backend import Code, Submission
from cluster.backends.kubernetes import KubernetesBackend
from cluster.errors import ConfigError
from cluster.profile import Profile
from cluster.rayjob import Place, job_name, rayjob, run_script

GOLDEN = Path(__file__).parent / "golden"
SCHEMA = (
    Path(
        os.environ.get(
            "CAVIAR_SHARED_DATA", Path(__file__).resolve().parents[2].parent / "shared" / "data"
        )
    )
    / "kuberay"
    / "rayjob-v1.schema.json"
)

PROFILES: dict[str, dict[str, Any]] = {
    "volume": {
        "image": "registry.example.com/team/shop:1.4",
        "namespace": "research",
        "volume": {"claim": "sweeps", "path": "/mnt/sweeps"},
        "code": {"travels": "image", "path": "/app"},
        "ray_version": "2.60.0",
    },
    "gpu": {
        "image": "registry.example.com/team/shop:1.4",
        "context": "arn:aws:eks:eu-west-1:123:cluster/lab",
        "storage": "s3://bucket/sweeps",
        "env": {"AWS_REGION": "eu-west-1"},
        "env_from": ["bucket-keys"],
        "image_pull_secrets": ["registry"],
        "service_account": "trainer",
        "auth_secret": "ray-token",
        "network_policy": True,
        "tls": True,
        "code": {"travels": "package"},
        "ray_version": "2.60.0",
        "active_deadline_seconds": 86400,
        "termination_grace_period_seconds": 120,
        "head": {"cpus": 1, "memory": "4Gi"},
        "workers": {
            "min": 1,
            "max": 16,
            "cpus": 8,
            "memory": "64Gi",
            "gpus": 1,
            "node_selector": {"cloud.google.com/gke-accelerator": "nvidia-l4"},
            "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
        },
    },
    "queue": {
        "image": "registry.example.com/team/shop:1.4",
        "volume": {"claim": "home", "path": "/home"},
        "code": {"travels": "shared"},
        "ray_version": "2.60.0",
        "queue": "team-a",
        "workers": {"min": 4, "max": 4},
    },
}
STORAGES = {"volume": "/mnt/sweeps/runs", "gpu": "s3://bucket/sweeps", "queue": "/home/me/sweeps"}
PLACES = {
    "volume": Place("/app"),
    "gpu": Place(None, "s3://bucket/sweeps/.packages/1234.zip"),
    "queue": Place("/home/me/shop"),
}


@pytest.fixture(autouse=True)
def version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster.rayjob, "_VERSION", "caviar 1.2.3")


def backend(name: str, **changes: Any) -> KubernetesBackend:
    options = PROFILES[name] | changes
    return KubernetesBackend.from_profile(
        Profile(name=name, path=None, backend="kubernetes", options=options)
    )


def submission(storage: str, *arguments: str) -> Submission:
    given = arguments or ("lr=tag(log, interval(1e-4, 1))", "net=choice(mlp,'a b')")
    return Submission(
        name="Shop lr",
        arguments=("sweep", "train.py", *given, "hydra.sweeper.resume=auto"),
        code=Code(root=Path("/home/me/shop"), import_paths=("src",)),
        storage=storage,
    )


def manifest(name: str, **changes: Any) -> dict[str, Any]:
    made = backend(name, **changes)
    job = submission(STORAGES[name])
    return rayjob("shop-lr-0a1b2c", job, made.options, made.parts, PLACES[name])


@pytest.mark.parametrize("name", PROFILES)
def test_a_manifest_is_as_its_golden_file(name):
    golden = GOLDEN / f"rayjob-{name}.yaml"
    assert manifest(name) == yaml.safe_load(golden.read_text())


@pytest.mark.parametrize("name", PROFILES)
def test_kuberay_knows_every_field_of_a_manifest(name):
    if not SCHEMA.exists():
        pytest.skip(f"{SCHEMA} is absent; CAVIAR_SHARED_DATA says where the data is")
    schema = _closed(json.loads(SCHEMA.read_text()))
    jsonschema.Draft202012Validator(schema).validate(manifest(name))


def test_the_schema_check_sees_a_field_that_is_not_there():
    if not SCHEMA.exists():
        pytest.skip(f"{SCHEMA} is absent; CAVIAR_SHARED_DATA says where the data is")
    wrong = manifest("gpu")
    pod = wrong["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["template"]["spec"]
    pod["containers"][0]["securityContext"]["allowEscalation"] = False
    schema = _closed(json.loads(SCHEMA.read_text()))
    with pytest.raises(jsonschema.ValidationError, match="allowEscalation"):
        jsonschema.Draft202012Validator(schema).validate(wrong)


def _closed(schema: Any) -> Any:
    """The schema with every object closed: Kubernetes drops a field that it does not know."""
    if isinstance(schema, list):
        return [_closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(part) for key, part in schema.items()}
    if isinstance(closed.get("properties"), dict) and "additionalProperties" not in closed:
        closed["additionalProperties"] = False
    return closed


@pytest.mark.parametrize("name", PROFILES)
def test_every_pod_is_restricted(name):
    for pod in _pods(manifest(name)):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            own = container["securityContext"]
            assert own["allowPrivilegeEscalation"] is False
            assert own["capabilities"] == {"drop": ["ALL"]}


def test_only_a_head_that_asks_for_pods_holds_an_account_of_the_cluster():
    submitter, head, worker = _pods(manifest("gpu"))
    assert "automountServiceAccountToken" not in head
    assert worker["automountServiceAccountToken"] is False
    assert submitter["automountServiceAccountToken"] is False
    assert _pods(manifest("queue"))[1]["automountServiceAccountToken"] is False


def _pods(made: dict[str, Any]) -> list[dict[str, Any]]:
    cluster = made["spec"]["rayClusterSpec"]
    templates = [made["spec"]["submitterPodTemplate"], cluster["headGroupSpec"]["template"]]
    templates += [group["template"] for group in cluster["workerGroupSpecs"]]
    return [template["spec"] for template in templates]


def test_secrets_are_named_and_never_written():
    made = manifest("gpu")
    for pod in _pods(made)[1:]:
        assert pod["containers"][0]["envFrom"] == [{"secretRef": {"name": "bucket-keys"}}]
    assert made["spec"]["rayClusterSpec"]["authOptions"] == {
        "mode": "token",
        "secretName": "ray-token",
    }
    assert "auth_token" not in json.dumps(made)


def test_kuberay_makes_a_token_a_job_where_no_secret_is_named():
    assert manifest("volume")["spec"]["rayClusterSpec"]["authOptions"] == {"mode": "token"}


def test_a_value_is_not_taken_for_a_variable_of_kubernetes():
    made = manifest("volume", env={"PATTERN": "$(date)"})
    env = _pods(made)[2]["containers"][0]["env"]
    assert {"name": "PATTERN", "value": "$$(date)"} in env


NASTY = ("a b", "it's", 'say "x"', "$HOME", "a;b", "x=tag(log, interval(1, 2))", "*", "\\n", "")


def test_arguments_reach_the_driver_through_the_shells_as_they_were(tmp_path):
    """The entrypoint is words without meaning to a shell; the script holds the arguments."""
    assert re.fullmatch(r"[a-z /.]+", manifest("volume")["spec"]["entrypoint"])
    (tmp_path / "src").mkdir()
    python = tmp_path / "python"
    python.write_text(
        f"#!{sys.executable}\nimport json, os, sys\n"
        "if sys.argv[-1] == '--version':\n    print('caviar 1.2.3')\n    sys.exit()\n"
        "print(json.dumps([sys.argv[1:], os.getcwd(), os.environ['PYTHONPATH']]))\n"
    )
    python.chmod(0o755)
    job = submission("/mnt/x", *NASTY)
    script = run_script(job, str(python), Place(str(tmp_path)))
    script = script.replace("/tmp/caviar-driver.pid", str(tmp_path / "pid"))
    done = subprocess.run(
        ["bash"], input=script, capture_output=True, text=True, env={"PYTHONPATH": "/before"}
    )
    arguments, folder, paths = json.loads(done.stdout)
    assert arguments == ["-m", "sweeps.cli", *job.arguments]
    assert folder == str(tmp_path)
    assert paths == f"{tmp_path}/src:/before"


def test_an_image_with_another_caviar_is_refused_with_both_versions(tmp_path):
    for said, found in (("echo caviar 1.0.0", "caviar 1.0.0"), ("exit 1", "no caviar")):
        python = tmp_path / "python"
        python.write_text(f"#!/bin/sh\n{said}\n")
        python.chmod(0o755)
        script = run_script(submission("/mnt/x"), str(python), Place(str(tmp_path)))
        done = subprocess.run(["bash"], input=script, capture_output=True, text=True)
        assert done.returncode == 1
        assert done.stderr == f"caviar 1.2.3 sent this, and the image has {found}\n"


def test_names_are_labels_and_unique():
    for sweep in ("s", "Shop lr", "2024", "ünïcode", "---", "x" * 200, "a" * 39 + "-b"):
        name = job_name(sweep)
        assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name)
        assert len(name) <= 47
        assert "--" not in name
    assert job_name("s") != job_name("s")


def test_a_queue_wants_a_job_of_a_fixed_size():
    with pytest.raises(ConfigError, match=r"workers\.max is 5; with a queue it must be .* 2"):
        backend("queue", workers={"min": 2, "max": 5})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"workers": {"min": 0}}, r"workers\.min is 0; it must be at least 1"),
        ({"workers": {"min": 3, "max": 2}}, r"workers\.max is 2; .* at least workers\.min, 3"),
        ({"workers": {"gpu": 1}}, r"workers\.gpu is not an option; did you mean .*workers\.gpus"),
        ({"volume": {"claim": "x"}}, r"volume\.path is not set, and it is needed"),
        ({"code": {"travels": "imgae"}}, r"did you mean image\?"),
        ({"code": {"travels": "image"}}, r"code\.path is None; .* such as /app"),
        ({"image": None}, r"image is not set, and it is needed"),
    ],
)
def test_a_profile_that_cannot_be_is_answered_with_the_key(changes, message):
    with pytest.raises(ConfigError, match=message):
        backend("volume", **changes)


def test_a_storage_that_pods_do_not_share_is_refused():
    with pytest.raises(ConfigError, match=r"storage is '/data'; .* under /mnt/sweeps"):
        backend("volume").preview(submission("/data"))
    with pytest.raises(ConfigError, match=r"on a volume, or be a bucket such as s3://"):
        backend("volume", volume={}).preview(submission("/data"))


def test_preview_is_the_manifest():
    text = backend("volume").preview(submission(STORAGES["volume"]))
    shown = yaml.safe_load(text)
    name = shown["metadata"]["name"]
    assert json.loads(json.dumps(shown).replace(name, "shop-lr-0a1b2c")) == manifest("volume")
    assert "exec python -m sweeps.cli sweep train.py" in text


def test_the_template_shows_every_key():
    from cluster.profile import load_profile
    from cluster.rayjob import Head, KubernetesOptions, Volume, Workers

    profile = load_profile("kubernetes", Path("/nowhere"))
    options = profile.read(KubernetesOptions)
    assert set(profile.options) == {field.name for field in dataclasses.fields(KubernetesOptions)}
    for part, schema in (("head", Head), ("workers", Workers), ("volume", Volume)):
        assert set(profile.options[part]) == {field.name for field in dataclasses.fields(schema)}
    assert KubernetesBackend.from_profile(profile).parts.workers == Workers()
    assert options.storage == options.volume["path"]
