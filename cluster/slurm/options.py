"""A Slurm profile's keys. They are submitit's where it has them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Optional

from cluster.errors import ConfigError, did_you_mean
from cluster.profile import Options, Profile, read_options

# ruff: noqa: UP045 - one spelling of types for all schemas that `typed` reads

MODES = ("elastic", "allocation")

_LEAST_DELAY_S = 45
_SPACE_S = 60
"""Slurm sends a job's signal up to a minute early."""

_OURS = {
    "array": "one submission is one sweep",
    "chdir": "see code.root",
    "error": "the log is where `caviar logs` finds it",
    "export": "see env",
    "job-name": "it is made from the sweep's name",
    "open-mode": "the log of a job that goes on is one",
    "output": "the log is where `caviar logs` finds it",
    "no-requeue": "the driver's job is requeued to go on",
    "requeue": "the driver's job is requeued to go on",
    "signal": "see signal_delay_s",
    "wrap": "see setup",
}
"""Options of sbatch that a profile cannot set -> why."""

_INSTEAD = {
    **{name: name for name in ("partition", "account", "qos", "gres", "constraint", "nodes")},
    **{"time": "timeout_min", "mem": "mem_gb", "gpus-per-node": "gpus_per_node"},
    **{"cpus-per-task": "cpus_per_task", "clusters": "cluster"},
}
"""Options of sbatch that have a key of their own."""


@dataclass(kw_only=True)
class JobOptions:
    """What a job asks of Slurm."""

    partition: Optional[str] = None
    account: Optional[str] = None
    qos: Optional[str] = None
    constraint: Optional[str] = None
    timeout_min: Optional[int] = None
    """The job's time limit; the partition's default without."""
    mem_gb: Optional[float] = None
    """Of each node."""
    cpus_per_task: Optional[int] = None
    """Of each node: one task, the Ray node, runs there."""
    additional_parameters: dict[str, Any] = field(default_factory=dict)
    """Further options of sbatch: `{exclude: node7}` is --exclude=node7, `{exclusive: true}` is
    --exclusive."""


@dataclass(kw_only=True)
class SlurmOptions(Options, JobOptions):
    """All keys. What a job asks for is asked for the nodes that train."""

    mode: str = "elastic"
    """elastic: a small job for the driver and jobs for workers that come and go; allocation: one
    job of all nodes."""
    workers: str = "0..4"
    """elastic: `least..most` worker jobs."""
    nodes: int = 1
    """allocation: how many nodes."""
    gres: Optional[str] = None
    gpus_per_node: Optional[str] = None
    """A number, or a kind and a number: `a100:2`."""
    driver: dict[str, Any] = field(default_factory=dict)
    """elastic: what the driver's job asks for, see `JobOptions`; partition, account and qos are the
    workers' without."""
    signal_delay_s: int = 120
    """How long before its time limit a job is told, so that it can save its state and go on in the
    next."""
    setup: list[str] = field(default_factory=list)
    """Lines of bash that every job runs first: `module load cuda`."""
    python: Optional[str] = None
    """The interpreter on the nodes, which has caviar; the one that submits without."""
    node_address: Optional[str] = None
    """A line of bash that prints the address at which the other nodes reach a node, where it has
    several: `hostname -I | cut -d' ' -f2`."""
    folder: str = "~/.caviar/slurm"
    """Where each submission keeps its scripts, token and logs: every node shares it."""
    cluster: Optional[str] = None
    """Of several Slurm clusters, which: `sbatch --clusters`."""

    @property
    def bounds(self) -> tuple[int, int]:
        """The least and the most worker jobs."""
        least, dots, most = self.workers.partition("..")
        return int(least), int(most if dots else least)

    @property
    def driver_job(self) -> JobOptions:
        """What the driver's job asks for in elastic mode."""
        shared = {name: getattr(self, name) for name in ("partition", "account", "qos")}
        small = {"cpus_per_task": 2, "mem_gb": 4.0}
        return read_options({**shared, **small, **self.driver}, JobOptions, key="driver")


def read_slurm(profile: Profile) -> SlurmOptions:
    """A profile's options.

    Raises:
        ConfigError: A key or a value that cannot be.
    """
    options = profile.read(SlurmOptions)
    key = f"cluster {profile.name}"
    if options.mode not in MODES:
        near = did_you_mean(options.mode, MODES)
        raise ConfigError(f"{key}.mode is {options.mode!r}; it must be {' or '.join(MODES)}{near}")
    if options.mode == "elastic":
        _check_workers(options, key)
    if options.nodes < 1:
        raise ConfigError(f"{key}.nodes is {options.nodes}; it must be at least 1")
    driver = read_options(options.driver, JobOptions, key=f"{key}.driver")
    for where, job in ((key, options), (f"{key}.driver", driver)):
        _check_job(job, options.signal_delay_s, where)
    if options.mode == "allocation" and options.driver:
        raise ConfigError(f"{key}.driver is set, and mode=allocation has one job: leave it out")
    return options


def _check_workers(options: SlurmOptions, key: str) -> None:
    if re.fullmatch(r"\d+(\.\.\d+)?", options.workers):
        least, most = options.bounds
        if least <= most and most > 0:
            return
    raise ConfigError(
        f"{key}.workers is {options.workers!r}; it must be least..most worker jobs, such as 0..16, "
        f"or their number"
    )


def _check_job(job: JobOptions, signal_delay_s: int, key: str) -> None:
    for name in ("timeout_min", "mem_gb", "cpus_per_task"):
        value = getattr(job, name)
        if value is not None and value <= 0:
            raise ConfigError(f"{key}.{name} is {value}; it must be more than 0")
    if signal_delay_s < _LEAST_DELAY_S:
        raise ConfigError(
            f"{key}.signal_delay_s is {signal_delay_s}; it must be at least {_LEAST_DELAY_S}: so "
            f"long it may take until the state is saved and Ray has ended"
        )
    if job.timeout_min is not None and job.timeout_min * 60 <= signal_delay_s:
        raise ConfigError(
            f"{key}.timeout_min is {job.timeout_min}, {job.timeout_min * 60} s, and signal_delay_s "
            f"{signal_delay_s}: a job would be told to end as it begins; give it more time, at "
            f"least {(signal_delay_s + _SPACE_S) // 60 + 1} minutes"
        )
    for name, value in job.additional_parameters.items():
        _check_parameter(str(name).replace("_", "-"), value, f"{key}.additional_parameters.{name}")


def _check_parameter(name: str, value: Any, key: str) -> None:
    if not re.fullmatch(r"[a-z][a-z-]*", name):
        raise ConfigError(f"{key}: give an option of sbatch by its long name, without dashes")
    if name in _OURS:
        raise ConfigError(f"{key} cannot be set: {_OURS[name]}")
    if name in _INSTEAD:
        raise ConfigError(f"{key} has a key of its own: set {_INSTEAD[name]}")
    if isinstance(value, Mapping | list):
        raise ConfigError(f"{key} is {value!r}; it must be a text, a number, true or null")


def sbatch_flags(job: JobOptions) -> Iterable[str]:
    """The options of sbatch that a job's keys come to: `--partition=gpu`."""
    for name in ("partition", "account", "qos", "constraint"):
        if (value := getattr(job, name)) is not None:
            yield f"--{name}={value}"
    if isinstance(job, SlurmOptions):
        yield from _gpu_flags(job)
    if job.timeout_min is not None:
        yield f"--time={job.timeout_min}"
    if job.mem_gb is not None:
        yield f"--mem={round(job.mem_gb * 1024)}M"
    if job.cpus_per_task is not None:
        yield f"--cpus-per-task={job.cpus_per_task}"
    for name, value in job.additional_parameters.items():
        option = f"--{str(name).replace('_', '-')}"
        if value is True or value is None:
            yield option
        elif value is not False:
            yield f"{option}={value}"


def _gpu_flags(job: SlurmOptions) -> Iterable[str]:
    if job.gres is not None:
        yield f"--gres={job.gres}"
    if job.gpus_per_node is not None:
        yield f"--gpus-per-node={job.gpus_per_node}"


KEYS = tuple(each.name for each in fields(SlurmOptions))
"""Every key of a profile, for the template's test."""
