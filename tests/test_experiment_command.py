"""`caviar results --experiment`, and the command that it prints."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sweeps.cli import main
from sweeps.errors import ConfigError, SweepError
from sweeps.experiment import Experiment
from sweeps.experiment.command import command_line, config_options
from sweeps.experiment.trial import write_experiment
from sweeps.export.place import replacing
from sweeps.planning.app import App
from sweeps.results import load_sweep
from sweeps.storage.folder import EXPERIMENT


@pytest.mark.parametrize(
    ("argv", "kept"),
    [
        (["-m", "lr=1", "--config-name", "sweep"], ["--config-name", "sweep"]),
        (["--config-dir=more", "-m", "--info", "all", "x=1"], ["--config-dir=more"]),
    ],
)
def test_a_command_says_again_where_the_configs_are(argv: list[str], kept: list[str]) -> None:
    assert config_options(argv) == kept


def test_a_command_is_typed_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Experiment(
        body="", flags=("--config-dir", f"{tmp_path}/s"), overrides=("+best=x",), secrets=()
    )
    app = App(
        file=f"{tmp_path}/src/app.py",
        module=None,
        function="main",
        argv=["-m", "lr=1,2"],
        cwd=str(tmp_path),
        sys_path=[],
        interpreter="python",
    )
    monkeypatch.chdir(tmp_path)
    assert command_line(app, made) == "python src/app.py --config-dir s +best=x"
    bundled = replace(app, file=None, module="sweeps.train")
    assert command_line(bundled, made) == "caviar train --config-dir s +best=x"
    monkeypatch.chdir("/")
    module = replace(app, file=None, module="shop.train")
    assert command_line(module, made) == (
        f"cd {tmp_path} && python -m shop.train --config-dir s +best=x"
    )


@pytest.mark.parametrize("flags", [["--trial", "1"], ["--experiment", "x.yaml", "--csv"]])
def test_flags_that_do_not_go_together_are_refused(flags: list[str], capsys: Any) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["results", "sweep", *flags])
    assert "--experiment" in capsys.readouterr().err


def test_a_file_of_a_users_own_is_not_overwritten(make_sweep: Any, tmp_path: Path) -> None:
    made, file = make_sweep(), tmp_path / "mine.yaml"
    made.ask(0, lr=0.1)
    file.write_text("lr: 1")
    with pytest.raises(ConfigError, match="was not written by caviar"):
        write_experiment(load_sweep(made.folder), 0, file)
    with pytest.raises(ConfigError, match="--trial is 3; sweep has trials 0 to 0"):
        write_experiment(load_sweep(made.folder), 3, file)
    with pytest.raises(SweepError, match=r"no trial of .* has a value yet"):
        write_experiment(load_sweep(made.folder), None, file)
    with pytest.raises(SweepError, match="no config is left of trial 0"):
        write_experiment(load_sweep(made.folder), 0, tmp_path / "runs/new.yaml")
    assert file.read_text() == "lr: 1"


def test_an_export_takes_its_place_beside_the_experiment_file(tmp_path: Path) -> None:
    place = tmp_path / "best"
    place.mkdir()
    (place / EXPERIMENT).write_text("lr: 1")
    with replacing(place) as partial:
        partial.mkdir()
        (partial / "metrics.json").write_text("{}")
    assert sorted(path.name for path in place.iterdir()) == [EXPERIMENT, "metrics.json"]
