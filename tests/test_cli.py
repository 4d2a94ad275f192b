"""The command line: in this process where it prints, in one of its own where it runs an app."""

import json
import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser

from sweeps.cli import _VERBS, main
from sweeps.errors import ConfigError, SweepError, exit_code
from sweeps.journal.status import Decision, Status
from sweeps.planning.launch import BUNDLED, HydraArguments, Program, resume_arguments, split_program
from sweeps.schedulers import SCHEDULERS
from sweeps.searchers import SEARCHERS
from sweeps.storage.folder import Record, SweepFolder

ROOT = Path(__file__).resolve().parents[1]

APP = """\
import sys
import hydra

@hydra.main(version_base="1.3", config_path="conf", config_name="app")
def main(cfg):
    print("lr", cfg.lr, "model", cfg.model.name)
    if cfg.lr == 13:
        raise SystemExit(5)

if __name__ == "__main__":
    main()
"""
ARGV = "import json, os, sys; print(json.dumps([sys.argv, os.getcwd(), sys.path[0], __name__]))"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a Hydra app and a script that shows its command line."""
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "app.yaml").write_text(
        "defaults: [model: mlp, _self_]\nlr: 0.1\noptimizer: {momentum: 0.9}\n"
        "hydra: {run: {dir: out}, sweep: {dir: out}}\n"
    )
    for model in ("mlp", "convnet"):
        (tmp_path / "conf" / "model" / f"{model}.yaml").write_text(f"name: {model}\n")
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "show.py").write_text(ARGV)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def caviar(*arguments, code=0, **environment):
    done = subprocess.run(
        [sys.executable, "-m", "sweeps.cli", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        check=False,
    )
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    return done


# Help, and what is not understood


def test_help_is_there_at_once():
    code = (
        "import sys; from sweeps.cli import main; main(['--help']);"
        "heavy = {'ray', 'torch', 'optuna', 'hydra', 'pyarrow', 'rich', 'numpy'};"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, capture_output=True)


@pytest.mark.parametrize("verb", _VERBS)
def test_each_verb_has_help_with_an_example(verb, capsys):
    with suppress(SystemExit):
        main([verb, "--help"])
    assert f"\n  caviar {verb} " in capsys.readouterr().out


def test_the_version_is_told(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("caviar 0.")


def test_an_unknown_verb_gets_the_nearest(capsys):
    assert main(["sweeep", "x"]) == 2
    assert "did you mean sweep?" in capsys.readouterr().err


def test_an_unknown_sweep_is_wrong_usage(here, capsys):
    assert main(["results", "nope"]) == 2
    assert "no sweep 'nope'" in capsys.readouterr().err


@pytest.mark.parametrize("given", [[], ["lr=0.1"], ["--top"]])
def test_resume_asks_which_sweep(given):
    with pytest.raises(SystemExit) as ended:
        main(["resume", *given])
    assert ended.value.code == 2


def test_exit_codes():
    assert exit_code(ConfigError("x")) == 2
    assert exit_code(SweepError("x")) == 1
    assert exit_code(KeyboardInterrupt()) == 130


# Command lines put together


def test_an_app_is_a_file_a_module_or_the_bundled_one(here):
    assert split_program(["app.py", "lr=1"]) == (Program(file="app.py"), ["lr=1"])
    assert split_program(["-m", "pkg.app", "lr=1"]) == (Program(module="pkg.app"), ["lr=1"])
    assert split_program(["lr=1"]) == (BUNDLED, ["lr=1"])
    assert split_program(["~optimizer"]) == (BUNDLED, ["~optimizer"])
    assert split_program(["--cfg", "job"]) == (BUNDLED, ["--cfg", "job"])
    assert split_program(["-m", "lr=1,2"]) == (BUNDLED, ["-m", "lr=1,2"])
    assert split_program([]) == (BUNDLED, [])


@pytest.mark.parametrize("wrong", ["ap.py", "model", "dir/ap.py"])
def test_what_is_neither_file_nor_override_is_refused(here, wrong):
    with pytest.raises(ConfigError, match="neither a file nor an override"):
        split_program([wrong, "lr=1"])


@pytest.mark.parametrize(
    ("given", "argv"),
    [
        ("lr=1,2", "-m hydra/sweeper=ray_tune lr=1,2"),
        ("", "-m hydra/sweeper=ray_tune"),
        ("-m lr=1,2", "-m hydra/sweeper=ray_tune lr=1,2"),
        ("hydra/sweeper=basic lr=1,2", "-m hydra/sweeper=basic lr=1,2"),
        ("a=1 -cn big b=2", "-m -cn big hydra/sweeper=ray_tune a=1 b=2"),
        ("a=1 --config-dir=c b=2", "-m --config-dir=c hydra/sweeper=ray_tune a=1 b=2"),
        ("--cfg job a=1", "--cfg job hydra/sweeper=ray_tune a=1"),
        ("--info a=1", "--info all hydra/sweeper=ray_tune a=1"),
        ("a=1 --info plugins", "--info plugins hydra/sweeper=ray_tune a=1"),
        ("--hydra-help", "--hydra-help hydra/sweeper=ray_tune"),
    ],
)
def test_a_sweep_is_a_multirun_by_our_sweeper(given, argv):
    arguments = HydraArguments.parse(given.split()).as_sweep()
    assert arguments.argv() == argv.split()
    get_args_parser().parse_args(arguments.argv())


def test_every_flag_of_hydra_that_takes_a_value_is_known():
    flags = [
        flag
        for action in get_args_parser()._actions
        if action.option_strings and action.nargs is None and action.const is None
        for flag in action.option_strings
        if type(action).__name__ == "_StoreAction"
    ]
    for flag in flags:
        assert HydraArguments.parse([flag, "value", "a=1"]).overrides == ("a=1",)


def record(folder: SweepFolder, argv: list[str]) -> Record:
    app = {"file": "app.py", "module": None, "argv": argv, "cwd": "/", "sys_path": []}
    return Record(
        name=folder.name,
        app=app,
        overrides=[],
        space={},
        metric="objective",
        mode="min",
        searcher={},
        scheduler={},
        num_samples=1,
        seed=7,
        options={},
        environment={},
    )


@pytest.mark.parametrize(
    "path",
    ["/data/sweep", "/my data/it's = {one}, [two]", '/a"b/c\\d', "/é/1", "/x/null", "/x/3.5"],
)
def test_a_resume_names_its_folder_whatever_characters_it_has(path):
    folder = SweepFolder(Path(path))
    arguments = resume_arguments(folder, record(folder, ["-m"]), [])
    parsed = OverridesParser.create().parse_overrides(list(arguments.overrides))
    values = {override.key_or_group: str(override.value()) for override in parsed}
    assert Path(values["hydra.sweeper.storage_path"]) / values["hydra.sweeper.name"] == folder.path
    assert values["hydra.sweeper.resume"] == "True"
    assert values["hydra.sweeper.seed"] == "7"


def test_a_resume_keeps_the_command_and_replaces_what_is_given_anew():
    folder = SweepFolder(Path("/data/one"))
    given = ["-cn", "big", "-m", "lr=1,2", "hydra.sweeper.num_samples=8", "hydra.sweeper.name=x"]
    argv = resume_arguments(folder, record(folder, given), ["hydra.sweeper.num_samples=16"]).argv()
    assert argv == [
        "-cn",
        "big",
        "-m",
        "lr=1,2",
        "hydra.sweeper.resume=true",
        "hydra.sweeper.name=one",
        "hydra.sweeper.storage_path='/data'",
        "hydra.sweeper.seed=7",
        "hydra.sweeper.num_samples=16",
    ]


@pytest.mark.parametrize("part", ["searcher", "scheduler"])
def test_a_resume_refuses_another_searcher_or_scheduler_whatever_its_options(part):
    folder = SweepFolder(Path("/data/one"))
    options = {"name": "genetic", "population_size": 4}
    begun = replace(record(folder, ["-m"]), **{part: options})
    for key in (f"hydra/sweeper/{part}", f"hydra.sweeper.{part}"):
        with pytest.raises(
            ConfigError, match=f"{part} is other, and /data/one was begun with gene"
        ):
            resume_arguments(folder, begun, [f"{key}=other"])
        assert resume_arguments(folder, begun, [f"{key}=genetic"])


def test_a_resume_asks_for_a_secret_that_was_not_recorded_and_takes_it_anew():
    folder = SweepFolder(Path("/data/one"))
    recorded = record(folder, ["-m", "lr=1,2", "+api_key=***"])
    with pytest.raises(ConfigError, match=r"api_key: sweep.yaml keeps no secrets.*oc.env:NAME"):
        resume_arguments(folder, recorded, ["lr=1,2"])

    argv = resume_arguments(folder, recorded, ["+api_key=${oc.env:KEY}"]).argv()
    assert argv[-1] == "+api_key=${oc.env:KEY}"
    assert "***" not in " ".join(argv)


# Apps run as Python runs them


def test_train_is_python_app(here):
    assert caviar("train", "app.py", "lr=0.5", "--config-dir", "conf", "model=convnet").stdout == (
        "lr 0.5 model convnet\n"
    )
    assert "lr: 0.1" in caviar("train", "app.py", "--cfg", "job").stdout


def test_a_script_sees_what_python_would_show_it(here):
    (here / "scripts").mkdir()
    (here / "show.py").rename(here / "scripts" / "show.py")
    shown = json.loads(caviar("train", "scripts/show.py", "a=1", "--b").stdout)
    script = str(here / "scripts" / "show.py")
    assert shown == [[script, "--b", "a=1"], str(here), str(here / "scripts"), "__main__"]


def test_a_module_sees_what_python_would_show_it(here):
    (here / "pkg").mkdir()
    (here / "show.py").rename(here / "pkg" / "show.py")
    shown = json.loads(caviar("train", "-m", "pkg.show", "a=1").stdout)
    assert shown == [[str(here / "pkg" / "show.py"), "a=1"], str(here), str(here), "__main__"]


def test_a_module_that_is_not_there_is_named(here):
    assert "there is no such module" in caviar("train", "-m", "pkg.nope", code=2).stderr


def test_an_apps_own_exit_code_is_kept(here):
    caviar("train", "app.py", "lr=13", code=5)


def test_another_sweeper_is_left_to_sweep(here):
    out = caviar("sweep", "app.py", "hydra/sweeper=basic", "lr=1,2").stdout
    assert "lr 1 model mlp" in out
    assert "lr 2 model mlp" in out


@pytest.mark.parametrize(
    ("override", "hint"),
    [
        ("momentum=0.5", "did you mean optimizer.momentum?"),
        ("model=mpl", "did you mean mlp?"),
        ("lr=[", "no viable alternative"),
    ],
)
def test_what_hydra_cannot_compose_is_wrong_usage_with_a_hint(here, override, hint):
    done = caviar("train", "app.py", override, code=2)
    assert hint in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_key_of_the_sweeper_gets_the_nearest(here):
    done = caviar("sweep", "app.py", "lr=1,2", "hydra.sweeper.num_sample=3", code=2)
    assert "did you mean hydra.sweeper.num_samples" in done.stderr


def test_full_errors_show_the_traceback(here):
    done = caviar("train", "app.py", "momentum=1", code=1, HYDRA_FULL_ERROR="1")
    assert "Traceback" in done.stderr


def test_a_mistake_in_a_sweep_is_one_message(here):
    done = caviar("sweep", "app.py", "lr=0.1", code=2)
    assert "there is nothing to sweep" in done.stderr
    assert "Traceback" not in done.stderr


def test_resume_runs_the_recorded_command_where_it_was_begun(here, make_sweep, monkeypatch):
    app = {"file": str(here / "show.py"), "cwd": str(here), "argv": ["-m", "lr=1,2"]}
    made = make_sweep(name="a sweep", app=app)
    monkeypatch.chdir("/")
    argv, cwd, *_ = json.loads(caviar("resume", str(made.folder.path), "extra=1").stdout)
    assert cwd == str(here)
    assert argv[1:] == [
        "-m",
        "lr=1,2",
        "hydra.sweeper.resume=true",
        "hydra.sweeper.name='a sweep'",
        f"hydra.sweeper.storage_path='{here}'",
        "hydra.sweeper.seed=7",
        "extra=1",
    ]


def test_a_folder_that_is_gone_is_named(here, make_sweep, capsys):
    made = make_sweep(app={"cwd": str(here / "gone")})
    assert main(["resume", str(made.folder.path)]) == 1
    assert "gone, with which the sweep was begun, is not here" in capsys.readouterr().err


# Results and export


@pytest.fixture
def sweep(make_sweep, here):
    made = make_sweep()
    for number in range(12):
        made.ask(number, lr=0.1)
        made.report(number, 1, number / 100, Decision.PAUSE, val_loss=1.0)
    made.end(0, Status.FAILED, error="ValueError: x")
    return made


def test_results_show_the_ten_best(sweep, capsys):
    assert main(["results", str(sweep.folder.path)]) == 0
    out = capsys.readouterr().out
    assert "● 11" in out
    assert "12 trials: 11 paused  1 failed" in out
    rows = [line for line in out.splitlines() if " paused " in line or " failed " in line]
    assert len(rows) - 1 == 10


@pytest.mark.parametrize(("option", "count"), [(["--top", "3"], 3), (["--all"], 12)])
def test_results_show_as_many_as_asked(sweep, capsys, option, count):
    assert main(["results", str(sweep.folder.path), *option]) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if "  0.1" in line]
    assert len(rows) == count


def test_results_as_csv_json_and_parquet(sweep, tmp_path, capsys):
    path = str(sweep.folder.path)
    assert main(["results", path, "--csv"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 13
    assert main(["results", path, "--json", "--top", "2"]) == 0
    assert [row["number"] for row in json.loads(capsys.readouterr().out)] == [11, 10]
    assert main(["results", path, "--csv", "--metrics", "-o", str(tmp_path / "m.csv")]) == 0
    assert "val_loss" in (tmp_path / "m.csv").read_text().splitlines()[0]
    assert main(["results", path, "--parquet", str(tmp_path / "t.parquet")]) == 0
    assert pq.read_table(tmp_path / "t.parquet").num_rows == 12


@pytest.mark.parametrize("wrong", [["--top", "0"], ["--csv", "--json"], ["-o", "x"], ["--tpo"]])
def test_wrong_options_of_results_are_wrong_usage(sweep, wrong):
    with pytest.raises(SystemExit) as ended:
        main(["results", str(sweep.folder.path), *wrong])
    assert ended.value.code == 2


@pytest.mark.parametrize("form", [["--csv", "-o"], ["--json", "-o"], ["--parquet"]])
def test_results_that_cannot_be_written_are_said_so(sweep, capsys, form):
    assert main(["results", str(sweep.folder.path), *form, "/no/such/folder/t"]) == 1
    assert "/no/such/folder/t cannot be written" in capsys.readouterr().err


def test_results_into_a_closed_pipe_end_quietly(sweep):
    command = f"{sys.executable} -m sweeps.cli results '{sweep.folder.path}' --csv | head -n 0"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_export_of_a_sweep_without_checkpoints_says_so(sweep, capsys):
    assert main(["export", str(sweep.folder.path)]) == 1
    assert "reported no checkpoint: there is no model to export" in capsys.readouterr().err


def test_export_of_an_unknown_trial_is_wrong_usage(sweep, capsys):
    assert main(["export", str(sweep.folder.path), "--trial", "99"]) == 2
    assert "trials 0 to 11" in capsys.readouterr().err


def test_the_help_of_sweep_lists_every_searcher_and_scheduler_with_its_options(capsys) -> None:
    assert main(["sweep", "--help"]) == 0
    shown = capsys.readouterr().out
    for name in (*SEARCHERS, *SCHEDULERS):
        assert f"\n  {name} " in shown
    assert "max_t, grace_period=1, reduction_factor=3" in shown
    assert "seed" not in shown.partition("hydra/sweeper/searcher")[2]
