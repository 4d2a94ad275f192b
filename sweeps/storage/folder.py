"""A sweep on disk. This module alone knows the names in a sweep's folder."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from cluster.bucket import Bucket, check_bucket, is_url
from sweeps.errors import ConfigError, SweepError, did_you_mean
from sweeps.storage.checkpoints import is_ours
from sweeps.storage.durable import write_whole
from sweeps.storage.remote import Remote
from sweeps.storage.repeated import repeat_folder
from sweeps.storage.scratch import scratch

FORMAT = 1
"""Version of sweep.yaml; a later one is refused."""

DEFAULT_STORAGE = Path("outputs/sweeps")

OUTPUT = "output.log"
"""What a trial prints, in its job folder; what it logs is in Hydra's own log file beside it."""

EXPERIMENT = "experiment.yaml"
"""The best trial as a Hydra experiment file, beside its exported model."""


@dataclass(frozen=True)
class SweepFolder:
    """The paths of one sweep."""

    path: Path
    """On this machine; of a sweep in a bucket, where this process stages it."""
    remote: Remote | None = None
    """Where it is in a bucket, if it is in one."""

    @classmethod
    def at(cls, storage: Path | Bucket, name: str) -> SweepFolder:
        """The sweep of a name under a storage path; of one in a bucket, its record is fetched."""
        if isinstance(storage, Path):
            return cls(storage / name)
        stage = Path(tempfile.mkdtemp(dir=scratch())) / name
        folder = cls(stage, Remote(storage / name, stage))
        folder.impatient.pull(folder.sweep_yaml)
        return folder

    @property
    def impatient(self) -> SweepFolder:
        """The same, for what gives up within seconds where its bucket does not answer."""
        if self.remote is None:
            return self
        return replace(self, remote=replace(self.remote, place=self.remote.place.impatient))

    @property
    def name(self) -> str:
        """The sweep's name."""
        return self.path.name

    @property
    def place(self) -> str:
        """Where a user finds it."""
        return self.shown(self.path)

    @property
    def storage(self) -> str:
        """The storage path."""
        return str(self.path.parent if self.remote is None else self.remote.place.parent)

    def shown(self, path: Path) -> str:
        """Where a user finds what lies at a path of this sweep."""
        if self.remote is None or not path.is_relative_to(self.path):
            return str(path)
        inner = path.relative_to(self.path).as_posix()
        return str(self.remote.place if inner == "." else self.remote.place / inner)

    def push(self, *paths: Path) -> None:
        """See that files are where the sweep is; nothing to do on a disk."""
        if self.remote is not None:
            self.remote.push(*paths)

    def push_folder(self, folder: Path, *, last: str) -> None:
        """The same for a folder, which is whole when its last file is there."""
        if self.remote is not None and folder.is_relative_to(self.path):
            self.remote.push_folder(folder, last=last)

    def pull(self, path: Path) -> None:
        """See that a file, if the sweep has it, is on this machine; nothing to do on a disk."""
        if self.remote is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.remote.pull(path)

    def pull_job(self, job: Path, checkpoint: str | None) -> None:
        """See that a job folder, and a checkpoint in it, are on this machine.

        Raises:
            FileNotFoundError: The checkpoint has gone.
        """
        if self.remote is not None:
            self.remote.pull_folder(job)
            if checkpoint is not None:
                self.remote.get_checkpoint(checkpoint, self.path / checkpoint)

    @property
    def sweep_yaml(self) -> Path:
        """What was asked; see `Record`."""
        return self.path / "sweep.yaml"

    @property
    def journal(self) -> Path:
        """Every ask, report, decision and tell: the state."""
        return self.path / "journal.log"

    @property
    def lease(self) -> Path | Bucket:
        """Who drives the sweep."""
        name = "driver.json"
        return self.path / name if self.remote is None else self.remote.place / name

    @property
    def requests(self) -> Path:
        """What others ask of the sweep as it runs; see `sweeps.storage.requests`."""
        return self.path / "requests"

    @property
    def log(self) -> Path:
        """The driver's log."""
        return self.path / "sweep.log"

    @property
    def trials_table(self) -> Path:
        """One row a trial."""
        return self.path / "trials.parquet"

    @property
    def metrics_table(self) -> Path:
        """One row a report."""
        return self.path / "metrics.parquet"

    def table(self, name: str) -> Path:
        """`trials` or `metrics`."""
        return {"trials": self.trials_table, "metrics": self.metrics_table}[name]

    def part(self, table: str, first: int, last: int) -> Path:
        """A table's rows of some trials, first to last, of a sweep that runs or was cut off."""
        return self._parts / f"{table}-{first:06d}-{last:06d}.parquet"

    def parts(self, table: str) -> dict[tuple[int, int], Path]:
        """The parts of a table that there are, by their first and last trial."""
        if self.remote is None:
            names = [path.name for path in self._parts.glob("*.parquet")]
        else:
            below = self.remote.place.sizes(self._parts.name)
            names = [key.rpartition("/")[2] for key in below]
        found = sorted(filter(None, map(_PART.fullmatch, names)), key=lambda match: match[0])
        return {
            (int(match[2]), int(match[3])): self._parts / match[0]
            for match in found
            if match[1] == table
        }

    def discard_parts(self) -> None:
        """Delete the parts of both tables."""
        shutil.rmtree(self._parts, ignore_errors=True)
        if self.remote is not None:
            self.remote.place.delete_below(self._parts.name)

    def discard_tables(self) -> None:
        """Delete both tables, whole and in parts."""
        for path in (self.trials_table, self.metrics_table):
            path.unlink(missing_ok=True)
            if self.remote is not None:
                self.remote.place.delete(path.name)
        self.discard_parts()

    @property
    def _parts(self) -> Path:
        return self.path / "tables"

    @property
    def report(self) -> Path:
        """The sweep as one page of plots and tables."""
        return self.path / "report.html"

    @property
    def best(self) -> Path:
        """The exported best model."""
        return self.path / "best"

    def exported(self, trial: int) -> Path:
        """The exported model of a trial that was asked for by its number."""
        return self.path / f"trial-{trial}"

    @property
    def best_experiment(self) -> Path:
        """The best trial as a Hydra experiment file; see `sweeps.experiment`."""
        return self.best / EXPERIMENT

    @property
    def retests(self) -> SweepFolder:
        """The best configurations trained again with other seeds: a sweep of its own, within."""
        inner = self.path / "retest"
        if self.remote is None:
            return SweepFolder(inner)
        return SweepFolder(inner, Remote(self.remote.place / inner.name, inner))

    @property
    def roster(self) -> Path:
        """Of a retest: which configurations and seeds; see `sweeps.retest.roster`."""
        return self.path / "retest.yaml"

    @property
    def retested(self) -> str | None:
        """Of a retest: the name of its sweep."""
        return self.storage.rpartition("/")[2] if self.roster.exists() else None

    @property
    def looks(self) -> Path:
        """When the test data was looked at; in a bucket a folder. See `sweeps.retest.looks`."""
        return self.path / ("looks.jsonl" if self.remote is None else "looks")

    @property
    def top(self) -> Path:
        """The exported best few models, a folder each."""
        return self.path / "top"

    def code_diff(self, run: int) -> Path:
        """What was not committed when a driver began, where it is too long for sweep.yaml."""
        return self.path / f"code-{run}.diff"

    def environment(self, identity: str) -> Path:
        """What trials were trained on: each distinct one once, by its hash."""
        return self.path / "environments" / f"{identity}.json"

    def provenance(self, job: Path) -> Path:
        """Which of them a job's segments were trained on, with which seed, flags and data."""
        return job / "provenance.json"

    def tracking(self, name: str) -> Path:
        """A file or folder of what trackers keep: what they were sent, their logs, their files."""
        return self.path / "tracking" / name

    def combined(self, kind: str) -> Path:
        """The exported `ensemble` or `soup` of the best models."""
        return self.path / kind

    def job(
        self, trial: int, run: int, *, rung: int | None = None, exploits: int = 0, life: int = 0
    ) -> Path:
        """A trial's Hydra job folder under one driver; another driver's lies beside it.

        Where a trial is trained anew at each rung, each rung's lies within. Where it went on from
        another trial's checkpoint it has other parameters, and a folder beside: 1, 1.1, 1.2, ...
        So it has where it goes on after its process or node was lost: 1, 1-1, 1-2, ...
        """
        name = f"{run}.{exploits}" if exploits else str(run)
        name = f"{name}-{life}" if life else name
        job = self.path / "trials" / str(trial) / name
        return job if rung is None else job / f"rung-{rung}"

    def job_of(self, checkpoint: str) -> Path:
        """The job folder in which a checkpoint lies that the journal names."""
        return (self.path / checkpoint).parent.parent

    def checkpoints(self, trial: int) -> list[Path]:
        """All that lies where a trial's checkpoints do, under any driver, half written ones too."""
        own = self.path / "trials" / str(trial)
        found = (path for job in _JOBS for path in own.glob(f"{job}/checkpoints/*"))
        return [path for path in found if is_ours(path.name)]

    def output(self, trial: int, run: int, *, exploits: int = 0, life: int = 0) -> Path:
        """What a trial printed under one driver, its traceback too if it raised; of repeats the
        first."""
        job = self.job(trial, run, exploits=exploits, life=life)
        first = repeat_folder(job, 0)
        return (first if first.is_dir() else job) / OUTPUT

    def outputs(self, trial: int) -> list[Path]:
        """All that a trial printed, oldest first."""
        own = self.path / "trials" / str(trial)
        if self.remote is not None:
            self.remote.pull_folder(own)
        found = [path for job in _JOBS for path in own.glob(f"{job}/{OUTPUT}")]
        return sorted(found, key=lambda path: _age(path.relative_to(own).as_posix()))

    def jobs(self, trial: int) -> list[Path]:
        """All of a trial's job folders, oldest first; of one in a bucket only their paths."""
        own = self.path / "trials" / str(trial)
        if self.remote is None:
            files = [path for job in _JOBS for path in own.glob(f"{job}/.hydra")]
            names = {self.relative(file.parent) for file in files}
        else:
            keys = self.remote.place.sizes(self.remote.key(own))
            names = {key.partition("/.hydra/")[0] for key in keys if "/.hydra/" in key}
        place = f"{self.relative(own)}/"
        return [self.path / name for name in sorted(names, key=lambda n: _age(n[len(place) :]))]

    def relative(self, path: Path) -> str:
        """A path inside the folder as the journal names it."""
        return path.relative_to(self.path).as_posix()

    def resolve(self, name: str | None) -> Path | None:
        """The path of what the journal names."""
        return None if name is None else self.path / name

    def has_checkpoint(self, name: str) -> bool:
        """Whether a checkpoint that the journal names is there."""
        if self.remote is not None:
            return self.remote.has_checkpoint(name)
        return (self.path / name).is_dir()

    def finder(self) -> Callable[[str], bool]:
        """As `has_checkpoint`, as it is now, for many names: a bucket is listed once."""
        if self.remote is not None:
            return self.remote.checkpoints().__contains__
        return self.has_checkpoint

    def begin(self) -> None:
        """Make the folder.

        Raises:
            ConfigError: It holds a sweep already, or cannot be written.
            BucketError: The bucket cannot be reached or written.
        """
        if self.sweep_yaml.exists() or self.journal.exists():
            raise ConfigError(
                f"hydra.sweeper.name is {self.name!r}, and that sweep exists in "
                f"{self.storage}: go on with it (caviar resume {self.place}) or choose another "
                f"name. Nothing was overwritten."
            )
        if self.remote is not None:
            check_bucket(self.storage)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            probe = self.path / ".probe"
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            raise ConfigError(
                f"hydra.sweeper.storage_path is {str(self.path.parent)!r}, which cannot be "
                f"written: {error.strerror}"
            ) from error

    def remove_if_empty(self) -> None:
        """Take back what `begin` made, for a sweep of which nothing was written."""
        with suppress(OSError):
            self.path.rmdir()


_PART = re.compile(r"(\w+)-(\d+)-(\d+)\.parquet")
_JOB = re.compile(r"(\d+)(?:\.(\d+))?(?:-(\d+))?(?:/rung-(\d+))?(?:/repeat-(\d+))?")
_JOBS = ("*", "*/rung-*", "*/repeat-*", "*/rung-*/repeat-*")
"""Where a trial's job folders may lie below its own."""


def _age(inner: str) -> list[int]:
    """What sorts a trial's job folders, named as `SweepFolder.job` does, oldest first."""
    found = _JOB.match(inner)
    return [int(part or 0) for part in found.groups()] if found else []


def find_sweep(
    name: str | os.PathLike[str], storage: Path | Bucket = DEFAULT_STORAGE
) -> SweepFolder:
    """The sweep of that folder or URL, or of that name under the storage path.

    Raises:
        ConfigError: There is none; the nearest names are listed.
        BucketError: The bucket cannot be reached or read.
    """
    given = str(name)
    if is_url(given):
        place = Bucket.parse(given, key="the sweep")
        storage, candidates = place.parent.impatient, [SweepFolder.at(place.parent, place.name)]
    elif isinstance(storage, Bucket):
        candidates = [SweepFolder.at(storage, given)]
    else:
        candidates = [SweepFolder(path.resolve()) for path in (Path(name), storage / name)]
    for folder in candidates:
        if folder.sweep_yaml.exists():
            return folder
    known = list_sweeps(storage)
    there = f"there are {', '.join(known[-5:])}" if known else f"there is none in {storage}"
    raise ConfigError(f"no sweep {given!r}: {there}{did_you_mean(given, known)}")


def list_sweeps(storage: Path | Bucket = DEFAULT_STORAGE) -> list[str]:
    """The names of the sweeps under a storage path, oldest first."""
    if isinstance(storage, Bucket):
        written = storage.changed(f"{name}/sweep.yaml" for name in storage.folders())
        return [key.partition("/")[0] for key in sorted(written, key=written.__getitem__)]
    return [path.parent.name for path in sorted(storage.glob("*/sweep.yaml"), key=_written)]


def _written(path: Path) -> float:
    """When a file was written; of one that goes meanwhile, long ago."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


@dataclass(frozen=True, kw_only=True)
class Record:
    """sweep.yaml: what was asked of a sweep, and where."""

    name: str
    app: Mapping[str, Any]
    """file or module, function, argv, cwd, sys_path, interpreter."""
    overrides: list[str]
    """The fixed overrides that every trial has."""
    space: Mapping[str, Any]
    """`Space.to_json()`."""
    metric: str | list[str]
    mode: str | list[str]
    """Lists where there are several objectives."""
    searcher: Mapping[str, Any]
    scheduler: Mapping[str, Any]
    num_samples: int
    seed: int
    options: Mapping[str, Any]
    """The rest of `hydra.sweeper`."""
    environment: Mapping[str, Any]
    """versions, git, hardware; see `sweeps.provenance.driver`."""
    format: int = FORMAT

    def write(self, folder: SweepFolder) -> None:
        """Write sweep.yaml."""
        text = yaml.safe_dump(vars(self), sort_keys=False, allow_unicode=True)
        write_whole(folder.sweep_yaml, text)
        folder.push(folder.sweep_yaml)

    @classmethod
    def read(cls, folder: SweepFolder) -> Record:
        """Read sweep.yaml.

        Raises:
            SweepError: It is missing, damaged, or of a later format.
        """
        try:
            fields = yaml.safe_load(folder.sweep_yaml.read_text(encoding="utf-8"))
            if not isinstance(fields, dict):
                raise TypeError("it holds no record of a sweep")
            record = cls(**fields)
        except (OSError, yaml.YAMLError, TypeError) as error:
            raise SweepError(
                f"{folder.shown(folder.sweep_yaml)} cannot be read: {error}"
            ) from error
        if record.format > FORMAT:
            raise SweepError(
                f"{folder.shown(folder.sweep_yaml)} was written by a newer caviar; update caviar"
            )
        return record
