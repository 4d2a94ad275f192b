"""Of a model card: where the model comes from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from sweeps.export.markdown import table
from sweeps.export.source import FOLDER
from sweeps.export.trained import TrainedTrial
from sweeps.provenance.trial import Provenance, of
from sweeps.secrets import masked


def provenance_section(trained: TrainedTrial, *, what: str, sources: int) -> str:
    """Seeds, code, machine, data and versions.

    Args:
        trained: The trial; of several the best.
        what: What the model is of.
        sources: How many files of source lie beside it.
    """
    rows = [*_of_sweep(trained, what), *_of_trial(_recorded(trained))]
    if sources:
        rows.append(("source", f"{sources} files in `{FOLDER}/`, with their hashes"))
    return f"## Provenance\n\n{table(('', ''), rows)}"


def _recorded(trained: TrainedTrial) -> Provenance:
    sweep = trained.sweep
    if trained.chosen is not None:  # of a retest, which keeps what it records in its own folder
        sweep = replace(sweep, folder=sweep.folder.retests)
    return of(sweep, trained.trial.number, jobs=[trained.job])


def _of_sweep(trained: TrainedTrial, what: str) -> Iterator[tuple[str, str]]:
    record = trained.sweep.record
    app = record.app.get("file") or record.app.get("module")
    yield "sweep", f"`{record.name}`"
    yield "model", what
    yield "seed of the search", str(record.seed)
    yield "app", f"`{Path(str(app)).name}`"
    yield "command line", f"`{' '.join(map(masked, record.app.get('argv', [])))}`"


def _of_trial(recorded: Provenance) -> Iterator[tuple[str, str]]:
    yield "seed of the trial", str(recorded.seed)
    if recorded.code:
        dirty = any(recorded.code.get(key) for key in ("diff", "diff_file"))
        yield "git commit", f"`{recorded.code['commit']}`" + dirty * " with uncommitted changes"
    for name, fingerprint in recorded.data.items():
        yield f"data `{name}`", f"`{fingerprint}`"
    if "cpu" in recorded.hardware:
        yield "processor", str(recorded.hardware["cpu"]["model"])
    for device in recorded.hardware.get("devices", []):
        yield "device", str(device["name"])
    yield "python", str(recorded.driver.get("python"))
    for package, version in recorded.driver.get("versions", {}).items():
        if version is not None:
            yield package, str(version)
