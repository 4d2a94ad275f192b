"""The doctor by itself: what of a profile and a project can be said before there is a sweep."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cluster.parcel import WARN_BYTES
from sweeps.cli import main

NOBODY = "address: http://127.0.0.1:1"
"""A cluster that is not there: what is looked at here comes before it."""


@pytest.fixture
def doctor(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Looks at a Ray cluster of a profile, from within a project of the given files."""

    def look(profile: str, *, backend: str = "ray", **files: int) -> tuple[int, str]:
        root = tmp_path / "project"
        (root / "deep").mkdir(parents=True)
        (root / "pyproject.toml").touch()
        for name, size in files.items():
            with (root / name).open("wb") as file:
                file.truncate(size)
        clusters = home / "config" / "caviar" / "clusters"
        clusters.mkdir(parents=True)
        (clusters / "lab.yaml").write_text(f"backend: {backend}\n{profile}")
        monkeypatch.chdir(root / "deep")
        monkeypatch.setenv("COLUMNS", "500")
        code = main(["doctor", "--cluster", "lab"])
        said = capsys.readouterr()
        return code, said.out + said.err

    return look


@pytest.mark.parametrize(
    ("profile", "said"),
    [
        ("storage: outputs/x", "cluster lab.storage is 'outputs/x', which every node takes for"),
        ("env: {WANDB_API_KEY: abc}", "cluster lab.env.WANDB_API_KEY: a cluster shows"),
        ("stop_s: -3", "cluster lab.stop_s is -3; it must be above 0"),
        ("driver_cpus: -1", "cluster lab.driver_cpus is -1; it must be 0 or more"),
    ],
)
def test_what_submit_refuses_of_a_profile_is_refused(doctor, profile: str, said: str) -> None:
    code, told = doctor(f"{NOBODY}\n{profile}")
    assert code == 2
    assert said in told
    assert "abc" not in told
    assert "a sweep can run" not in told


def test_a_storage_that_is_not_said_is_a_warning(doctor) -> None:
    _, told = doctor(NOBODY)
    assert "warn place" in told
    assert "hydra.sweeper.storage_path" in told


def test_the_projects_package_and_its_secrets_are_looked_at_from_its_root(doctor) -> None:
    files = {"weights.pt": WARN_BYTES + 1, ".env.prod": 1, "id_rsa": 1, "server.pem": 1}
    _, told = doctor(f"{NOBODY}\nstorage: /shared", **files)
    assert "sweeps are kept in /shared" in told
    assert "warn package" in told
    assert "weights.pt 90.0 MiB" in told
    assert "look like secrets: .env.prod, id_rsa, server.pem" in told


def test_what_is_excluded_or_there_already_is_not_weighed(doctor) -> None:
    excluded = "code: {excludes: [weights.pt]}"
    _, told = doctor(f"{NOBODY}\n{excluded}", **{"weights.pt": WARN_BYTES + 1})
    assert "ok   package" in told


def test_code_that_does_not_travel_is_not_weighed(doctor) -> None:
    _, told = doctor(f"{NOBODY}\ncode: {{travels: shared}}")
    assert "package" not in told


def test_a_storage_of_this_machine_is_looked_at(doctor) -> None:
    code, told = doctor("storage: /proc/sweeps", backend="process")
    assert code == 1
    assert "/proc cannot be written" in told


def test_a_name_of_any_length_stands_apart_from_what_was_found(capsys) -> None:
    from cluster.backend import Check
    from sweeps.commands.doctor import all_hold
    from sweeps.render import make_console

    all_hold([Check(name="authentication", ok=True, what="token")], make_console())
    assert "ok   authentication token" in capsys.readouterr().out
