"""All that is recorded of a trial: what it was trained from, and what on."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from sweeps.errors import SweepError
from sweeps.journal.legs import check_trial
from sweeps.provenance.driver import of_run
from sweeps.provenance.segments import read_segments
from sweeps.results import SweepResults
from sweeps.searchers.base import trial_seed
from sweeps.storage.folder import SweepFolder


@dataclass(frozen=True, kw_only=True)
class Stood:
    """What a stretch of training stood on."""

    step: int
    """Of the first report of it; 0 where it reported nothing."""
    seed: int
    """Of the generators of Python, NumPy and torch."""
    machine: Mapping[str, Any]
    """Python, CPU, packages, variables, torch: see `sweeps.provenance.machine`."""
    numerics: Mapping[str, Any]
    """Threads and flags: see `sweeps.provenance.numerics`."""
    resources: Mapping[str, Any]
    """workers, cpus, gpus."""
    data: Mapping[str, str]
    """Fingerprints by name."""
    host: str


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Of a trial; what an older caviar did not record is empty."""

    trial: int
    sweep_seed: int
    config: Mapping[str, Any]
    """As it was composed, interpolations as written, secrets masked."""
    code: Mapping[str, Any] | None
    """commit, branch, untracked, diff (or diff_file), sha256: see `sweeps.provenance.code`."""
    driver: Mapping[str, Any]
    """Of the driver under which it was last trained: python, versions."""
    stood: Sequence[Stood]
    """What it was trained on, oldest first; a change makes a new one."""

    @property
    def last(self) -> Stood | None:
        """What it was trained on last."""
        return self.stood[-1] if self.stood else None

    @property
    def seed(self) -> int:
        """Of its generators; a function of the sweep's seed and its number, unless it was set."""
        return self.last.seed if self.last else trial_seed(self.sweep_seed, self.trial)

    @property
    def versions(self) -> Mapping[str, str]:
        """Every installed package's; those that matter most where no more was recorded."""
        known: Mapping[str, str] = self.driver.get("versions", {})
        return self.last.machine["packages"] if self.last else known

    @cached_property
    def hardware(self) -> Mapping[str, Any]:
        """cpu, and of torch's devices what it knows."""
        if self.last is None:
            return {}
        torch = self.last.machine.get("torch", {})
        return {"cpu": self.last.machine["cpu"], "devices": torch.get("devices", [])}

    @property
    def data(self) -> Mapping[str, str]:
        """Fingerprints of its data, by name."""
        return self.last.data if self.last else {}


def of(sweep: SweepResults, trial: int, jobs: Sequence[Path] | None = None) -> Provenance:
    """Read what is recorded of a trial.

    Args:
        sweep: Its sweep.
        trial: Its number.
        jobs: The job folders that count, oldest first, where it is not all of its own.

    Raises:
        ConfigError: There is no such trial.
        SweepError: What is recorded of it cannot be read.
    """
    folder, record = sweep.folder, sweep.record
    check_trial(folder, sweep.trials, trial)
    jobs = folder.jobs(trial) if jobs is None else jobs
    driver = of_run(record.environment, sweep.trials[trial].run)
    return Provenance(
        trial=trial,
        sweep_seed=record.seed,
        config=_config(folder, jobs[-1]) if jobs else {},
        code=driver.get("git"),
        driver={key: value for key, value in driver.items() if key != "git"},
        stood=stood_on(folder, jobs),
    )


def stood_on(folder: SweepFolder, jobs: Iterable[Path]) -> list[Stood]:
    """What was trained on, as job folders tell it."""
    files = [folder.provenance(job) for job in jobs]
    for file in files:
        folder.pull(file)
    segments = [segment for file in files for segment in read_segments(file)]
    machines = {name: _machine(folder, name) for name in {each["environment"] for each in segments}}
    return [
        Stood(machine=machines[each["environment"]], **{key: each[key] for key in _OF_A_SEGMENT})
        for each in segments
    ]


_OF_A_SEGMENT = ("step", "seed", "numerics", "resources", "data", "host")


def read_diff(folder: SweepFolder, code: Mapping[str, Any]) -> str:
    """The uncommitted difference of a recorded code state, wherever it is kept."""
    name = code.get("diff_file")
    if name is None:
        return str(code.get("diff") or "")
    file = folder.path / str(name)
    folder.pull(file)
    return file.read_text(encoding="utf-8")


def _machine(folder: SweepFolder, name: str) -> dict[str, Any]:
    file = folder.environment(name)
    folder.pull(file)
    try:
        machine: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SweepError(f"{folder.shown(file)} cannot be read: {error}") from error
    return machine


def _config(folder: SweepFolder, job: Path) -> dict[str, Any]:
    file = job / ".hydra" / "config.yaml"
    folder.pull(file)
    try:
        config = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, yaml.YAMLError) as error:
        raise SweepError(f"{folder.shown(file)} cannot be read: {error}") from error
    return config or {}
