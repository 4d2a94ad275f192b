"""From a command line to what is sent: everything wrong is said before, and nothing is written."""

from __future__ import annotations

import json
import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from cluster.ledger import Entry, Ledger
from sweeps.submission.found import find_sweep_or_entry

APP = """\
import hydra
from omegaconf import DictConfig, OmegaConf
{imports}

@hydra.main(version_base=None, config_path="conf", config_name="app")
def main(cfg: DictConfig) -> float:
    return float(cfg.lr)


if __name__ == "__main__":
    main()
"""
LR = "lr=interval(0,1)"
NAMED = ("hydra.sweeper.name=one", "hydra.sweeper.resume=auto")
RAY = "backend: ray\naddress: http://127.0.0.1:1\n"


@dataclass(frozen=True)
class Project:
    """A project with an app in a folder of it, and clusters."""

    root: Path
    start: object

    def cluster(self, name: str, text: str) -> None:
        file = self.root / "conf" / "cluster" / f"{name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def submit(self, *arguments: str, cluster: str = "process", verb: str = "submit"):
        name = [] if verb == "resume" else ["--cluster", cluster]
        return self.start.caviar(verb, *arguments, *name, "--dry-run")

    def sent(self, *arguments: str, cluster: str = "process", verb: str = "submit") -> list[str]:
        """The words behind `python -m sweeps.cli`."""
        done = self.submit(*arguments, cluster=cluster, verb=verb)
        assert done.code == 0, done.err
        words = shlex.split(done.out.splitlines()[-1])
        return words[words.index("sweeps.cli") + 1 :]

    def refused(self, *arguments: str, cluster: str = "process", verb: str = "submit") -> str:
        """What is said of it, in one message."""
        done = self.submit(*arguments, cluster=cluster, verb=verb)
        assert done.code == 2, done
        assert not done.out
        assert "Traceback" not in done.err
        return done.err


@pytest.fixture
def project(home, tmp_path, start, monkeypatch) -> Project:
    root = tmp_path / "project"
    (root / "apps" / "conf").mkdir(parents=True)
    (root / "pyproject.toml").touch()
    (root / "apps" / "app.py").write_text(APP.format(imports=""))
    (root / "apps" / "conf" / "app.yaml").write_text("lr: 0.1\nnet: {width: 8}\n")
    monkeypatch.chdir(root)
    return Project(root, start)


def values(words: list[str]) -> dict[str, str]:
    """Of `hydra.sweeper`."""
    pairs = [word.removeprefix("hydra.sweeper.").partition("=") for word in words]
    return {key: value for key, equals, value in pairs if equals}


# What is sent


def test_a_command_begins_the_sweep_or_goes_on_with_it(project) -> None:
    words = project.sent("apps/app.py", LR, "hydra.sweeper.num_samples=4")

    assert words[:4] == ["sweep", "apps/app.py", LR, "hydra.sweeper.num_samples=4"]
    assert words[4].startswith("hydra.sweeper.name=app-")
    assert words[5:] == [
        f"hydra.sweeper.storage_path={project.root}/outputs/sweeps",
        "hydra.sweeper.resume=auto",
    ]
    assert not (project.root / "outputs").exists()
    assert Ledger().read() == ([], [])


def test_a_name_is_made_of_the_app_the_user_and_the_time(project, monkeypatch) -> None:
    monkeypatch.setenv("LOGNAME", "ann marie")
    name = values(project.sent("apps/app.py", LR))["name"]
    assert name.startswith("app-ann_marie-20")

    monkeypatch.delenv("LOGNAME")
    for variable in ("USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(variable, raising=False)

    def nobody(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setattr("pwd.getpwuid", nobody)  # as in a container
    name = values(project.sent("apps/app.py", LR))["name"]
    assert name.startswith(f"app-{os.getuid()}-20")


def test_the_app_is_named_from_the_projects_root_wherever_the_command_is_given(
    project, monkeypatch
) -> None:
    monkeypatch.chdir(project.root / "apps")
    assert project.sent("app.py", LR)[1] == "apps/app.py"
    assert project.sent("app.py", LR, "--config-dir", "conf")[2:4] == ["--config-dir", "apps/conf"]
    assert project.sent("app.py", LR, "-cd=conf")[2] == "-cd=apps/conf"
    monkeypatch.chdir("/")
    assert project.sent(str(project.root / "apps" / "app.py"), LR)[1] == "apps/app.py"
    assert Path.cwd() == Path("/")


def test_a_module_is_found_from_the_root_and_in_src(project) -> None:
    package = project.root / "src" / "shop"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "scale.py").write_text("TWO = 2\n")
    text = APP.format(imports="from shop.scale import TWO")
    (package / "train.py").write_text(text.replace('"conf"', '"../../apps/conf"'))
    before = list(sys.path)

    assert project.sent("-m", "shop.train", LR)[:3] == ["sweep", "-m", "shop.train"]
    shown = project.submit("-m", "shop.train", LR).out
    assert f"PYTHONPATH={project.root}/src" in shown
    assert sys.path == before


def test_values_that_hydra_would_not_read_plainly_are_quoted(project) -> None:
    place = project.root / "my sweeps"
    words = project.sent("apps/app.py", LR, f"hydra.sweeper.storage_path='{place}'")
    assert f"hydra.sweeper.storage_path='{place}'" in words


def test_a_clusters_storage_is_the_profiles_unless_the_command_line_says_another(project) -> None:
    project.cluster("far", f"{RAY}storage: /shared/sweeps\n")
    shown = project.submit("apps/app.py", LR, cluster="far").out
    assert "hydra.sweeper.storage_path=/shared/sweeps" in shown
    other = "hydra.sweeper.storage_path=/other"
    shown = project.submit("apps/app.py", LR, other, cluster="far").out
    assert other in shown
    assert "/shared" not in shown


@pytest.mark.usefixtures("fresh_clients")
def test_a_bucket_that_only_the_cluster_reaches_is_not_asked_for_a_name_that_is_made_here(
    project, monkeypatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    project.cluster("far", f"{RAY}storage: s3://bucket/sweeps\n")
    shown = project.submit("apps/app.py", LR, cluster="far").out
    assert "hydra.sweeper.storage_path=s3://bucket/sweeps" in shown


@pytest.mark.usefixtures("fresh_clients")
def test_a_preview_needs_no_bucket(project, monkeypatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    project.cluster("far", f"{RAY}storage: s3://bucket/sweeps\n")
    done = project.submit("apps/app.py", LR, "hydra.sweeper.name=one", cluster="far")
    assert "hydra.sweeper.name=one" in done.out, done.err


def test_an_option_that_is_none_is_named_with_the_nearest(project) -> None:
    told = project.refused("--clusterx", "a", "apps/app.py", LR)
    assert "there is no option --clusterx; did you mean --cluster?" in told


def test_the_environment_of_a_profile_goes_along(project) -> None:
    project.cluster("mine", "backend: process\nenv: {OMP_NUM_THREADS: 1}\n")
    assert "OMP_NUM_THREADS=1" in project.submit("apps/app.py", LR, cluster="mine").out


# What is refused


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("+api_key=sk-1", "+api_key='${oc.env:API_KEY}'"),
        ("+wandb={token: sk-1}", "+wandb='${oc.env:WANDB}'"),
        ("++hub.token=sk-1", "++hub.token='${oc.env:HUB_TOKEN}'"),
    ],
)
def test_a_secret_is_refused_and_not_repeated(project, override: str, said: str) -> None:
    told = project.refused("apps/app.py", LR, override)
    assert said in told
    assert "sk-1" not in told
    assert project.sent("apps/app.py", LR, "+api_key=${oc.env:KEY}")


def test_a_secret_in_the_environment_of_a_profile_is_refused(project) -> None:
    project.cluster("mine", "backend: process\nenv: {WANDB_API_KEY: sk-1}\n")
    told = project.refused("apps/app.py", LR, cluster="mine")
    assert "cluster mine.env.WANDB_API_KEY" in told
    assert "sk-1" not in told


def test_storage_that_only_one_machine_has_is_refused_on_a_cluster(project) -> None:
    project.cluster("far", RAY)
    told = project.refused("apps/app.py", LR, cluster="far")
    assert "cluster far.storage is not set" in told
    told = project.refused(
        "apps/app.py", LR, "hydra.sweeper.storage_path=outputs/sweeps", cluster="far"
    )
    assert "hydra.sweeper.storage_path is 'outputs/sweeps'" in told
    assert "an absolute path that every node shares, or s3://bucket/folder" in told
    project.cluster("far", f"{RAY}storage: sweeps\n")
    assert "cluster far.storage is 'sweeps'" in project.refused("apps/app.py", LR, cluster="far")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["apps/app.py", "lrr=interval(0,1)"], ["lrr is not in the app's config", "did you mean"]),
        (["apps/app.py", "lr=0.5"], ["nothing to sweep"]),
        (["apps/app.py", LR, "net.width=interval("], ["interval("]),
        (["apps/app.py", LR, "hydra.sweeper.num_sample=3"], ["did you mean hydra.sweeper.num_sam"]),
        (["apps/app.py", LR, "hydra/sweeper=basic"], ["hydra/sweeper=basic", "by caviar"]),
        (["apps/app.py", LR, "hydra.sweeper.dry_run=true"], ["caviar submit --dry-run"]),
        (["apps/app.py", LR, "--cfg", "job"], ["--cfg job", "`caviar sweep` does"]),
        (["apps/ap.py", LR], ["'apps/ap.py' is neither a file nor an override"]),
        (["-m", "apps.nope", LR], ["there is no such module"]),
    ],
)
def test_what_cannot_be_composed_is_refused_before_anything_is_sent(
    project, arguments: list[str], said: list[str]
) -> None:
    told = project.refused(*arguments)
    for part in said:
        assert part in told


def test_an_app_that_begins_no_sweep_is_refused(project) -> None:
    (project.root / "plain.py").write_text("print('hello')\n")
    done = project.submit("plain.py", LR)
    assert done.code == 2
    assert "plain.py did not begin a sweep" in done.err


def test_an_app_outside_of_the_project_is_refused(project) -> None:
    elsewhere = project.root.parent / "elsewhere"
    elsewhere.mkdir()
    project.cluster("mine", f"backend: process\ncode: {{root: '{elsewhere}'}}\n")
    told = project.refused("apps/app.py", LR, cluster="mine")
    assert f"lies outside of the project's root, {elsewhere}" in told


def test_caviars_own_app_is_sent_to_a_cluster_from_its_checkout_alone(project) -> None:
    project.cluster("far", f"{RAY}storage: /shared\n")
    told = project.refused("optimizer.lr=interval(0,1)", cluster="far")
    assert "caviar's own app is sent from its checkout" in told


def test_an_unknown_cluster_is_refused(project) -> None:
    assert "there is no cluster 'proces'" in project.refused("apps/app.py", LR, cluster="proces")


# Names, and going on


def begun(project, make_sweep_in, name: str = "one"):
    """A sweep of the app, as it lies in the project's storage."""
    storage = project.root / "outputs" / "sweeps"
    return make_sweep_in(storage, {"lr": "interval(0, 1)"}, name=name, metric="objective")


def noted(project, **told) -> Entry:
    entry = Entry(
        **{
            "handle": "process://nowhere/1",
            "name": "one",
            "cluster": "process",
            "storage": str(project.root / "outputs" / "sweeps"),
            "arguments": ("sweep", "apps/app.py", LR, *NAMED),
            "root": str(project.root),
            "cwd": "/",
            **told,
        }
    )
    Ledger().add(entry)
    return entry


def test_a_name_that_is_taken_on_that_storage_is_refused(project, make_sweep_in) -> None:
    begun(project, make_sweep_in)
    told = project.refused("apps/app.py", LR, "hydra.sweeper.name=one")
    assert "hydra.sweeper.name is 'one', and there is a sweep of that name" in told
    assert "caviar resume one" in told
    assert "hydra.sweeper.resume=auto" in told
    assert project.sent("apps/app.py", LR, "hydra.sweeper.name=two")


def test_a_name_that_was_submitted_and_waits_is_taken_too(project) -> None:
    entry = noted(project)
    told = project.refused("apps/app.py", LR, "hydra.sweeper.name=one")
    assert f"caviar resume {entry.id}" in told
    elsewhere = ["hydra.sweeper.name=one", f"hydra.sweeper.storage_path={project.root}/other"]
    assert project.sent("apps/app.py", LR, *elsewhere)


def test_a_sweep_that_is_meant_goes_on_unless_it_was_begun_otherwise(
    project, make_sweep_in
) -> None:
    begun(project, make_sweep_in)
    on = ["hydra.sweeper.name=one", "hydra.sweeper.resume=auto"]
    told = project.refused("apps/app.py", LR, *on)
    assert "one was begun with" in told  # another searcher: the default

    words = project.sent("apps/app.py", LR, "hydra.sweeper.name=two", "hydra.sweeper.resume=true")
    assert values(words)["resume"] == "auto"


def test_what_was_submitted_is_submitted_again_and_extended(project) -> None:
    entry = noted(project)
    words = project.sent(entry.id, "hydra.sweeper.num_samples=64", verb="resume")
    assert words[:3] == ["sweep", "apps/app.py", LR]
    assert values(words)["num_samples"] == "64"
    assert values(words)["name"] == "one"
    assert values(words)["resume"] == "auto"


def test_a_name_that_was_submitted_is_submitted_again_and_a_folder_goes_on_here(
    project, make_sweep_in
) -> None:
    folder = begun(project, make_sweep_in).folder
    assert find_sweep_or_entry("one") == folder
    noted(project, storage=f"{project.root}/other")  # another sweep of that name
    assert find_sweep_or_entry("one") == folder
    entry = noted(project)
    noted(project, storage="s3://bucket/sweeps")
    assert find_sweep_or_entry("one") == entry
    for path in ("outputs/sweeps/one", "./outputs/sweeps/one", str(folder.path)):
        assert find_sweep_or_entry(path) == folder


def test_a_secret_that_was_not_kept_has_to_be_given_again(project) -> None:
    entry = noted(project, arguments=("sweep", "apps/app.py", LR, "+api_key=***"))
    told = project.refused(entry.id, verb="resume")
    assert "api_key: no secret was kept of it, so give it again" in told


def test_a_project_that_is_gone_is_said(project) -> None:
    entry = noted(project, root=str(project.root / "gone"))
    assert "it was submitted from" in project.refused(entry.id, verb="resume")


def test_the_ledger_keeps_no_secret(project) -> None:
    from cluster.backend import Code, Submission
    from cluster.profile import load_profile
    from sweeps.submission.submit import Prepared

    submission = Submission(
        name="one",
        arguments=("sweep", "app.py", "+api_key=sk-1", "hydra.sweeper.name=one"),
        code=Code(root=project.root),
        storage="/data",
    )
    profile = load_profile("process", project.root)
    Ledger().add(Prepared(profile=profile, submission=submission).entry("process://h/1"))
    (file,) = Ledger().folder.iterdir()
    assert "sk-1" not in file.read_text()
    assert "+api_key=***" in json.loads(file.read_text())["arguments"]


def test_resume_names_what_it_does_not_know_and_the_nearest(project) -> None:
    noted(project)
    told = project.refused("onne", verb="resume")
    assert "no sweep 'onne'" in told
    assert "among what was submitted: one" in told
    told = project.refused("process://nowhere/2", verb="resume")
    assert "no submission 'process://nowhere/2': the latest are one" in told
