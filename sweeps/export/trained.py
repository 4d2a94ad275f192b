"""What a trial left behind: its job's config, its best checkpoint, and what its app stood in."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, chdir, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import setup_globals
from hydra.errors import HydraException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException, UnsupportedInterpolationType

from sweeps.errors import SweepError
from sweeps.journal.objective import Objective
from sweeps.journal.trials import Trial
from sweeps.planning.app import App, load_app
from sweeps.planning.relocate import find_app
from sweeps.results import SweepResults
from sweeps.storage.checkpoints import best_left
from sweeps.storage.folder import SweepFolder
from sweeps.storage.repeated import Standing, is_joined, repeat_folder, split

_NEEDS_THE_JOB = r"\$\{(hydra|now):"


@dataclass(frozen=True, kw_only=True)
class Repeat:
    """One of a trial's repeats."""

    number: int
    count: int
    values: tuple[float, ...]
    """Its objective where its checkpoint was written, and its best one until then."""

    @property
    def value(self) -> float | None:
        """The former."""
        return next(iter(self.values), None)


@dataclass(frozen=True, kw_only=True)
class TrainedTrial:
    """A trial of a sweep, and the job folder that its best checkpoint lies in."""

    sweep: SweepResults
    trial: Trial
    job: Path
    checkpoint: Path | None
    """The checkpoint of the best report while it is there, else the newest."""
    chosen: str | None = None
    """How it was chosen, where that was not as the best of the sweep's trials."""
    repeat: Repeat | None = None
    """Which of the trial's repeats it is, where it was trained several times."""

    @classmethod
    def of(cls, sweep: SweepResults, trial: Trial) -> TrainedTrial:
        """Find the job folder: of several drivers, rungs or parameters each has its own."""
        folder = sweep.folder
        name = best_left(folder.has_checkpoint, trial)
        job = folder.job_of(name) if name is not None else _best_job(folder, trial)
        folder.pull_job(job, name)
        checkpoint = folder.resolve(name)
        if checkpoint is None or not is_joined(checkpoint):
            return cls(sweep=sweep, trial=trial, job=job, checkpoint=checkpoint)
        repeat, checkpoint = _best_repeat(split(checkpoint), sweep.objective)
        job = repeat_folder(job, repeat.number)
        return cls(sweep=sweep, trial=trial, job=job, checkpoint=checkpoint, repeat=repeat)

    def recorded(self, epoch: int | None = None) -> list[float]:
        """What was recorded of the model's objective: in its best epoch, or also in this one."""
        if self.repeat is not None:
            return list(self.repeat.values)
        value, reports = self.trial.value, self.trial.reports
        if self.sweep.objective.at == "last" and epoch in reports:
            value = reports[epoch].value  # the trainer still keeps its best epoch
        return [] if value is None else [value]

    @property
    def what(self) -> str:
        """Such as `trial 7`."""
        of = "" if self.chosen is None else f" of {self.sweep.record.name}"
        which = "" if self.repeat is None else f", repeat {self.repeat.number}"
        return f"trial {self.trial.number}{which}{of}"

    @cached_property
    def app(self) -> App:
        """The app as it is found here; as it was recorded where it is not: it may not be needed."""
        recorded = App(**self.sweep.record.app)
        try:
            return find_app(recorded)
        except SweepError:
            return recorded

    def config(self) -> DictConfig:
        """The job's composed config, its interpolations as they were written.

        Raises:
            SweepError: It is not there, or damaged.
        """
        return self._read("config.yaml")

    def choices(self) -> dict[str, str]:
        """The config groups' choices."""
        chosen = OmegaConf.to_container(self._read("hydra.yaml").hydra.runtime.choices)
        assert isinstance(chosen, dict)
        return {str(k): str(v) for k, v in chosen.items() if not str(k).startswith("hydra/")}

    @contextmanager
    def surroundings(self) -> Iterator[None]:
        """Stand where the job stood: its app's paths and working folder, and `${hydra:...}`."""
        app, hydra = self.app, self._read("hydra.yaml").hydra
        with ExitStack() as stack:
            stack.callback(Singleton.set_state, Singleton.get_state())
            stack.enter_context(self.import_paths())
            if Path(app.cwd).is_dir():
                stack.enter_context(chdir(app.cwd))
                hydra.runtime.cwd = app.cwd  # the job's may be a node's own copy
            setup_globals()
            HydraConfig.instance().set_config(_typed(hydra))
            yield

    @contextmanager
    def import_paths(self) -> Iterator[None]:
        """The app's import paths behind this process's own."""
        before = list(sys.path)
        sys.path.extend(path for path in self.app.sys_path if path not in before)
        try:
            yield
        finally:
            sys.path[:] = before

    def instantiate(self, config: DictConfig) -> dict[str, Any]:
        """The parts that a config describes; inside `surroundings`.

        Raises:
            SweepError: One of them cannot be built.
        """
        try:
            return self._with_resolvers(config)
        except (HydraException, OmegaConfBaseException) as error:
            raise SweepError(
                f"trial {self.trial.number}'s model cannot be built: {error}"
            ) from error

    def _with_resolvers(self, config: DictConfig) -> dict[str, Any]:
        try:
            parts: dict[str, Any] = instantiate(config, _convert_="all")
        except UnsupportedInterpolationType:
            load_app(self.app)  # it registers resolvers of its own
            parts = instantiate(config, _convert_="all")
        return parts

    def _read(self, name: str) -> DictConfig:
        try:
            config = OmegaConf.load(self.job / ".hydra" / name)
        except (OSError, yaml.YAMLError) as error:
            raise SweepError(
                f"trial {self.trial.number}'s config cannot be read: {error}"
            ) from error
        assert isinstance(config, DictConfig)
        return config


def _best_job(folder: SweepFolder, trial: Trial) -> Path:
    best = trial.best
    if best is None:
        return _first_repeat(folder.job(trial.number, trial.run, life=trial.lives))
    rung = None if best.fidelity is None else best.step
    first, *later = (
        folder.job(trial.number, best.run, rung=rung, life=life)
        for life in range(trial.losses + trial.preemptions + 1)
    )
    return _first_repeat(next((job for job in reversed(later) if job.is_dir()), first))


def _first_repeat(job: Path) -> Path:
    """The job folder of the first repeat, where a trial was trained several times."""
    first = repeat_folder(job, 0)
    return first if first.is_dir() else job


def _best_repeat(repeats: Sequence[Standing], objective: Objective) -> tuple[Repeat, Path]:
    """The repeat whose model is best, and its checkpoint."""
    metric = objective.metric

    def loss(number: int) -> float:
        value = repeats[number].kept.get(metric)
        return math.inf if value is None else objective.loss(value)

    there = [number for number, each in enumerate(repeats) if each.checkpoint is not None]
    best = repeats[number := min(there, key=loss)]
    assert best.checkpoint is not None
    values = tuple(v for v in (best.kept.get(metric), best.best) if v is not None)
    return Repeat(number=number, count=len(repeats), values=values), best.checkpoint


def _typed(hydra: Any) -> DictConfig:
    """The `hydra` node of a job as `HydraConfig` wants it: typed, and open to what plugins add."""
    typed = OmegaConf.structured(HydraConf)
    OmegaConf.set_struct(typed, False)
    typed.merge_with(hydra)
    config: DictConfig = OmegaConf.create({"hydra": typed})
    return config


def without_job(config: DictConfig, *, inline: str | None = None) -> DictConfig:
    """The config with what only its job knew filled in; the rest, `${oc.env:X}` too, is kept.

    With `inline`, what refers to that key or a part of it is filled in as well.
    """
    marks = _NEEDS_THE_JOB if inline is None else rf"{_NEEDS_THE_JOB}|\$\{{\.*{inline}\b"
    done: DictConfig = OmegaConf.create(_filled_in(config, OmegaConf.to_container(config), marks))
    return done


def part_by_itself(config: DictConfig, key: str) -> Any:
    """What a key holds, to stand in another config; None where there is no such key.

    All but `${oc.env:X}` is filled in, so inside `surroundings` alone.
    """
    raw = OmegaConf.to_container(config)
    assert isinstance(raw, dict)
    return _filled_in_child(config, key, raw[key], r"\$\{(?!oc\.env:)") if key in raw else None


def _filled_in(node: Any, raw: Any, marks: str) -> Any:
    children: Mapping[Any, Any] = raw if isinstance(raw, dict) else dict(enumerate(raw))
    done = {key: _filled_in_child(node, key, child, marks) for key, child in children.items()}
    return done if isinstance(raw, dict) else list(done.values())


def _filled_in_child(node: Any, key: Any, raw: Any, marks: str) -> Any:
    if isinstance(raw, dict | list):
        return _filled_in(node[key], raw, marks)
    if isinstance(raw, str) and re.search(marks, raw):
        value = node[key]
        return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
    return raw
