"""The tables that sweeps on Ray leave in their folders."""

from __future__ import annotations

from typing import Any

import pytest

import sweeps
from sweeps.results import live, load_sweep, read_tables
from sweeps.results.stored import fresh_table
from sweeps.storage.folder import SweepFolder

pytestmark = [pytest.mark.ray, pytest.mark.slow]

CURVE = [
    "curve.py",
    "hydra.sweeper.metric=loss",
    "hydra.sweeper.mode=min",
    "hydra.sweeper.seed=3",
    "+x=interval(-5,5)",
]


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The tables as the parts alone told them, each time a driver was about to put them away."""
    monkeypatch.setattr(live, "_EVERY_S", 0.2)
    found = []
    discard = SweepFolder.discard_parts

    def looking(folder: SweepFolder) -> None:
        whole = folder.trials_table.read_bytes(), folder.metrics_table.read_bytes()
        folder.trials_table.unlink()
        folder.metrics_table.unlink()
        found.append(read_tables(folder))
        folder.trials_table.write_bytes(whole[0])
        folder.metrics_table.write_bytes(whole[1])
        discard(folder)

    monkeypatch.setattr(SweepFolder, "discard_parts", looking)
    return found


def test_parts_come_while_a_sweep_runs_and_one_file_at_its_end(sweep: Any, seen: Any) -> None:
    swept = sweep(
        *CURVE,
        "hydra/sweeper/scheduler=asha",
        "hydra.sweeper.scheduler.max_t=9",
        "hydra.sweeper.num_samples=6",
        "+epoch_s=0.05",
    )
    assert swept.code == 0
    (parts,) = seen
    whole = load_sweep(swept.folder)
    reported = parts.metrics.num_rows
    assert 0 < reported <= whole.metrics().num_rows
    steps = whole.metrics().select(["trial", "step", "loss"]).to_pylist()
    assert all(row in steps for row in parts.metrics.select(["trial", "step", "loss"]).to_pylist())
    assert not (swept.folder.path / "tables").exists()
    assert fresh_table(swept.folder, "metrics").equals(whole.metrics())
    assert "done" in repr(sweeps.load(swept.folder))

    longer = sweep.caviar(
        "resume", str(swept.folder.path), "hydra.sweeper.num_samples=8", "hydra.sweeper.seed=3"
    )
    assert longer.code == 0
    assert len(seen) == 2
    assert len(sweeps.load(swept.folder).trials) == 8
    assert not (swept.folder.path / "tables").exists()


def test_a_sweep_that_ends_with_an_error_leaves_its_tables(sweep: Any) -> None:
    swept = sweep("trouble.py", "+kind=loses", "+x=interval(0,1)", "hydra.sweeper.num_samples=4")
    assert swept.code == 1
    table = fresh_table(swept.folder, "trials")
    assert "failed" in table["status"].to_pylist()
