"""The scripts that Slurm runs, as text: sbatch's options, the profile's setup, one command."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from cluster.errors import ConfigError
from cluster.slurm.folder import JobFolder
from cluster.slurm.options import SlurmOptions, sbatch_flags


def driver_script(options: SlurmOptions, job: JobFolder, *, python: str) -> str:
    """The job of the head and the sweep's driver: a small one, or all nodes."""
    elastic = options.mode == "elastic"
    nodes = 1 if elastic else options.nodes
    flags = [
        *_common(job.key, job.log, nodes),
        "--requeue",
        f"--signal=B:USR1@{options.signal_delay_s}",
        *sbatch_flags(options.driver_job if elastic else options),
    ]
    return _script(flags, options, job, [python, "-P", "-m", "cluster.slurm.driver", "."])


def worker_script(options: SlurmOptions, job: JobFolder, *, python: str) -> str:
    """The job of one worker; in an allocation it is a step, and its options are not read."""
    flags = [
        *_common(job.workers, job.worker_log("%j"), 1),
        "--no-requeue",  # the driver asks for another where there is work
        f"--signal=B:USR1@{options.signal_delay_s}",
        *sbatch_flags(options),
    ]
    return _script(flags, options, job, [python, "-P", "-m", "cluster.slurm.worker", "."])


def _common(name: str, log: object, nodes: int) -> Iterable[str]:
    return (
        f"--job-name={name}",
        f"--output={log}",
        "--open-mode=append",
        f"--nodes={nodes}",
        "--ntasks-per-node=1",
    )


def _script(flags: Iterable[str], options: SlurmOptions, job: JobFolder, command: list[str]) -> str:
    lines = ["#!/bin/bash", *(f"#SBATCH {_quoted(flag)}" for flag in flags), "set -euo pipefail"]
    lines += ["trap 'exit 130' INT TERM", f"cd {shlex.quote(str(job.path))}"]
    if options.setup:
        # modules and conda read variables that are not set
        lines += ["set +u", *options.setup, "set -u"]
    if options.node_address:
        lines += [f"CAVIAR_NODE_ADDRESS=$({options.node_address})", "export CAVIAR_NODE_ADDRESS"]
    lines += [f"exec {shlex.join(command)}"]
    return "\n".join(lines) + "\n"


def _quoted(flag: str) -> str:
    """An option as sbatch reads it from a script: `--x='a b'`."""
    if "\n" in flag:
        raise ConfigError(f"{flag!r} cannot be given to sbatch: it has more than one line")
    name, equals, value = flag.partition("=")
    return f"{name}{equals}{shlex.quote(value)}" if equals else name
