"""What must hold before a sweep can run on a Slurm cluster, each looked at within seconds."""

from __future__ import annotations

import importlib.metadata
import json
import re
import secrets
import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from cluster.backend import Check
from cluster.errors import ClusterError, did_you_mean
from cluster.slurm.commands import Slurm, run_slurm
from cluster.slurm.options import JobOptions, SlurmOptions, sbatch_flags

_OF_ONE_MACHINE = ("btrfs", "ext2", "ext3", "ext4", "overlay", "ramfs", "tmpfs", "xfs", "zfs")
"""File systems that other nodes do not see, unless they are exported."""

_NODE_S = 5
"""How long a free node is waited for."""

_LOOK_S = 25.0


def checks(
    slurm: Slurm,
    options: SlurmOptions,
    scripts: Mapping[str, str],
    folder: Path,
    storage: str | None,
) -> Iterator[Check]:
    """Slurm's commands, its answer to each script, time limits, file systems, and a node."""
    try:
        version = run_slurm(["sbatch", "--version"]).strip()
    except ClusterError as error:
        yield Check(name="slurm", ok=False, what=str(error), todo="run on a login node")
        return
    yield Check(name="slurm", ok=True, what=version)
    accepted = True
    for name, script in scripts.items():
        check = _accepts(slurm, options, name, script)
        accepted = accepted and check.ok
        yield check
    if not accepted:
        return
    yield _time_limit(slurm, options)
    for name, place in _places(folder, storage):
        yield _shared(name, place)
    yield from _look_at_a_node(slurm, options, folder, storage)


def _accepts(slurm: Slurm, options: SlurmOptions, name: str, script: str) -> Check:
    """Whether Slurm would take a job."""
    try:
        told = slurm.test(script)
    except ClusterError as error:
        return Check(name=name, ok=False, what=str(error), todo=_what_to_do(slurm, options, error))
    found = re.search(r"to start at (\S+) .*in partition (\S+)", told)
    start = f"Slurm would begin it {found[1]} in partition {found[2]}" if found else told
    return Check(name=name, ok=True, what=start)


def _what_to_do(slurm: Slurm, options: SlurmOptions, error: ClusterError) -> str:
    said = str(error).lower()
    if "partition" in said:
        there = [name.rstrip("*") for name in slurm.partition(None, "%P")]
        asked = {options.partition, options.driver_job.partition} - {None, *there}
        near = "".join(did_you_mean(str(name), there) for name in asked)
        return f"set partition to one of {', '.join(there)}{near}"
    if "account" in said:
        return "set account and qos: `sacctmgr show assoc user=$USER` lists yours"
    if "node config" in said or "nodes required" in said:
        return "no node has what is asked: lower cpus_per_task, mem_gb, gres or constraint"
    return "change what the profile asks for, or ask the cluster's administrators"


def _time_limit(slurm: Slurm, options: SlurmOptions) -> Check:
    """Whether each job's limit is one that its partition allows."""
    jobs: dict[str, JobOptions] = {"timeout_min": options}
    if options.mode == "elastic":
        jobs["driver.timeout_min"] = options.driver_job
    for key, job in jobs.items():
        most = longest(slurm.partition(job.partition, "%l"))
        if job.timeout_min and most and job.timeout_min > most:
            return Check(
                name="time limit",
                ok=False,
                what=f"{key} is {job.timeout_min}, and the partition allows {most} minutes",
                todo=f"set {key} to at most {most}: the sweep goes on in the next job by itself",
            )
    return Check(name="time limit", ok=True, what="as the partitions allow")


def longest(limits: list[str]) -> int | None:
    """The longest of sinfo's limits, `1-00:00:00`, in minutes; None where there is none."""
    minutes = []
    for limit in limits:
        found = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", limit)
        if found is None:
            return None
        days, hours, rest = (int(found[place] or 0) for place in (1, 2, 3))
        minutes.append((days * 24 + hours) * 60 + rest)
    return max(minutes, default=None)


# File systems


def _places(folder: Path, storage: str | None) -> Iterator[tuple[str, Path]]:
    yield "the profile's folder", folder
    if storage and "://" not in storage:
        yield "the storage", Path(storage)


def _shared(name: str, place: Path) -> Check:
    """Whether a folder lies on a file system that other nodes may see."""
    kind = _file_system(place)
    ok = kind not in _OF_ONE_MACHINE
    return Check(
        name=name,
        ok=ok,
        what=f"{place} is on {kind}" + ("" if ok else ", which other nodes may not see"),
        todo="" if ok else "take a folder on a file system that all nodes share",
        warning=True,
    )


def _file_system(place: Path) -> str:
    """The type of the file system under a folder, or under the nearest one that is there."""
    there = next(path for path in (place, *place.parents) if path.exists()).resolve()
    mounts: dict[str, str] = {}
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        where, _, what = line.partition(" - ")
        mounts[where.split()[4].replace("\\040", " ")] = what.split()[0]
    under = [mount for mount in mounts if there.is_relative_to(mount)]
    return mounts[max(under, key=len)] if under else "an unknown file system"


# A node

_LOOK = """\
import importlib.metadata as m, json, os, pathlib, platform, sys
told = {"python": platform.python_version(), "places": {}}
for name in ("caviar", "ray"):
    try:
        told[name] = m.version(name)
    except m.PackageNotFoundError:
        told[name] = None
for place in sys.argv[2:]:
    try:
        seen = (pathlib.Path(place) / sys.argv[1]).read_text()
        (pathlib.Path(place) / sys.argv[1]).write_text(seen + "!")
        told["places"][place] = ""
    except OSError as error:
        told["places"][place] = error.strerror
print("caviar:" + json.dumps(told))
"""


def _look_at_a_node(
    slurm: Slurm, options: SlurmOptions, folder: Path, storage: str | None
) -> Iterator[Check]:
    """What a node of the workers has, and whether it sees what is written here."""
    places = [place for _, place in _places(folder, storage)]
    mark = f".caviar-{secrets.token_hex(4)}"
    try:
        for place in places:
            place.mkdir(parents=True, exist_ok=True)
            (place / mark).write_text("here")
        told = _ask_a_node(slurm, options, [mark, *map(str, places)])
        if isinstance(told, Check):
            yield told
            return
        yield _versions(told)
        for place in places:
            yield _seen(place, mark, told["places"][str(place)])
    except OSError as error:
        what = f"{error.filename}: {error.strerror}"
        yield Check(name="storage", ok=False, what=what, todo="take a folder that you can write to")
    finally:
        for place in places:
            with suppress(OSError):
                (place / mark).unlink()


def _ask_a_node(
    slurm: Slurm, options: SlurmOptions, arguments: list[str]
) -> Mapping[str, Any] | Check:
    python = options.python or sys.executable
    lines = [
        "set -eo pipefail",
        *options.setup,
        shlex.join([python, "-P", "-c", _LOOK, *arguments]),
    ]
    command = ["srun", f"--immediate={_NODE_S}", "--nodes=1", "--ntasks=1", "--quiet"]
    command += [f"--clusters={slurm.cluster}"] if slurm.cluster else []
    command += [*sbatch_flags(options), "--time=2", "--job-name=caviar-doctor"]
    try:
        printed = run_slurm([*command, "bash", "-c", "\n".join(lines)], timeout=_LOOK_S)
    except ClusterError as error:
        if "immediate" in str(error).lower() or "did not answer" in str(error):
            return Check(
                name="a node",
                ok=False,
                what=f"no node was free within {_NODE_S} s, so none was looked at",
                todo="try again, or submit: what is missing there shows in the log",
                warning=True,
            )
        todo = "see that the profile's setup and python work on a node: `srun --pty bash`"
        return Check(name="a node", ok=False, what=str(error), todo=todo)
    said = next(line for line in printed.splitlines() if line.startswith("caviar:"))
    return dict(json.loads(said.removeprefix("caviar:")))


def _versions(told: Mapping[str, Any]) -> Check:
    missing = [name for name in ("caviar", "ray") if told[name] is None]
    ours = importlib.metadata.version("caviar")
    what = f"a node has Python {told['python']}, ray {told['ray']}, caviar {told['caviar']}"
    if missing:
        todo = f"install {' and '.join(missing)} there, or set python or setup in the profile"
        return Check(name="a node", ok=False, what=what, todo=todo)
    same = told["caviar"] == ours
    return Check(
        name="a node",
        ok=same,
        what=what + ("" if same else f", and here is caviar {ours}"),
        todo="" if same else "install the same version on both sides",
        warning=True,
    )


def _seen(place: Path, mark: str, error: str) -> Check:
    """Whether a node read what was written here, and we what it wrote."""
    answered = (place / mark).read_text(encoding="utf-8") == "here!"
    ok = not error and answered
    why = error or "what it wrote does not come here"
    return Check(
        name="shared",
        ok=ok,
        what=f"a node reads and writes {place}" if ok else f"a node cannot use {place}: {why}",
        todo="" if ok else "take a folder on a file system that all nodes share",
    )
