"""What is recorded of a training: machine, code, data; and how two of them differ."""

from __future__ import annotations

import json
import re
import subprocess
import zipfile
from collections.abc import Callable
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from cluster.backend import Code
from cluster.project import Package
from sweeps.journal.status import Decision
from sweeps.planning.resources import Resources
from sweeps.provenance import code as code_module
from sweeps.provenance.code import code_note, code_state, differs
from sweeps.provenance.difference import differences
from sweeps.provenance.driver import begun, gone_on, of_run
from sweeps.provenance.machine import identity, machine, packages
from sweeps.provenance.segments import read_segments
from sweeps.provenance.trial import Provenance, of, read_diff, stood_on
from sweeps.results import load_sweep
from sweeps.storage import fingerprint as data_module
from sweeps.storage.fingerprint import fingerprint
from sweeps.storage.folder import SweepFolder
from sweeps.worker.recorder import Recorder


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A git checkout of one committed file."""
    root = tmp_path / "project"
    root.mkdir()
    (root / "app.py").write_text("x = 1\n")
    git(root, "init", "-q", "-b", "main")
    git(root, "add", ".")
    git(root, "-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-qm", "first")
    return root


def git(root: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(root), *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout


def states(checkout: Path) -> dict[str, Any]:
    found = code_state(checkout)
    assert found is not None
    return found


# The machine


def test_every_installed_package_is_recorded_as_its_metadata_has_it() -> None:
    known = {
        re.sub(r"[-_.]+", "-", found.name).lower(): found.version
        for found in metadata.distributions()
    }
    assert known.items() <= packages().items()
    assert known["numpy"] == packages()["numpy"]


def test_a_machine_is_known_by_what_changes_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    here = machine()
    assert here["variables"]["OMP_NUM_THREADS"] == "3"
    assert here["cpu"]["model"]
    assert json.loads(json.dumps(here)) == here
    monkeypatch.setenv("SOMETHING_ELSE", "5")
    assert identity(machine()) == identity(here)
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert identity(machine()) != identity(here)


# Data


def test_a_file_is_known_by_its_bytes(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"rows")
    two.write_bytes(b"rows")
    assert fingerprint(one) == fingerprint(two) == fingerprint(b"rows")
    two.write_bytes(b"rowt, and more")
    assert fingerprint(one) != fingerprint(two)
    assert fingerprint("v7 of the registry") == "v7 of the registry"


def test_a_folder_is_known_by_its_files_and_their_names(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "rows").write_bytes(b"1")
    before = fingerprint(tmp_path)
    (tmp_path / "a" / "b" / "rows").rename(tmp_path / "a" / "rows")
    moved = fingerprint(tmp_path)
    (tmp_path / "a" / "rows").write_bytes(b"22")
    assert len({before, moved, fingerprint(tmp_path)}) == 3


@pytest.mark.parametrize("place", [0, -1])
def test_of_what_is_large_samples_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: int
) -> None:
    for name, value in (("WHOLE_BYTES", 100), ("BLOCK_BYTES", 8), ("SAMPLES", 4)):
        monkeypatch.setattr(data_module, name, value)
    rows = bytearray(1000)
    file, folder = tmp_path / "folder" / "rows", tmp_path / "folder"
    folder.mkdir()
    file.write_bytes(rows)
    before = fingerprint(file), fingerprint(folder)
    rows[place] = 1
    file.unlink()
    file.write_bytes(rows)
    after = fingerprint(file), fingerprint(folder)
    assert all(each.startswith("sampled:") for each in (*before, *after))
    assert before[0] != after[0]
    assert before[1] != after[1]


# Code


def test_a_clean_checkout_is_its_commit(checkout: Path) -> None:
    state = states(checkout)
    assert state["commit"] == git(checkout, "rev-parse", "HEAD").strip()
    assert (state["branch"], state["sha256"], state["diff"]) == ("main", None, "")


def test_what_is_not_committed_can_be_applied_again(checkout: Path, tmp_path: Path) -> None:
    (checkout / "app.py").write_text("x = 2\n")
    (checkout / "new module.py").write_text("y = 3\n")
    (checkout / "rows.bin").write_bytes(b"\0" * 10)
    (checkout / "outputs").mkdir()
    (checkout / "outputs" / "config.yaml").write_text("lr: 1\n")
    before = git(checkout, "status", "--porcelain")
    state = states(checkout)
    assert state["untracked"] == ["new module.py"]
    assert git(checkout, "status", "--porcelain") == before

    again = tmp_path / "again"
    git(tmp_path, "clone", "-q", str(checkout), str(again))
    (tmp_path / "code.diff").write_text(state["diff"])
    git(again, "apply", str(tmp_path / "code.diff"))
    assert (again / "app.py").read_text() == "x = 2\n"
    assert (again / "new module.py").read_text() == "y = 3\n"
    assert differs(states(checkout), None)
    assert not differs(state, states(checkout))


def test_the_difference_tells_no_secret_not_even_by_its_hash(checkout: Path) -> None:
    (checkout / "app.py").write_text('API_KEY = "sk-first-secret"\n')
    (checkout / "deploy.yaml").write_text("password: hunter22\n")
    first = states(checkout)
    assert "hunter22" not in first["diff"]
    assert "sk-first" not in json.dumps(first)
    assert first["diff"].count("***") == 2
    (checkout / "app.py").write_text('API_KEY = "sk-second-secret"\n')
    assert states(checkout) == first


def test_what_sweeps_exports_and_reproductions_wrote_is_no_code(checkout: Path) -> None:
    clean = states(checkout)
    export = {"metrics.json": '{"verified": true, "sha256": {}}', "source/models/net.py": "x = 1\n"}
    reproduction = {"rerun.log": "", "environments/a.json": "{}", "trials/0/1/provenance.json": ""}
    sweep = {"sweep.yaml": "name: one\n", "environments/a.json": "{}"}
    for place, files in (("model", export), ("again", reproduction), ("mine/one", sweep)):
        for name, text in files.items():
            (checkout / place / name).parent.mkdir(parents=True, exist_ok=True)
            (checkout / place / name).write_text(text)
    assert states(checkout) == clean
    (checkout / "scores").mkdir()
    (checkout / "scores" / "metrics.json").write_text('{"accuracy": 0.9}')
    assert states(checkout)["untracked"] == ["scores/metrics.json"]


def test_a_long_difference_is_a_file_beside(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(code_module, "INLINE_BYTES", 10)
    (checkout / "app.py").write_text("x = 2\n")
    folder, state = SweepFolder(tmp_path), states(checkout)
    kept = begun({"git": state}, folder)["git"]
    assert kept["diff"] == ""
    assert kept["diff_file"] == "code-1.diff"
    assert read_diff(folder, kept) == state["diff"]
    assert not differs(kept, state)


def test_code_that_was_sent_without_git_brings_its_state_along(
    checkout: Path, tmp_path: Path
) -> None:
    (checkout / "app.py").write_text("x = 2\n")
    package = Package.of(Code(root=checkout, notes=code_note(checkout)))
    package.zip(tmp_path / "package.zip")
    there = tmp_path / "there"
    with zipfile.ZipFile(tmp_path / "package.zip") as packed:
        packed.extractall(there)
    (there / "inner").mkdir()
    assert code_state(there / "inner") == states(checkout)


def test_a_folder_without_git_has_no_state(tmp_path: Path) -> None:
    assert code_state(tmp_path) is None


def test_a_driver_that_goes_on_with_other_code_notes_it(checkout: Path, tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path)
    now = {"python": "3.11", "versions": {"torch": "2"}, "git": states(checkout), "cpus": 2}
    first = begun(now, folder)
    assert gone_on(first, now, folder, 2) == first
    (checkout / "app.py").write_text("x = 2\n")
    third = gone_on(first, {**now, "git": states(checkout), "versions": {"torch": "3"}}, folder, 3)
    assert of_run(third, 2)["versions"] == {"torch": "2"}
    assert of_run(third, 3)["versions"] == {"torch": "3"}
    assert "x = 2" in of_run(third, 3)["git"]["diff"]
    assert of_run(third, 3)["python"] == "3.11"


# Beside a trial's job


def segments_of(folder: SweepFolder, job: Path) -> list[tuple[int, str]]:
    found = read_segments(folder.provenance(job))
    return [(segment["step"], segment["environment"]) for segment in found]


def test_a_segment_is_noted_at_its_first_report_and_again_only_where_something_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, job = SweepFolder(tmp_path), tmp_path / "trials" / "0" / "1"
    recorder, data = Recorder(folder, Resources()), {"train": "v1"}

    def train(first: int) -> None:
        segment = recorder.segment(job, seed=5, data=data)
        send = segment.before(lambda *report: Decision.CONTINUE)
        for step in (first, first + 1):
            assert send(step, {}, None, False) is Decision.CONTINUE
        segment.end()

    train(1)
    train(3)
    assert [step for step, _ in segments_of(folder, job)] == [1]
    data["train"] = "v2"
    train(5)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    train(7)
    found = segments_of(folder, job)
    assert [step for step, _ in found] == [1, 5, 7]
    assert len({environment for _, environment in found}) == 2
    kept = sorted(file.stem for file in (tmp_path / "environments").iterdir())
    assert kept == sorted({environment for _, environment in found})
    stood = stood_on(folder, [job])
    assert [each.data["train"] for each in stood] == ["v1", "v2", "v2"]
    assert stood[-1].machine["variables"]["OMP_NUM_THREADS"] == "7"


def test_a_task_that_reports_nothing_is_noted_at_its_end(tmp_path: Path) -> None:
    folder, job = SweepFolder(tmp_path), tmp_path / "trials" / "0" / "1"
    Recorder(folder, Resources()).segment(job, seed=5, data={}).end()
    (only,) = stood_on(folder, [job])
    assert (only.step, only.seed) == (0, 5)


def test_of_an_older_caviars_sweep_what_is_known_is_told(
    make_sweep: Callable[..., Any],
) -> None:
    made = make_sweep()
    made.ask(0, lr=0.1)
    found = of(load_sweep(made.folder), 0)
    assert (found.stood, found.code, found.config) == ([], None, {})
    assert found.sweep_seed == 7
    assert found.versions == {}


# Differences


@pytest.fixture
def provenance(tmp_path: Path) -> Provenance:
    folder, job = SweepFolder(tmp_path), tmp_path / "trials" / "0" / "1"
    Recorder(folder, Resources()).segment(job, seed=5, data={"train": "v1"}).end()
    return Provenance(
        trial=0,
        sweep_seed=1,
        config={},
        code={"commit": "a" * 40, "sha256": None},
        driver={},
        stood=stood_on(folder, [job]),
    )


def test_the_same_differs_in_nothing(provenance: Provenance) -> None:
    assert differences(provenance, provenance) == []


def test_each_recorded_thing_that_differs_is_told(provenance: Provenance) -> None:
    last = provenance.last
    assert last is not None
    other = {
        **last.machine,
        "packages": {**last.machine["packages"], "numpy": "0.1"},
        "cpu": {**last.machine["cpu"], "model": "Z80"},
    }
    now = replace(
        provenance,
        code={"commit": "a" * 40, "sha256": "b"},
        stood=[replace(last, seed=6, machine=other, data={"train": "v2"}, host="elsewhere")],
    )
    told = {(d.kind, d.what): (d.then, d.now) for d in differences(provenance, now)}
    assert told == {
        ("code", "git"): ("a" * 12, "a" * 12 + " with uncommitted changes"),
        ("seed", "seed of the generators"): ("5", "6"),
        ("data", "train"): ("v1", "v2"),
        ("package", "numpy"): (packages()["numpy"], "0.1"),
        ("cpu", "model"): (last.machine["cpu"]["model"], "Z80"),
    }
