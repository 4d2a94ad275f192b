"""What trials used, in words, and what should be changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import median

from sweeps.planning.resources import Resources
from sweeps.usage.fitting import fitting, waits_for_data
from sweeps.usage.measured import Usage, fullest

ENOUGH_S = 5.0
"""Of all trials together: less tells more of how they start than of how they train."""

_GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that trials used."""

    what: str
    median: str
    most: str
    of: str
    """Of how much; empty where that is not known."""

    def __str__(self) -> str:
        most = f" (at most {self.most})" if self.most != self.median else ""
        return f"{self.what} {self.median}{most}{self.of and f' of {self.of}'}"


def findings(usages: Sequence[Usage], each: Resources) -> list[Finding]:
    """What was used, of what.

    Args:
        usages: One a trial.
        each: What each process of a trial was given.
    """
    found = []
    if held := [fullest(usage) for usage in usages if usage.gpus]:
        total = _size(max(gpu.total for gpu in held))
        found.append(_finding("GPU memory", [gpu.memory for gpu in held], _size, total))
        found.append(_finding("GPU busy", [gpu.busy for gpu in held], _share, "the time"))
    cpus = [usage.cpus for usage in usages]
    found.append(_finding("CPUs", cpus, "{:.1f}".format, f"{each.cpus:g}"))
    found.append(_finding("memory", [usage.memory for usage in usages], _size))
    loading = [usage.loading for usage in usages]
    found.append(_finding("loading data", loading, _share, "the time"))
    return found


def suggestions(usages: Sequence[Usage], each: Resources) -> list[str]:
    """What would fit better, most often nothing; never from less than `ENOUGH_S` seconds."""
    if not is_enough(usages):
        return []
    said = []
    better, reasons = fitting(usages, each)
    if reasons:
        said.append(f"'{_override(better)}' would fit: {'; '.join(reasons)}")
    elif fitting([_on_an_idle_node(usage) for usage in usages], each)[1]:
        said.append(_full(usages))
    if waits_for_data(usages):
        share = _share(median(usage.loading for usage in usages))
        said.append(
            f"{share} of the time goes into loading data: give the loader more workers "
            f"(DataLoader's num_workers, and a CPU for each), or keep the data in memory"
        )
    return said


def advice(usages: Sequence[Usage], each: Resources) -> list[str]:
    """What was used and what would fit, in lines; none where too little was seen."""
    if not is_enough(usages):
        return []
    trials = f"the first {len(usages)} trials" if len(usages) > 1 else "the first trial"
    used = ", ".join(map(str, findings(usages, each)))
    return [f"{trials} used: {used}{of_ranks(each)}", *suggestions(usages, each)]


def is_enough(usages: Sequence[Usage]) -> bool:
    """Whether they were looked at for long enough to say anything."""
    return sum(usage.seconds for usage in usages) >= ENOUGH_S


def of_ranks(each: Resources) -> str:
    """Whose this is, where a trial has several processes."""
    return f" (in rank 0; a trial takes {each.workers} times that)" if each.workers > 1 else ""


def _on_an_idle_node(usage: Usage) -> Usage:
    return replace(usage, node_cpus=0.0, node_memory=0.0)


def _full(usages: Sequence[Usage]) -> str:
    """Why trials that use little are not given less."""
    cpus = max(usage.node_cpus for usage in usages)
    memory = max(usage.node_memory for usage in usages)
    return (
        f"a trial could do with less, but its node has no room for more of them: its CPUs were "
        f"{_share(cpus)} busy, its memory {_share(memory)} taken"
    )


def _finding(
    what: str, values: Sequence[float], shown: Callable[[float], str], of: str = ""
) -> Finding:
    return Finding(what=what, median=shown(median(values)), most=shown(max(values)), of=of)


def _share(share: float) -> str:
    return f"{share:.0%}"


def _size(size: float) -> str:
    return f"{size / _GIB:.3g} GiB" if size >= _GIB else f"{size / 2**20:.0f} MiB"


def _override(each: Resources) -> str:
    """Whole, so that it means the same over `auto` and over a mapping."""
    workers = f"workers: {each.workers}, " if each.workers > 1 else ""
    return f"hydra.sweeper.resources={{{workers}cpus: {each.cpus:g}, gpus: {each.gpus:g}}}"
