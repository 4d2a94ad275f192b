"""A checkpoint's path in the config of an app that takes one: `hydra.sweeper.checkpoint_key`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf

from sweeps.results import load_sweep
from sweeps.storage.folder import find_sweep
from sweeps.worker.continuing import continued, note, set_all

ASHA = (
    "takes.py",
    "x=interval(0,4)",
    "hydra/sweeper/scheduler=asha",
    "hydra.sweeper.scheduler.max_t=9",
    "hydra.sweeper.metric=loss",
    "hydra.sweeper.mode=min",
    "hydra.sweeper.seed=3",
)
KEY = "hydra.sweeper.checkpoint_key=ckpt_path"


def test_a_fresh_start_and_a_sweep_without_the_key_set_nothing(tmp_path: Path) -> None:
    assert continued("ckpt_path", None) == {}
    assert continued(None, tmp_path) == {}


def test_a_checkpoint_of_one_file_is_given_as_the_file(tmp_path: Path) -> None:
    (tmp_path / "last.ckpt").touch()
    assert continued("ckpt_path", tmp_path) == {"ckpt_path": str(tmp_path / "last.ckpt")}


def test_any_other_checkpoint_is_given_as_its_folder(tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    assert continued("ckpt_path", tmp_path) == {"ckpt_path": str(tmp_path)}
    (tmp_path / "shards" / "0").touch()
    (tmp_path / "last.ckpt").touch()
    assert continued("ckpt_path", tmp_path) == {"ckpt_path": str(tmp_path)}


def test_a_key_is_set_where_it_is_and_added_where_it_is_asked_for(tmp_path: Path) -> None:
    configs = [OmegaConf.create({"fit": {"ckpt_path": None}}) for _ in range(2)]
    for config in configs:
        OmegaConf.set_struct(config, True)
    set_all({"fit.ckpt_path": "a", "+resume": "b"}, *configs)
    assert configs == [{"fit": {"ckpt_path": "a"}, "resume": "b"}] * 2
    note({"+resume": "b"}, tmp_path / ".hydra")
    assert yaml.safe_load((tmp_path / ".hydra" / "continued.yaml").read_text()) == {"resume": "b"}


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("ckpt_pat", "'ckpt_pat': ckpt_pat is not in the app's config; did you mean ckpt_path"),
        ("fit.ckpt", "Use +fit.ckpt to add it"),
        ("x", "which is searched too"),
        ("epochs.of", "hydra.sweeper.checkpoint_key is 'epochs.of'"),
        ("'a b'", "it must be a key of the app's config such as ckpt_path"),
        ("hydra.run.dir", "it must be a key of the app's config such as ckpt_path"),
        ("3", "it must be a key of the app's config such as ckpt_path"),
        ("'+epochs'", "+epochs is in the app's config already"),
    ],
)
def test_a_key_that_cannot_take_a_path_is_answered_before_anything_starts(
    start: Any, key: str, message: str
) -> None:
    swept = start(*ASHA, f"hydra.sweeper.checkpoint_key={key}")
    assert swept.code == 2, swept.err
    assert message in swept.err
    assert "Traceback" not in swept.err
    assert not swept.folder.path.exists()


def test_a_key_that_is_added_passes(start: Any) -> None:
    added = "hydra.sweeper.checkpoint_key='+resume_from'"
    assert start(*ASHA, added, "hydra.sweeper.dry_run=true").code == 0


# Sweeps


@pytest.mark.slow
@pytest.mark.ray
def test_promoted_resumed_and_tried_again_a_trial_is_given_its_checkpoint(
    sweep: Any, tmp_path: Path
) -> None:
    first = ", ".join(f"{{x: {2 + number / 10}}}" for number in range(9))
    few = ("hydra.sweeper.num_samples=9", f"hydra.sweeper.initial=[{first}]")
    swept = sweep(*ASHA, KEY, *few)
    assert swept.code == 0, swept.err
    best = swept.trials.best
    assert sorted(best.reports) == list(range(1, 10)), "each epoch once"
    job = swept.job(best.number)
    began = swept.read(best.number, "began_from").split()
    places = [str(job / "checkpoints" / f"{step:06d}" / "last.ckpt") for step in (1, 3)]
    assert began == ["None", *places]
    assert yaml.safe_load((job / ".hydra" / "continued.yaml").read_text()) == {
        "ckpt_path": places[-1]
    }
    assert yaml.safe_load((job / ".hydra" / "config.yaml").read_text())["ckpt_path"] is None
    assert "ckpt_path" not in (job / ".hydra" / "overrides.yaml").read_text()

    more = "hydra.sweeper.num_samples=15"
    longer = sweep.caviar("resume", str(swept.folder.path), KEY, more)
    assert longer.code == 0, longer.err
    went_on = [n for n in range(9) if (longer.job(n, 2) / ".hydra").exists()]
    assert went_on, "a trial that was paused under the first driver went on under the second"
    for number in went_on:
        began = Path(longer.read(number, "began_from", run=2).split()[0])
        assert began.name == "last.ckpt"
        assert began.is_relative_to(longer.job(number, 1) / "checkpoints")
        again = longer.job(number, 2) / ".hydra"
        assert yaml.safe_load((again / "config.yaml").read_text())["ckpt_path"] is None
    chosen = str(went_on[0])
    done = sweep.caviar("reproduce", str(swept.folder.path), chosen, "--out", str(tmp_path / "o"))
    assert done.code == 0, done.out + done.err


@pytest.mark.slow
@pytest.mark.ray
def test_a_task_that_raised_goes_on_from_its_checkpoint(sweep: Any) -> None:
    plain = [word for word in ASHA if "scheduler" not in word]
    retried = ("hydra.sweeper.num_samples=1", "hydra.sweeper.max_retries=1", "raises=true")
    swept = sweep(*plain, KEY, *retried, "hydra.sweeper.retry_backoff_s=0")
    assert swept.code == 0, swept.err
    assert sorted(swept.trials[0].reports) == list(range(1, 10))
    began = swept.read(0, "began_from").split()
    assert began[:2] == ["None", str(swept.job(0) / "checkpoints" / "000001" / "last.ckpt")]


@pytest.mark.slow
@pytest.mark.ray
def test_of_a_sweep_in_a_bucket_it_is_the_path_on_the_stage(sweep: Any, bucket: str) -> None:
    place = f"hydra.sweeper.storage_path={bucket}/sweeps"
    swept = sweep(*ASHA, KEY, place, "hydra.sweeper.num_samples=6")
    assert swept.code == 0, swept.err
    folder = find_sweep(f"{bucket}/sweeps/s")
    best = load_sweep(folder).trials.best
    assert best is not None
    assert sorted(best.reports) == list(range(1, 10))
    job = folder.job(best.number, 1)
    folder.pull(job / "began_from")
    fresh, *others = (job / "began_from").read_text().split()
    assert fresh == "None"
    assert [re.sub(r".*/(\d+/last.ckpt)", r"\1", path) for path in others] == [
        "000001/last.ckpt",
        "000003/last.ckpt",
    ]
