"""What `models` offers by name, and the page that lists it."""

import importlib.util
import re
from pathlib import Path

import pytest

import models

ROOT = Path(models.__file__).parents[1]
FILES = sorted(f for f in (ROOT / "models").rglob("*/*.py") if f.name != "__init__.py")
SOURCES = "\n".join(file.read_text() for file in FILES)
PUBLIC = """
SoftmaxRegression MLP ConvNet ResNet InceptionNet DartsSupernet DartsNet Ensemble make_network
compound_coefficients predict_proba fit_temperature expected_calibration_error

make_norm make_linear make_conv make_activation Dropout SyncBatchNorm GhostBatchNorm
convert_sync_batch_norm precise_batch_norm cross_entropy class_weights

Trainer DartsTrainer Best Soup SGD Adagrad RMSProp Adam AdamW Constant Exponential Step Cosine
OneCycle ReduceOnPlateau LrRangeTest EMA SWA save_checkpoint load_checkpoint

Digits Npz Table Parquet Dataset Split Preprocessing
"""


@pytest.mark.parametrize("name", PUBLIC.split())
def test_what_a_user_asks_for_by_name_is_exported(name):
    if not re.search(rf"^(class|def) {name}\b", SOURCES, flags=re.MULTILINE):
        pytest.skip(f"{name} is not written yet")
    assert name in models.__all__
    assert getattr(models, name).__doc__


@pytest.fixture(scope="module")
def docs():
    spec = importlib.util.spec_from_file_location("make_models", ROOT / "docs" / "make_models.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_models_is_up_to_date(docs):
    assert docs.PAGE.read_text() == docs.page(), "run: python docs/make_models.py"


def test_the_page_lists_every_file_and_every_file_says_its_idea(docs):
    rows = re.findall(r"^\| (.*?) \| [^|]* \| \[(.*?)\]", docs.page(), flags=re.MULTILINE)
    assert sorted(file for _, file in rows) == sorted(
        file.relative_to(ROOT / "models").as_posix() for file in FILES
    )
    assert all(idea for idea, _ in rows), rows


def test_every_public_name_is_on_the_page(docs):
    listed = set(re.findall(r"`(\w+)`", docs.page()))
    assert set(models.__all__) <= listed, set(models.__all__) - listed


def test_papers_are_found_in_docstrings_and_linked(docs):
    page = docs.page()
    assert "[Ioffe and Szegedy 2015](https://arxiv.org/abs/1502.03167)" in page
    assert "[Wortsman et al. 2022](https://arxiv.org/abs/2203.05482)" in page
    assert "Srivastava et al. 2014" in page
