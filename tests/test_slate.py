"""What a segment finds in its process, apart from Ray."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import sys
from pathlib import Path
from types import ModuleType

import pytest
from tqdm import tqdm

from sweeps.worker.slate import (
    _Herald,
    closing_bars,
    keeping_loggers,
    reset_accelerate,
    trial_environment,
)


@pytest.fixture
def heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[ModuleType]:
    """What a herald of the module `came_late` calls back with."""
    (tmp_path / "came_late.py").write_text("value = 1")
    calls: list[ModuleType] = []
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "meta_path", [_Herald("came_late", calls.append), *sys.meta_path])
    yield calls
    sys.modules.pop("came_late", None)


def test_a_herald_calls_once_when_the_module_has_been_imported(heard: list[ModuleType]) -> None:
    module = importlib.import_module("came_late")
    importlib.reload(module)

    assert heard == [module]
    assert module.value == 1


def test_a_herald_is_not_deceived_by_who_only_asks_whether_the_module_is_there(
    heard: list[ModuleType],
) -> None:
    assert importlib.util.find_spec("came_late") is not None
    assert heard == []

    module = importlib.import_module("came_late")
    assert heard == [module]


def test_loggers_are_put_back_as_they_were() -> None:
    known, root = logging.getLogger("slate.known"), logging.getLogger()
    handler, level = logging.NullHandler(), root.level
    known.addHandler(handler)
    known.setLevel(logging.INFO)

    with keeping_loggers():
        known.removeHandler(handler)
        known.addHandler(logging.NullHandler())
        known.setLevel(logging.ERROR)
        known.propagate = False
        logging.getLogger("slate.new").addHandler(logging.NullHandler())
        root.setLevel(logging.CRITICAL)

    assert (known.handlers, known.level, known.propagate) == ([handler], logging.INFO, True)
    assert logging.getLogger("slate.new").handlers == []
    assert root.level == level


def test_accelerate_looks_anew_where_it_is() -> None:
    state = pytest.importorskip("accelerate.state")
    state.PartialState(cpu=True)
    loader = object.__new__(type("Loader", (), {}))
    state.GradientState()._add_dataloader(loader)
    try:
        reset_accelerate()
        assert not state.PartialState._shared_state
        assert not state.GradientState().in_dataloader
    finally:
        state.PartialState._reset_state()


def test_bars_that_a_trial_left_are_closed(capsys: pytest.CaptureFixture[str]) -> None:
    with closing_bars():
        bar = tqdm(total=3, disable=False)
        bar.update()
    capsys.readouterr()

    bar.close()
    assert capsys.readouterr().err == ""
    assert bar not in tqdm._instances


def test_a_trial_hears_nothing_of_its_nodes_own_job_and_ranks() -> None:
    job = {"SLURM_NTASKS": "4", "PMI_RANK": "1", "OMPI_COMM_WORLD_SIZE": "4", "LSB_JOBID": "7"}
    rank = {"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "TORCHELASTIC_RUN_ID": "other"}
    own = {"HOME": "/home/ann", "RANKING": "yes", "MASTER_KEY": "k"}

    assert trial_environment({**job, **rank, **own}, gpus=1) == own
    assert trial_environment({**job, **own}, gpus=0) == {**own, "CUDA_VISIBLE_DEVICES": ""}
