"""The files for `ray up`, judged by Ray itself."""

from __future__ import annotations

import copy
import dataclasses
import json
import re
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import ValidationError
from ray.autoscaler._private.util import prepare_config, validate_config

from cluster.backends.ray_up import RayUpBackend
from cluster.cluster_file import RayUpOptions, cluster_file
from cluster.health import HEALTH_CHECKS
from cluster.profile import load_profile

GOLDEN = Path(__file__).parent / "golden"
TOKEN = Path("/home/me/.local/state/caviar/ray_up/lab/token")

PROFILES = {
    "aws": RayUpOptions(
        provider="aws",
        region="eu-west-1",
        zone="eu-west-1a,eu-west-1b",
        container="registry.example.com/team/shop:1.4",
        head_type="m7i.large",
        worker_type="g6.xlarge",
        max_workers=16,
        identity="sweeps",
        worker_config={"InstanceMarketOptions": {"SpotOptions": {"MaxPrice": "0.5"}}},
    ),
    "gcp": RayUpOptions(
        provider="gcp",
        project="my-project",
        region="europe-west4",
        zone="europe-west4-a",
        image="projects/my-project/global/images/family/shop",
        head_type="e2-standard-2",
        worker_type="n2-standard-8",
        identity="sweeps@my-project.iam.gserviceaccount.com",
        caviar="caviar @ git+https://git.example.com/caviar@v0.1.0",
        setup_commands=["python3 -m venv ~/venv"],
        python="~/venv/bin/python",
        disk_gb=100,
    ),
    "machines": RayUpOptions(
        provider="machines",
        ssh_user="me",
        ssh_key="/home/me/.ssh/id_ed25519",
        head="10.0.0.1",
        workers=["10.0.0.2", "10.0.0.3"],
        caviar="/home/me/dist/caviar-0.1.0-py3-none-any.whl",
    ),
}


@pytest.fixture(autouse=True)
def versions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", {"ray": "2.60.0", "caviar": "0.1.0"}.__getitem__)


def made(name: str) -> dict[str, Any]:
    return cluster_file("lab", PROFILES[name], TOKEN)


@pytest.mark.parametrize("name", PROFILES)
def test_a_file_is_as_its_golden_file(name):
    golden = (GOLDEN / f"ray-up-{name}.yaml").read_text()
    assert yaml.safe_load(yaml.safe_dump(made(name))) == yaml.safe_load(golden)


@pytest.mark.parametrize("name", PROFILES)
def test_ray_takes_a_file(name):
    validate_config(prepare_config(copy.deepcopy(made(name))))


def test_ray_would_refuse_a_key_that_it_does_not_have():
    wrong = made("aws") | {"no_such_key": 1}
    with pytest.raises(ValidationError, match="no_such_key"):
        validate_config(prepare_config(wrong))


@pytest.mark.parametrize("name", PROFILES)
def test_every_node_starts_with_the_token_and_no_file_holds_it(name):
    content = made(name)
    assert content["file_mounts"]["~/.ray/auth_token"] == str(TOKEN)
    assert "chmod 600 ~/.ray/auth_token" in content["setup_commands"]
    starts = content["head_start_ray_commands"] + content["worker_start_ray_commands"]
    for command in starts:
        if "ray start" in command or "drain" in command:
            assert "RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$HOME/.ray/auth_token" in command
    assert "RAY_AUTH_TOKEN=" not in json.dumps(content)


@pytest.mark.parametrize("name", PROFILES)
def test_the_dashboard_listens_on_the_head_alone_and_no_port_is_opened(name):
    content = made(name)
    (start,) = [c for c in content["head_start_ray_commands"] if "ray start" in c]
    assert "--dashboard-host=127.0.0.1" in start
    for variable, value in HEALTH_CHECKS.items():
        assert f"{variable}={value}" in start
    text = json.dumps(content)
    assert "security_group" not in text
    assert "IpPermissions" not in text


def test_only_trials_run_on_spot_and_they_watch_for_the_notice():
    for name, spot in (("aws", "InstanceMarketOptions"), ("gcp", "scheduling")):
        content = made(name)
        types = content["available_node_types"]
        assert spot in types["trials"]["node_config"]
        assert spot not in types["head"]["node_config"]
        assert types["head"]["resources"] == {"CPU": 0}
        assert f"-m cluster.preemption {name}" in content["worker_start_ray_commands"][-1]
        assert "cluster.preemption" not in str(content["head_start_ray_commands"])
    assert "cluster.preemption" not in str(made("machines"))


def test_without_spot_nothing_is_watched():
    options = RayUpOptions(
        provider="aws", region="r", head_type="a", worker_type="b", spot=False, min_workers=2
    )
    content = cluster_file("lab", options, TOKEN)
    assert "InstanceMarketOptions" not in str(content)
    assert "cluster.preemption" not in str(content)
    assert content["available_node_types"]["trials"]["min_workers"] == 2


def test_what_a_profile_adds_to_a_node_goes_into_what_is_there():
    config = made("aws")["available_node_types"]["trials"]["node_config"]
    assert config["InstanceMarketOptions"] == {
        "MarketType": "spot",
        "SpotOptions": {"MaxPrice": "0.5"},
    }
    assert config["MetadataOptions"]["HttpTokens"] == "required"


def test_caviar_is_installed_from_a_wheel_that_travels_or_as_pip_finds_it():
    content = made("machines")
    wheel = "~/.caviar/caviar-0.1.0-py3-none-any.whl"
    assert content["file_mounts"][wheel] == PROFILES["machines"].caviar
    assert content["setup_commands"][-1] == f"python -m pip install --quiet {wheel}"
    last = made("gcp")["setup_commands"][-1]
    assert last.endswith("install --quiet 'caviar @ git+https://git.example.com/caviar@v0.1.0'")


def test_the_users_commands_come_before_ours_that_need_their_python():
    commands = made("gcp")["setup_commands"]
    assert commands.index("python3 -m venv ~/venv") < min(
        i for i, command in enumerate(commands) if re.search("pip install", command)
    )


@pytest.mark.parametrize("name", PROFILES)
def test_ray_takes_a_template_s_file_and_the_template_shows_its_keys(name):
    profile = load_profile(name, Path("/nowhere"))
    content = RayUpBackend.from_profile(profile).content()
    validate_config(prepare_config(content))
    of_clouds = {"region", "zone", "project", "container", "image", "head_type", "worker_type"}
    of_clouds |= {"min_workers", "max_workers", "spot", "disk_gb", "identity", "head_config"}
    of_clouds |= {"worker_config", "idle_timeout_minutes"}
    not_its = {
        "aws": {"head", "workers", "project"},
        "gcp": {"head", "workers"},
        "machines": of_clouds,
    }
    keys = {field.name for field in dataclasses.fields(RayUpOptions)}
    assert set(profile.options) == keys - not_its[name]
