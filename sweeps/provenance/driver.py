"""What a sweep's driver notes in sweep.yaml of itself: versions, hardware, and the code.

A driver that goes on with the sweep notes what is not as it was, by its run number: a trial's job
folder tells under which run it was trained.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from sweeps.provenance.code import code_state, differs, spilled
from sweeps.storage.folder import SweepFolder

_PACKAGES = ("caviar", "ray", "optuna", "hydra-core", "torch", "pyarrow", "numpy")
_CHANGES = ("python", "versions", "git")
"""What is noted again where it is other than under the run before."""


def environment(code: Path) -> dict[str, Any]:
    """Versions, hardware, and the git state of the folder `code`."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "versions": {name: _version(name) for name in _PACKAGES},
        "git": code_state(code),
        "interpreter": sys.executable,
    }


def begun(now: Mapping[str, Any], folder: SweepFolder, run: int = 1) -> dict[str, Any]:
    """An environment as sweep.yaml has it: see `spilled`."""
    git = now["git"]
    return {**now, "git": None if git is None else spilled(git, folder, run)}


def gone_on(
    before: Mapping[str, Any], now: Mapping[str, Any], folder: SweepFolder, run: int
) -> dict[str, Any]:
    """The environment of a sweep that a further driver takes up."""
    last, kept = of_run(before, run), begun(now, folder, run)
    same = {key: last.get(key) == kept.get(key) for key in _CHANGES}
    same["git"] = not differs(last.get("git"), kept["git"])
    if all(same.values()):
        return dict(before)
    changed = {"run": run, **{key: kept[key] for key in _CHANGES if not same[key]}}
    return {**before, "resumed": [*before.get("resumed", []), changed]}


def of_run(recorded: Mapping[str, Any], run: int) -> dict[str, Any]:
    """What was so under a run: as it began, with what changed up to then."""
    known = {key: value for key, value in recorded.items() if key != "resumed"}
    for later in recorded.get("resumed", []):
        if later["run"] <= run:
            known.update({key: value for key, value in later.items() if key != "run"})
    return known


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
