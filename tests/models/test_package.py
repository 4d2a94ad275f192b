"""What the package offers, and what it may import."""

import ast
from pathlib import Path

import models

ROOT = Path(models.__file__).parent
FOREIGN = {"ray", "hydra", "omegaconf", "optuna", "sweeps", "cluster"}


def imported(file):
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0]


def test_everything_listed_is_there():
    assert sorted(models.__all__, key=str.casefold) == sorted(set(models.__all__), key=str.casefold)
    assert all(hasattr(models, name) for name in models.__all__)


def test_imports_nothing_of_the_orchestration():
    for file in ROOT.rglob("*.py"):
        assert not FOREIGN & set(imported(file)), file


def test_nothing_is_unpickled():
    for file in ROOT.rglob("*.py"):
        text = file.read_text()
        assert "pickle" not in set(imported(file)), file
        assert "torch.load(" not in text.replace("safetensors.torch.load(", ""), file
