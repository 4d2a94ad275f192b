"""Imports run one way; read from the source, so that a lazy import inside a function counts too."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import sweeps

ROOT = Path(__file__).parent.parent
ROOMS = [
    "errors",
    "secrets",
    "signals",
    "space",
    "storage",
    "journal",
    "session",
    "integrations",
    "render",
    "searchers",
    "results",
    "schedulers",
    "core",
    "simulate",
    "retest",
    "provenance",
    "planning",
    "reports",
    "ui",
    "tracking",
    "worker",
    "rerun",
    "experiment",
    "export",
    "predict",
    "driver",
    "reproduce",
    "submission",
    "loaded",
    "train",
    "commands",
    "cli",
]
"""What `sweeps` is made of, each room or module importing only those before it."""

DECIDES = ["space", "journal", "searchers", "schedulers", "core", "simulate"]
WITH_RAY = ["worker", "driver"]
FORBIDDEN = {
    "cluster": {"sweeps", "models", "hydra_plugins"},
    "sweeps": {"models", "hydra_plugins"},
    "hydra_plugins": {"models"},
    "models": {"cluster", "hydra", "hydra_plugins", "omegaconf", "optuna", "ray", "sweeps"},
    **{f"sweeps/{name}": {"ray"} for name in ROOMS if name not in WITH_RAY},
}


def sources(where: str) -> list[Path]:
    folder = ROOT / where
    if folder.is_dir():
        return sorted(folder.rglob("*.py"))
    return [folder.with_suffix(".py")]


def imported(nodes: Iterator[ast.AST]) -> set[str]:
    """The top-level names of the packages that these nodes import."""
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add((node.module or "").split(".")[0])
    return names


def at_module_level(tree: ast.AST) -> Iterator[ast.AST]:
    """What runs when the module is imported: all but functions and `if TYPE_CHECKING`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        yield from at_module_level(node)


@pytest.mark.parametrize("where", FORBIDDEN)
def test_imports_run_one_way(where: str) -> None:
    files = sources(where)
    assert files
    for file in files:
        wrong = imported(ast.walk(ast.parse(file.read_text()))) & FORBIDDEN[where]
        assert not wrong, f"{file.relative_to(ROOT)} imports {', '.join(sorted(wrong))}"


def test_no_room_hides_what_sweeps_gives() -> None:
    """An imported module becomes its package's attribute, and `report` must stay a function."""
    assert set(ROOMS).isdisjoint(sweeps.__all__)


def test_every_room_has_its_place_in_the_order() -> None:
    there = {path.stem for path in (ROOT / "sweeps").iterdir()} - {"__init__", "__pycache__"}
    assert there == set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_those_before_it(room: str) -> None:
    before = set(ROOMS[: ROOMS.index(room) + 1])
    for file in sources(f"sweeps/{room}"):
        later = rooms_imported(ast.parse(file.read_text())) - before
        assert not later, f"{file.relative_to(ROOT)} imports {', '.join(sorted(later))}"


def rooms_imported(tree: ast.AST) -> set[str]:
    """The rooms that a module imports, in functions too, but for what types alone need."""
    rooms = set()
    for node in without_types(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "sweeps":
            names = (
                [node.module or ""]
                if "." in (node.module or "")
                else [f"sweeps.{alias.name}" for alias in node.names]
            )
            rooms |= {name.split(".")[1] for name in names}
    return rooms


def without_types(tree: ast.AST) -> Iterator[ast.AST]:
    """A module but for `if TYPE_CHECKING`."""
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)):
            yield node
            yield from without_types(node)


def test_no_import_inside_a_package_is_relative() -> None:
    for package in ("cluster", "hydra_plugins", "models", "sweeps"):
        for file in sources(package):
            for node in ast.walk(ast.parse(file.read_text())):
                assert not (isinstance(node, ast.ImportFrom) and node.level), file


def test_the_plugins_face_is_light() -> None:
    files = sources("hydra_plugins")
    assert files
    for file in files:
        wrong = imported(at_module_level(ast.parse(file.read_text()))) & {"ray", "torch", "optuna"}
        assert not wrong, f"{file.relative_to(ROOT)} imports {', '.join(sorted(wrong))}"


def loaded_by(statement: str, *packages: str) -> list[str]:
    """Which of the packages a fresh interpreter has loaded after the statement."""
    code = f"{statement}; import sys; print(*(p for p in {packages} if p in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def test_an_app_that_imports_sweeps_loads_nothing_heavy() -> None:
    assert loaded_by("import sweeps", "ray", "torch", "optuna", "hydra") == []


def test_the_decision_core_loads_neither_ray_nor_torch() -> None:
    modules = ", ".join(f"sweeps.{name}" for name in DECIDES)
    assert loaded_by(f"import {modules}", "ray", "torch") == []
