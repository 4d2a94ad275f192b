"""Nothing that chooses a model sees the test split; what does see it is counted."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from models import Digits

ROOT = Path(__file__).resolve().parents[1]
SUMMARY = "sweeps/driver/summary.py"


class Forbidden:
    """A split that nobody may touch."""

    def __getattribute__(self, name: str) -> Any:
        raise AssertionError(f"the test split was looked at: {name}")


class DigitsWithoutTest:
    """The digits; their test split may not be touched."""

    def load(self) -> Any:
        return replace(Digits().load(), test=Forbidden())


@pytest.mark.parametrize("more", [[], ["averaging=swa", "trainer.patience=1"], ["averaging=ema"]])
def test_training_and_validation_never_touch_the_test_split(more: list[str]) -> None:
    overrides = ["model=mlp", "model.width=8", "trainer.epochs=2", "trainer.device=cpu", *more]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        parts = instantiate(compose("train", overrides=overrides), _convert_="all")
    parts["data"] = DigitsWithoutTest()
    trainer = parts["trainer"]
    fit = trainer.fit(parts, resume=None, on_epoch=lambda *report: None, stop=None)

    assert "val_accuracy" in fit.metrics
    assert "accuracy" in trainer.evaluate(fit.net, "validation")
    with pytest.raises(AssertionError, match="the test split was looked at"):
        trainer.evaluate(fit.net, "test")


def functions_that_name_it(path: Path) -> set[str]:
    """The functions in which the text `test` stands by itself: the split's name."""
    return {
        f"{path.relative_to(ROOT)}:{function.name}"
        for function in ast.walk(ast.parse(path.read_text()))
        if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Constant) and node.value == "test"
    }


@pytest.mark.slow
def test_only_a_final_model_is_evaluated_on_it() -> None:
    """By name, in all that sweeps and trains; who adds a place must count its looks."""
    sources = [*(ROOT / "sweeps").rglob("*.py"), *(ROOT / "models" / "training").rglob("*.py")]
    named = set().union(*map(functions_that_name_it, sources))
    shown = {place for place in named if place.startswith(("sweeps/export/card", SUMMARY))}

    assert named - shown == {
        "models/training/trained.py:calibrate",  # of an export, with the metrics
        "sweeps/export/top.py:_line",  # what was measured
        "sweeps/export/verify.py:test_metrics",  # counted by those who call it
        "sweeps/export/writing.py:write_model",
        "sweeps/train.py:_summarize",  # of `caviar train`, which is no sweep
    }
