"""From what trials used to what they should be given.

A trial is given less only where at least twice as many then run at once, and only as far as each
thing that they share has room for them: a GPU's memory and time, the node's memory and CPUs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from statistics import median

from sweeps.planning.resources import Resources
from sweeps.usage.measured import Usage, fullest

_MEMORY_MARGIN = 1.1
_CUDA_ITSELF = 2**29
"""Bytes that CUDA takes in each process, which torch's allocator does not count."""
_BOOKED = 1.1
"""Of a GPU's time: of two processes that are each busy for half of it one waits now and then."""
_UNUSED = 0.02
_MOST_SHARING = 8
_CPU_MARGIN = 1.25
_PARTS_OF_A_CPU = (0.25, 0.5)
_OVERBOOKED = 1.5
_NODE_MEMORY = 0.9
_MUCH_LOADING = 0.3


def fitting(usages: Sequence[Usage], each: Resources) -> tuple[Resources, list[str]]:
    """What each process should be given, and why: no reason where all stays as it is."""
    gpus, why_gpus = _gpus(usages, each)
    times = max(1.0, each.gpus / gpus) if gpus else 1.0
    cpus, why_cpus = _cpus(usages, each, most_times=_room(usages) / times)
    return replace(each, cpus=cpus, gpus=gpus), [why for why in (why_gpus, why_cpus) if why]


def waits_for_data(usages: Sequence[Usage]) -> bool:
    """Whether most of the trials spend much of their time so; then CPUs are what may help them."""
    return median(usage.loading for usage in usages) > _MUCH_LOADING


def _room(usages: Sequence[Usage]) -> float:
    """How many times as many trials their nodes' memory and CPUs hold, as they were taken."""
    memory = max(usage.node_memory for usage in usages)
    cpus = max(usage.node_cpus for usage in usages)
    return max(1.0, min(_NODE_MEMORY / max(memory, 0.01), 1 / max(cpus, 0.01)))


def _gpus(usages: Sequence[Usage], each: Resources) -> tuple[float, str]:
    known = [usage for usage in usages if usage.gpus]
    if not each.gpus or not known:
        return each.gpus, ""
    used = max(sum(gpu.memory > 0 for gpu in usage.gpus) for usage in known)
    if not used:
        return _without(known, each)
    if each.gpus > 1:
        if each.workers > 1 or used >= each.gpus:
            return each.gpus, ""
        return float(used), f"{used} of a trial's {each.gpus:g} GPUs held anything"
    return _sharing(known, each)


def _without(known: Sequence[Usage], each: Resources) -> tuple[float, str]:
    """None held memory that could be seen: unused, if nothing kept them busy either."""
    idle = all(gpu.busy < _UNUSED for usage in known for gpu in usage.gpus)
    if not idle or each.workers > 1 or not each.cpus:
        return each.gpus, ""
    return 0.0, "no trial used its GPU"


def _sharing(known: Sequence[Usage], each: Resources) -> tuple[float, str]:
    """As many on a GPU as both its memory and its time allow."""
    held = [fullest(usage) for usage in known]
    need = max(gpu.memory for gpu in held) * _MEMORY_MARGIN + _CUDA_ITSELF
    now = round(1 / each.gpus)
    in_memory = max(1, int(min(gpu.total for gpu in held) / need))
    if in_memory < now:
        return _part(in_memory), f"a GPU's memory does not hold {_count(now)} trials"
    in_time = int(_BOOKED / max(max(gpu.busy for gpu in held), 0.01))
    fit = min(in_memory, in_time, int(now * _room(known)), _MOST_SHARING)
    if fit < 2 * now:
        return each.gpus, ""
    return _part(fit), f"{_count(fit)} trials share a GPU"


def _cpus(usages: Sequence[Usage], each: Resources, *, most_times: float) -> tuple[float, str]:
    most = max(usage.cpus for usage in usages)
    if not each.cpus:
        return each.cpus, ""
    if most >= _OVERBOOKED * each.cpus:
        return float(math.ceil(most - 0.1)), f"a trial keeps {most:.1f} CPUs busy"
    fit = next(
        (part for part in _PARTS_OF_A_CPU if most * _CPU_MARGIN <= part),
        float(math.ceil(most * _CPU_MARGIN)),
    )
    fit = max(fit, _rounded_up(each.cpus / most_times))
    if fit > each.cpus / 2 or waits_for_data(usages):
        return each.cpus, ""
    return fit, f"a trial keeps {most:.1f} of its {each.cpus:g} CPUs busy"


def _rounded_up(cpus: float) -> float:
    return next((part for part in _PARTS_OF_A_CPU if cpus <= part), float(math.ceil(cpus)))


def _part(of_a_gpu: int) -> float:
    """Rounded down, so that as many do fit."""
    return math.floor(100 / of_a_gpu) / 100


def _count(number: int) -> str:
    words = ("two", "three", "four", "five", "six", "seven", "eight")
    return words[number - 2] if number <= _MOST_SHARING else str(number)
