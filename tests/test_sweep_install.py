"""caviar among other people's code: its plugin, its names, its wheel."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import textwrap
import venv
import zipfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
HEAVY = ("ray", "torch", "optuna", "sweeps", "cluster")


def run(command: list[Any], cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=120, env=env or None
    )


def run_installed(command: list[Any], cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command of the installed caviar, with no path to this checkout."""
    return run(command, cwd, **{k: v for k, v in os.environ.items() if k != "PYTHONPATH"})


def test_the_plugin_costs_an_unrelated_app_next_to_nothing(tmp_path: Path) -> None:
    code = f"""
        import json, runpy, sys, time
        began = time.process_time()
        import hydra, hydra.core.plugins, hydra._internal.hydra, hydra.plugins.sweeper
        hydra_s = time.process_time() - began
        began = time.process_time()
        import hydra_plugins.ray_tune_sweeper.ray_tune_sweeper
        plugin_s = time.process_time() - began
        sys.argv = ["mapping.py", "+x=1", "hydra.run.dir={tmp_path}"]
        runpy.run_path("{ROOT / "tests" / "apps" / "mapping.py"}", run_name="__main__")
        print(json.dumps([hydra_s, plugin_s, [name for name in {HEAVY} if name in sys.modules]]))
    """
    done = run([sys.executable, "-c", textwrap.dedent(code)], tmp_path)

    hydra_s, plugin_s, heavy = json.loads(done.stdout)
    print(f"hydra {hydra_s * 1000:.1f} ms, caviar's plugin {plugin_s * 1000:.1f} ms")
    assert heavy == []
    assert plugin_s < hydra_s / 4


@pytest.mark.parametrize(
    ("name", "file"), [("cluster", "cluster.py"), ("sweeps", "sweeps/__init__.py")]
)
def test_a_project_whose_own_module_hides_ours_is_told_which_file(
    tmp_path: Path, name: str, file: str
) -> None:
    (tmp_path / "app.py").write_text((ROOT / "tests" / "apps" / "mapping.py").read_text())
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).touch()

    done = run([sys.executable, "app.py", "-m", "hydra/sweeper=ray_tune", "+x=1,2"], tmp_path)

    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"caviar needs its own package '{name}' ({ROOT / name})")
    assert f"{tmp_path / file} is in the way" in line
    assert not (tmp_path / "outputs").exists()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """caviar's wheel, built from this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)], ROOT)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The commands of an environment that has the wheel; dependencies come from this one."""
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder, with_pip=False)
    (packages,) = folder.glob("lib/python3*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    python = str(folder / "bin" / "python")
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index"]
    run([*pip, str(wheel)], ROOT).check_returncode()
    found = run_installed([python, "-c", "import sweeps; print(sweeps.__file__)"], folder).stdout
    assert found.strip() == str(packages / "sweeps" / "__init__.py")
    return folder / "bin"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """An app with packages of its own called as some of ours."""
    files = {
        "models/__init__.py": "",
        "models/line.py": "def loss(x):\n    return abs(x - 3)\n",
        "conf/config.yaml": "x: 0\nepochs: 9\n",
        "app.py": """
            import hydra
            import sweeps
            from models.line import loss

            @hydra.main(version_base=None, config_path="conf", config_name="config")
            def main(cfg):
                for epoch in range(1, cfg.epochs + 1):
                    sweeps.report({"loss": loss(cfg.x) + 1 / epoch}, step=epoch)
                return loss(cfg.x)

            if __name__ == "__main__":
                main()
        """,
    }
    for name, text in files.items():
        path = tmp_path / "my project" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    return tmp_path / "my project"


def test_the_wheel_holds_three_packages_and_nothing_of_the_checkout(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()

    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {"sweeps", "cluster", "hydra_plugins"}
    assert "hydra_plugins/__init__.py" not in names


def test_an_installed_caviar_finds_an_apps_own_models_and_conf(
    installed: Path, project: Path
) -> None:
    done = run_installed(
        [installed / "caviar", "sweep", "app.py", "x=1,2", "hydra.sweeper.dry_run=true"], project
    )

    assert done.returncode == 0, done.stderr
    assert "epochs: 9" in done.stdout


def test_an_installed_caviar_has_no_app_of_its_own(installed: Path, tmp_path: Path) -> None:
    done = run_installed([installed / "caviar", "train"], tmp_path)

    assert done.returncode == 2
    assert "this is an installed package" in done.stderr


@pytest.mark.slow
@pytest.mark.ray
def test_an_installed_caviar_sweeps_a_foreign_app(installed: Path, project: Path) -> None:
    common = ["x=range(0,6)", "hydra/sweeper/searcher=grid", "hydra.sweeper.storage_path=sweeps"]
    asha = ["hydra/sweeper/scheduler=asha", "hydra.sweeper.scheduler.max_t=9"]
    asha += ["hydra.sweeper.metric=loss", "hydra.sweeper.mode=min"]

    plain = run_installed(
        [installed / "python", "app.py", "-m", "hydra/sweeper=ray_tune", *common, "epochs=0"],
        project,
    )
    stopped = run_installed([installed / "caviar", "sweep", "app.py", *common, *asha], project)

    for done in (plain, stopped):
        assert done.returncode == 0, done.stderr
        assert "6 trials" in done.stdout
        assert "x=3" in done.stdout
