"""A cluster by its name: where it is looked for, and what its file may say."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from cluster.backends.local import LocalBackend
from cluster.backends.process import ProcessBackend, ProcessOptions
from cluster.errors import ConfigError
from cluster.profile import (
    Options,
    Profile,
    load_profile,
    make_backend,
    profile_files,
)

TEMPLATES = Path(__file__).parents[2] / "cluster" / "templates"


@dataclass(frozen=True)
class Clusters:
    """Writes clusters' files."""

    home: Path
    project: Path

    def of_the_user(self, name: str, text: str) -> Path:
        return self._write(self.home / "config" / "caviar" / "clusters", name, text)

    def of_the_project(self, name: str, text: str) -> Path:
        return self._write(self.project / "conf" / "cluster", name, text)

    def _write(self, folder: Path, name: str, text: str) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{name}.yaml"
        file.write_text(text)
        return file

    def load(self, name: str) -> Profile:
        return load_profile(name, self.project)


@pytest.fixture
def clusters(home: Path, tmp_path: Path) -> Clusters:
    return Clusters(home, tmp_path / "project")


def test_a_users_file_comes_before_the_projects_and_that_before_a_template(
    clusters: Clusters,
) -> None:
    assert clusters.load("process").path == TEMPLATES / "process.yaml"
    project = clusters.of_the_project("process", "backend: process\nstorage: /of/project")
    assert clusters.load("process").path == project
    user = clusters.of_the_user("process", "backend: process\nstorage: /of/user")
    assert clusters.load("process").path == user
    assert clusters.load("process").common.storage == "/of/user"


@pytest.mark.parametrize(("name", "kind"), [("local", LocalBackend), ("process", ProcessBackend)])
def test_this_machine_needs_no_file(clusters: Clusters, name: str, kind: type) -> None:
    profile = clusters.load(name)
    assert profile.is_this_machine
    assert type(make_backend(profile)) is kind


@pytest.mark.parametrize("file", sorted(TEMPLATES.glob("*.yaml")), ids=lambda file: file.stem)
def test_a_template_begins_with_what_it_is_for_and_names_a_backend(file: Path) -> None:
    first, *_ = file.read_text().splitlines()
    assert first.startswith("# ")
    assert load_profile(file.stem, Path("/nowhere")).backend


def test_an_unknown_name_is_answered_with_the_nearest_and_with_where_was_looked(
    clusters: Clusters,
) -> None:
    clusters.of_the_user("gpus", "backend: process")
    with pytest.raises(ConfigError) as refused:
        clusters.load("gpu")
    said = str(refused.value)
    assert "there is no cluster 'gpu'; did you mean gpus" in said
    assert " gpus, " in said
    for folder in (clusters.home / "config/caviar/clusters", clusters.project / "conf/cluster"):
        assert str(folder) in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("backend: process\nenv: {a: 1", "line 2, column 11"),
        ("backend: process\n\tstorage: x", "line 2, column 1"),
        ("- process", "must be a mapping such as backend: ray"),
        ("", "must be a mapping"),
        ("storage: /x", "backend is None; it must be one of local, process, ray"),
        ("backend: proces", "backend is 'proces'"),
        ("backend: proces", "did you mean process?"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_the_place(
    clusters: Clusters, text: str, said: str
) -> None:
    file = clusters.of_the_project("mine", text)
    with pytest.raises(ConfigError) as refused:
        clusters.load("mine")
    assert str(refused.value).startswith(str(file))
    assert said in str(refused.value)


def test_a_file_that_is_not_text_is_named(clusters: Clusters) -> None:
    file = clusters.of_the_project("mine", "")
    file.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ConfigError, match=r"mine.yaml cannot be read"):
        clusters.load("mine")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("storag: /x", "cluster mine.storag is not an option; did you mean cluster mine.storage?"),
        ("stop_s: soon", "cluster mine.stop_s is 'soon'; it must be a number"),
        ("stop_s: 0", "cluster mine.stop_s is 0; it must be above 0"),
        ("env: [A]", "cluster mine.env is ['A']; it must be a mapping"),
    ],
)
def test_a_wrong_key_or_value_is_refused_before_anything_runs(
    clusters: Clusters, text: str, said: str
) -> None:
    clusters.of_the_project("mine", f"backend: process\n{text}")
    with pytest.raises(ConfigError) as refused:
        make_backend(clusters.load("mine"))
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("adress: http://x:1", "mine.adress is not an option; did you mean cluster mine.address?"),
        ("storage: /x", "cluster mine.address is not set, and it is needed"),
    ],
)
def test_a_key_that_is_needed_and_misspelt_is_named(
    clusters: Clusters, text: str, said: str
) -> None:
    clusters.of_the_project("mine", f"backend: ray\n{text}")
    with pytest.raises(ConfigError, match=said.replace("?", "[?]")):
        make_backend(clusters.load("mine"))


def test_the_common_keys_are_read_whatever_else_a_backend_takes(clusters: Clusters) -> None:
    clusters.of_the_project(
        "mine", "backend: ray\naddress: http://x:1\nstorage: /shared\ncode: {travels: shared}"
    )
    profile = clusters.load("mine")
    assert profile.common == Options(storage="/shared", code={"travels": "shared"})
    assert profile.code.travels == "shared"
    assert not profile.is_this_machine

    clusters.of_the_project("mine", "backend: ray\ncode: {travel: shared}")
    with pytest.raises(ConfigError, match=r"mine.code.travel is not an option; did you mean"):
        _ = clusters.load("mine").code


def test_all_that_is_there_is_listed_once(clusters: Clusters) -> None:
    clusters.of_the_project("mine", "backend: process")
    file = clusters.of_the_user("mine", "backend: process")
    found = profile_files(clusters.project)
    assert found["mine"] == file
    assert {"local", "process", "mine"} <= found.keys()


def test_options_that_are_not_given_have_their_defaults() -> None:
    profile = Profile(name="mine", path=None, backend="process", options={"stop_s": "5"})
    assert profile.read(ProcessOptions) == ProcessOptions(stop_s=5.0)
