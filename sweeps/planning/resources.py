"""What a trial gets of the machines, and how many run at once."""

from __future__ import annotations

from dataclasses import dataclass, replace

from cluster import capacity
from cluster.capacity import Capacity
from sweeps.core.settings import Settings
from sweeps.errors import ConfigError

_NAMES = (("cpus", "CPU"), ("gpus", "GPU"))
"""Our names, and Ray's."""


@dataclass(frozen=True, kw_only=True)
class Resources:
    """A trial's."""

    workers: int = 1
    """Its processes, the ranks."""
    cpus: float = 1
    """Of each of them."""
    gpus: float = 0


def resources_of_a_trial(settings: Settings, there: Capacity) -> Resources:
    """What each trial gets; `auto` is a GPU for each worker where a node has any, else a CPU.

    Raises:
        ConfigError: More than any node has, or all of them together: no trial could ever start.
    """
    each = _asked(settings, there)
    if not each.cpus and not each.gpus:
        raise ConfigError("hydra.sweeper.resources has neither cpus nor gpus: a trial needs some")
    if each.gpus > 1 and each.gpus % 1:
        raise ConfigError(
            f"hydra.sweeper.resources.gpus is {each.gpus:g}; it must be a whole number, or a part "
            f"of one GPU such as 0.5"
        )
    if not slots(each, there) and not _may_fit_later(each, there):
        raise ConfigError(_never_fits(each, there))
    return each


def is_auto(settings: Settings) -> bool:
    """Whether the nodes decide what a trial's workers get."""
    return isinstance(settings.resources, str) or settings.resources.keys() <= {"workers"}


def _asked(settings: Settings, there: Capacity) -> Resources:
    given = {} if isinstance(settings.resources, str) else dict(settings.resources)
    workers = int(given.pop("workers", 1))
    if not given:
        given = {"gpus": 1 if there.most("GPU") >= 1 else 0}
    return Resources(workers=workers, **given)


def slots(each: Resources, there: Capacity) -> int:
    """How many trials run at once: each worker on one node, a trial's workers on any."""
    return capacity.slots(there.nodes, workers=each.workers, cpus=each.cpus, gpus=each.gpus)


def _may_fit_later(each: Resources, there: Capacity) -> bool:
    """Whether nodes that join can make room: they are awaited, or of the kind that is there."""
    if not there.can_grow:
        return False
    one = replace(each, workers=1)
    return there.autoscales or not there.has_slots or slots(one, there) > 0


def _never_fits(each: Resources, there: Capacity) -> str:
    for key, name in _NAMES:
        asked, most = getattr(each, key), there.most(name)
        if asked > most:
            of = f" for each of {each.workers} workers" if each.workers > 1 else ""
            has = "Ray has" if len(there.nodes) == 1 else "no node has more than"
            return (
                f"hydra.sweeper.resources.{key} is {asked:g}{of}, and {has} {most:g}: no trial "
                f"could ever start"
            )
    held = slots(replace(each, workers=1), there)
    if not held:
        return f"no node has {_amount(each)} (hydra.sweeper.resources): no trial could ever start"
    return (
        f"hydra.sweeper.resources.workers is {each.workers}, each with {_amount(each)}, and Ray "
        f"has room for {held}: no trial could ever start"
    )


def _amount(each: Resources) -> str:
    return f"{each.gpus:g} GPU and {each.cpus:g} CPU" if each.gpus else f"no GPU, {each.cpus:g} CPU"


def describe_slots(each: Resources, there: Capacity, most: int | None) -> str:
    """One line of what each trial gets, so that nobody trains on the CPU unnoticed."""
    whose = f"each of a trial's {each.workers} workers" if each.workers > 1 else "each trial"
    at_once = slots(each, there)
    if not at_once:
        return f"{whose} gets {_amount(each)}; no node has room for one yet: waiting for nodes"
    limited = min(at_once, most) if most else at_once
    nodes = sum(capacity.workers_on(node, each.cpus, each.gpus) > 0 for node in there.nodes)
    over = f" on {nodes} nodes" if nodes > 1 else ""
    return f"{whose} gets {_amount(each)}; {limited} run at once{over}"
