"""How often test data was looked at is counted, whoever looks, and nothing that chooses looks."""

from __future__ import annotations

import json
import multiprocessing
import time
from pathlib import Path

import pytest

from cluster.bucket import Bucket
from sweeps.retest.looks import Look, looks, note_look, record_look, said_looks
from sweeps.storage.folder import SweepFolder, find_sweep


def folder_in(place: Path) -> SweepFolder:
    (place / "s").mkdir()
    return SweepFolder(place / "s")


def test_a_look_is_kept_with_its_time_and_what_was_measured(tmp_path: Path) -> None:
    folder, before = folder_in(tmp_path), time.time()
    record_look(folder, "export of trial 7", metrics=["accuracy", "loss"])
    (look,) = looks(folder)

    assert before <= look.time <= time.time()
    assert look.what == "export of trial 7"
    assert look.metrics == ("accuracy", "loss")


def test_looks_are_only_ever_added(tmp_path: Path) -> None:
    folder = folder_in(tmp_path)
    record_look(folder, "first")
    written = folder.looks.read_bytes()
    record_look(folder, "second")

    assert folder.looks.read_bytes().startswith(written)
    assert [look.what for look in looks(folder)] == ["first", "second"]


def test_a_sweep_that_nobody_tested_says_so(tmp_path: Path) -> None:
    folder = folder_in(tmp_path)
    assert looks(folder) == []
    assert said_looks(folder) == "The test split was not looked at."

    record_look(folder, "export of trial 1")
    assert said_looks(folder) == (
        "The test split was looked at once, last for the export of trial 1."
    )
    record_look(folder, "ensemble of trials 1, 2")
    assert "2 times, last for the ensemble of trials 1, 2." in said_looks(folder)


def _look_often(path: Path, who: int) -> None:
    for i in range(50):
        record_look(SweepFolder(path), f"{who}-{i}")


def test_those_who_look_at_once_are_all_counted(tmp_path: Path) -> None:
    folder = folder_in(tmp_path)
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_look_often, args=(folder.path, n)) for n in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)

    assert sorted(look.what for look in looks(folder)) == sorted(
        f"{who}-{i}" for who in range(4) for i in range(50)
    )


def test_half_a_line_that_a_crash_left_swallows_no_other(tmp_path: Path) -> None:
    folder = folder_in(tmp_path)
    record_look(folder, "whole")
    with folder.looks.open("ab") as file:
        file.write(b'{"time": 1.0, "wh')
    record_look(folder, "after the crash")

    assert [look.what for look in looks(folder)] == ["whole", "after the crash"]


def test_lines_of_something_else_are_no_looks(tmp_path: Path) -> None:
    folder = folder_in(tmp_path)
    folder.looks.write_text('[]\nnull\n{"time": "x", "what": "a", "metrics": []}\n')

    assert looks(folder) == []


def test_a_look_is_plain_json(tmp_path: Path) -> None:
    folder = folder_in(tmp_path)
    look = record_look(folder, "export of trial 7", metrics=["loss"])

    line = json.loads(folder.looks.read_text())
    assert Look(**line | {"metrics": tuple(line["metrics"])}) == look


def test_a_folder_that_takes_no_look_is_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = SweepFolder(tmp_path / "gone")
    note_look(folder, "export of trial 7")

    assert "export of trial 7" in caplog.text
    assert "was not noted" in caplog.text


def test_in_a_bucket_each_look_is_an_object_of_its_own(make_sweep, bucket: str) -> None:
    place = put(make_sweep(), bucket)
    record_look(place, "first")
    record_look(find_sweep(f"{bucket}/sweeps/sweep"), "second")

    assert [look.what for look in looks(place)] == ["first", "second"]


def put(made, bucket: str) -> SweepFolder:
    """The made sweep, in a bucket."""
    place = Bucket.parse(f"{bucket}/sweeps/sweep")
    place.upload({"sweep.yaml": made.folder.sweep_yaml})
    return find_sweep(str(place))
