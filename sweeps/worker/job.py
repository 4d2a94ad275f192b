"""One segment of a trial in this process, run as Hydra runs a job, in clean surroundings."""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import sys
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from hydra import version
from hydra._internal.callbacks import Callbacks
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.core.utils import (
    JobReturn,
    JobRuntime,
    JobStatus,
    configure_log,
    env_override,
    setup_globals,
)
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf._utils import OmegaConfDumper

from sweeps.planning.app import App, TaskFunction
from sweeps.planning.overriding import as_given
from sweeps.planning.relocate import Move
from sweeps.secrets import masked_values
from sweeps.storage.folder import OUTPUT
from sweeps.worker.continuing import note, set_all
from sweeps.worker.slate import Generators, closing_bars, keeping_loggers, reset_accelerate
from sweeps.worker.trackers import tracked
from sweeps.worker.trackers.segment import AppRun


class JobRunner:
    """Runs a task function's jobs one after another in this process."""

    def __init__(
        self, app: App, task: TaskFunction, search_path: ConfigSearchPath, move: Move
    ) -> None:
        self._app = app
        self._task = task
        self._move = move
        setup_globals()
        JobRuntime.instance().set("name", app.name)
        Plugins.instance()  # scans Hydra's plugins, config sources among them
        self._loader = ConfigLoaderImpl(config_search_path=search_path)
        self._generators = Generators()

    def run(
        self,
        config: DictConfig,
        folder: Path,
        *,
        seed: int,
        rank: int = 0,
        run: AppRun | None = None,
        continued: Mapping[str, str] | None = None,
    ) -> Any:
        """Call the task function with the composed config; return what it returns.

        Args:
            config: As Hydra composed it, `hydra` node and all, unresolved.
            folder: The job's output folder.
            seed: For the generators of Python, NumPy and torch.
            rank: Of a trial's processes in one folder, 0 writes Hydra's files; each has its log.
            run: Which run of a tracker is the task's, if it calls one.
            continued: What is set besides, for this segment alone: override key -> value.
        """
        _place(config, folder)
        self._move.config(config)
        folder.mkdir(parents=True, exist_ok=True)
        context = HydraContext(config_loader=self._loader, callbacks=Callbacks(config))
        with (
            _surroundings(self._app, config, _of_rank(folder / OUTPUT, rank)),
            tracked(run, folder, rank),
        ):
            self._generators.reset(seed)
            reset_accelerate()
            return _run_job(self._task, config, folder, context, rank, continued or {})


def _place(config: DictConfig, folder: Path) -> None:
    """Tell Hydra where the job's folder is."""
    with read_write(config), open_dict(config):
        config.hydra.sweep.dir = str(folder.parent)
        config.hydra.sweep.subdir = folder.name
        config.hydra.runtime.output_dir = str(folder)


def _of_rank(file: Path, rank: int) -> Path:
    """The file's name with the rank before its suffix, for all but the first."""
    return file.with_name(f"{file.stem}.{rank}{file.suffix}") if rank else file


def _run_job(
    task: TaskFunction,
    config: DictConfig,
    folder: Path,
    context: HydraContext,
    rank: int,
    continued: Mapping[str, str],
) -> Any:
    """What `hydra.core.utils.run_job` does, at a third of its cost.

    Hydra copies the config deeply five times, which takes longer than a short segment's training;
    here it is copied by pickling, and only as often as the app may change a copy.
    """
    with read_write(config):
        config.hydra.job.chdir = _chdir(config)
    task_config, hydra_config = _copies(config)
    with read_write(task_config), open_dict(task_config):
        del task_config["hydra"]
    done = JobReturn()
    done.cfg, done.hydra_cfg = task_config, hydra_config
    done.overrides = as_given(config.hydra.overrides.task)
    done.task_name = JobRuntime.instance().get("name")
    with _hydra_config(config, hydra_config), _in_folder(folder if _chdir(config) else None):
        done.working_dir = os.getcwd()
        configure_log(_logging(config, rank), config.hydra.verbose)
        if config.hydra.output_subdir is not None and rank == 0:
            _save(task_config, hydra_config, folder / config.hydra.output_subdir)
            note(continued, folder / config.hydra.output_subdir)
        set_all(continued, config, task_config)
        with env_override(config.hydra.job.env_set):
            context.callbacks.on_job_start(config=config, task_function=task)
            try:
                done.return_value = task(task_config)
                done.status = JobStatus.COMPLETED
            except Exception as error:
                done.return_value, done.status = error, JobStatus.FAILED
                raise
            finally:
                for handler in logging.getLogger().handlers:
                    handler.flush()
                if done.status is not JobStatus.UNKNOWN:
                    context.callbacks.on_job_end(config=config, job_return=done)
    return done.return_value


def _logging(config: DictConfig, rank: int) -> DictConfig:
    """Hydra's logging of the job; ranks that share a folder do not share a file."""
    logging_config: DictConfig = config.hydra.job_logging
    if rank:
        with read_write(logging_config), open_dict(logging_config):
            for handler in (logging_config.get("handlers") or {}).values():
                if handler.get("filename") is not None:
                    handler.filename = str(_of_rank(Path(handler.filename), rank))
    return logging_config


def _copies(config: DictConfig) -> tuple[DictConfig, DictConfig]:
    payload = pickle.dumps(config, protocol=pickle.HIGHEST_PROTOCOL)
    return pickle.loads(payload), pickle.loads(payload)  # noqa: S301 - of this very process


def _chdir(config: DictConfig) -> bool:
    asked = config.hydra.job.chdir
    return not version.base_at_least("1.2") if asked is None else bool(asked)


@contextlib.contextmanager
def _hydra_config(config: DictConfig, hydra_config: DictConfig) -> Iterator[None]:
    """Make `HydraConfig.get()` answer: the hydra node alone, whose parent is the whole config."""
    with read_write(hydra_config), open_dict(hydra_config):
        for key in [key for key in hydra_config if key != "hydra"]:
            del hydra_config[key]
    OmegaConf.set_readonly(config.hydra, True)
    OmegaConf.set_readonly(hydra_config.hydra, True)
    hydra_config.hydra._set_parent(config)
    held = HydraConfig.instance()
    before, held.cfg = held.cfg, hydra_config  # type: ignore[assignment]
    try:
        yield
    finally:
        held.cfg = before


@contextlib.contextmanager
def _in_folder(folder: Path | None) -> Iterator[None]:
    with contextlib.nullcontext() if folder is None else contextlib.chdir(folder):
        yield


def _save(task_config: DictConfig, hydra_config: DictConfig, folder: Path) -> None:
    """Write the files that Hydra writes beside a job, unless an earlier segment has.

    Secrets are masked: the folder is what is looked at, copied and shared.
    """
    if (folder / "overrides.yaml").exists():  # the last of them
        return
    folder.mkdir(parents=True, exist_ok=True)
    for name, config in {
        "config": task_config,
        "hydra": hydra_config,
        "overrides": hydra_config.hydra.overrides.task,
    }.items():
        (folder / f"{name}.yaml").write_text(_to_yaml(config), encoding="utf-8")


class _Dumper(getattr(yaml, "CDumper", yaml.Dumper)):  # type: ignore[misc]
    """OmegaConf's own dumper on libyaml, where that is: half the time, the same text."""


_Dumper.add_representer(str, OmegaConfDumper.str_representer)


def _to_yaml(config: Any) -> str:
    plain = masked_values(OmegaConf.to_container(config, enum_to_str=True))
    text: str = yaml.dump(
        plain, default_flow_style=False, allow_unicode=True, sort_keys=False, Dumper=_Dumper
    )
    return text


@contextlib.contextmanager
def _surroundings(app: App, config: DictConfig, output: Path) -> Iterator[None]:
    """The working folder, command line, environment and output of a job of its own."""
    environment = dict(os.environ)
    cwd, argv = os.getcwd(), sys.argv
    sys.argv = [app.file or str(app.module), *as_given(config.hydra.overrides.task)]
    if os.path.isdir(app.cwd):
        os.chdir(app.cwd)
    try:
        with keeping_loggers(), _output_to(output), closing_bars():
            yield
    finally:
        sys.argv = argv
        os.chdir(cwd)
        _restore(environment)


def _restore(environment: Mapping[str, str]) -> None:
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    os.environ.update(environment)


@contextlib.contextmanager
def _output_to(path: Path) -> Iterator[None]:
    """Send what this process and its children print to a file, C libraries included."""
    with path.open("ab") as file:
        kept = [os.dup(1), os.dup(2)]
        try:
            _flush()
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
            yield
        except Exception:
            traceback.print_exc()
            raise
        finally:
            _flush()
            for stream, descriptor in zip((1, 2), kept, strict=True):
                os.dup2(descriptor, stream)
                os.close(descriptor)


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
