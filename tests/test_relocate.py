"""One project in two places: on the driver and a node, or recorded and today's."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
from omegaconf import OmegaConf

from cluster.copies import own_copy
from sweeps.errors import SweepError
from sweeps.planning.app import App, load_app
from sweeps.planning.relocate import Move, find_app

DRIVER = "/tmp/ray/head/working_dir_files/_ray_pkg_1"
NODE = "/scratch/ray/working_dir_files/_ray_pkg_1"
APP = App(
    file=f"{DRIVER}/app/main.py",
    module=None,
    function="main",
    argv=[],
    cwd=DRIVER,
    sys_path=[f"{DRIVER}/app", DRIVER, f"{DRIVER}_2", "/usr/lib/python3.11"],
    interpreter=sys.executable,
    root=DRIVER,
)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (DRIVER, NODE),
        (f"{DRIVER}/a b/c.py", f"{NODE}/a b/c.py"),
        (f"file://{DRIVER}/conf", f"file://{NODE}/conf"),
        (f"{DRIVER}_2/conf", f"{DRIVER}_2/conf"),
        ("pkg://app.conf", "pkg://app.conf"),
        ("structured://", "structured://"),
        ("", ""),
    ],
)
def test_what_lies_in_the_project_moves_with_it_and_nothing_else(before: str, after: str) -> None:
    assert Move(old=DRIVER, new=NODE).path(before) == after


def test_an_app_and_where_hydra_looks_move_to_a_nodes_copy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{NODE}:{NODE}/src:/elsewhere")
    move = Move.to_this_node(APP)

    app = move.app(APP)
    assert (app.file, app.cwd, app.root) == (f"{NODE}/app/main.py", NODE, NODE)
    assert app.sys_path == [f"{NODE}/app", NODE, f"{DRIVER}_2", "/usr/lib/python3.11"]
    search_path = ConfigSearchPathImpl()
    search_path.append("main", f"file://{DRIVER}/conf")
    assert [e.path for e in move.search_path(search_path).get_path()] == [f"file://{NODE}/conf"]
    assert [e.path for e in search_path.get_path()] == [f"file://{DRIVER}/conf"]
    sources = [{"path": f"{DRIVER}/conf"}, {"path": "hydra.conf"}]
    config = OmegaConf.create({"hydra": {"runtime": {"cwd": DRIVER, "config_sources": sources}}})
    OmegaConf.set_readonly(config, True)
    move.config(config)
    assert config.hydra.runtime.cwd == NODE
    assert config.hydra.runtime.config_sources[0].path == f"{NODE}/conf"
    assert config.hydra.runtime.config_sources[1].path == "hydra.conf"


def test_where_no_code_was_sent_nothing_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/work/project:/work/project/src")
    assert own_copy() is None
    assert Move.to_this_node(APP).app(APP) == APP
    monkeypatch.delenv("PYTHONPATH")
    assert own_copy() is None


def make_app(root: Path) -> App:
    (root / "apps").mkdir(parents=True)
    (root / "pyproject.toml").touch()
    file = root / "apps" / "main.py"
    file.write_text("def main(cfg):\n    pass\n")
    return replace(APP, file=str(file), cwd=str(root), sys_path=[str(root)], root=str(root))


def test_an_app_is_found_where_it_was_or_in_the_project_one_stands_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, here = make_app(tmp_path / "there"), make_app(tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here" / "apps")

    assert find_app(there) == there
    (tmp_path / "there").rename(tmp_path / "gone")
    assert find_app(there) == here
    (tmp_path / "here" / "apps" / "main.py").unlink()
    with pytest.raises(SweepError, match=r"there/apps/main.py, with which .* nor in the project"):
        find_app(there)
    with pytest.raises(SweepError, match="is not here: run this where it was begun"):
        find_app(replace(there, root=None))


def test_a_node_with_another_python_keeps_its_own_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app(tmp_path)
    foreign, code = "/opt/other/lib/python3.11/site-packages", str(tmp_path / "python3" / "src")
    given = [code, "/opt/other/lib/python311.zip", foreign, str(tmp_path)]
    monkeypatch.setattr("sys.path", list(sys.path))

    load_app(replace(app, sys_path=given, interpreter="/opt/other/bin/python"))
    assert sys.path[:2] == [code, str(tmp_path)]
    assert foreign not in sys.path
    load_app(replace(app, sys_path=given))
    assert sys.path[:4] == given
    sys.modules.pop("main", None)
    sys.modules.pop("__mp_main__", None)
