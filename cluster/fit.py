"""Whether a trial fits a cluster, and how many run at once: packed as Ray would, on paper."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cluster.backend import Ask, Check
from cluster.capacity import slots
from cluster.survey import Machine, Survey

_MOST = 10_000
"""Counting ends here."""


@dataclass(frozen=True, kw_only=True)
class Slot:
    """What one worker of a trial holds."""

    cpus: float
    gpus: float

    def __str__(self) -> str:
        gpus = f"{self.gpus:g} GPU and " if self.gpus else ""
        return f"{gpus}{self.cpus:g} CPU"


def check_fit(ask: Ask, survey: Survey, *, driver_cpus: float = 0) -> Check:
    """Whether a trial fits, how many run at once, and what will wait.

    Args:
        ask: What a trial asks for; what it leaves open is a GPU where there are any, else a CPU.
        survey: The cluster.
        driver_cpus: What the sweep's driver holds besides.
    """
    slot, count = _slot(ask, survey), max(1, ask.workers)
    at_once = _at_once(slot, count, survey.machines, driver_cpus)
    each = f"a trial of {count} workers, each with {slot}," if count > 1 else f"a trial with {slot}"
    if at_once:
        return _fits(each, at_once, ask, survey, slot)
    if driver_cpus and all(machine.cpus < driver_cpus for machine in survey.machines):
        return _no_driver(survey, driver_cpus)
    largest = max(survey.machines, key=lambda machine: (machine.gpus, machine.cpus), default=None)
    most = f"{largest.gpus:g} GPU and {largest.cpus:g} CPU" if largest else "nothing"
    beside = f" beside the driver's {driver_cpus:g} CPU (driver_cpus)" if driver_cpus else ""
    return Check(
        name="resources",
        ok=False,
        warning=survey.grows,
        what=f"{each} fits nowhere{beside}: {len(survey.machines)} nodes, the largest with {most}",
        todo="it waits until the cluster has added a node for it"
        if survey.grows
        else "ask for less with hydra.sweeper.resources, or add a node that has so much",
    )


def _no_driver(survey: Survey, driver_cpus: float) -> Check:
    most = max((machine.cpus for machine in survey.machines), default=0)
    return Check(
        name="resources",
        ok=False,
        warning=survey.grows,
        what=f"the driver with driver_cpus {driver_cpus:g} fits nowhere: {len(survey.machines)} "
        f"nodes, the largest with {most:g} CPU",
        todo="it waits until the cluster has added a node for it"
        if survey.grows
        else "lower driver_cpus in the cluster's profile; with 0 the driver runs on the head",
    )


def check_gpus(survey: Survey) -> Iterator[Check]:
    """The devices and their memory, where there are any."""
    with_gpus = [machine for machine in survey.machines if machine.gpus]
    if not with_gpus:
        return
    silent = [machine.name for machine in with_gpus if not machine.gpu_mib]
    sizes = sorted({mib for machine in with_gpus for mib in machine.gpu_mib})
    count = sum(machine.gpus for machine in with_gpus)
    memory = " or ".join(f"{mib / 1024:.0f}" for mib in sizes)
    on = f"{count:g} on {len(with_gpus)} node{'s' if len(with_gpus) > 1 else ''}"
    yield Check(
        name="gpus",
        ok=not silent,
        warning=True,
        what=f"{on}{f', {memory} GiB each' if sizes else ''}"
        + (f"; {', '.join(silent)} says nothing of its devices" if silent else ""),
        todo="see whether nvidia-smi works there" if silent else "",
    )


def _fits(each: str, at_once: int, ask: Ask, survey: Survey, slot: Slot) -> Check:
    said = f"{each} fits, and {at_once}{'+' if at_once == _MOST else ''} run at once"
    waits = []
    if ask.at_once and ask.at_once > at_once:
        waits.append(f"of the {ask.at_once} asked for, {ask.at_once - at_once} wait")
    elif ask.at_once:
        said = f"{each} fits, and {ask.at_once} run at once, of {at_once} that could"
    used = _used(survey, slot)
    if used:
        waits.append(f"{used} in use now, so that trials wait for others' work")
    return Check(
        name="resources",
        ok=not waits,
        warning=True,
        what="; ".join([said, *waits]),
        todo="nothing, or ask for less with hydra.sweeper.resources" if waits else "",
    )


def _used(survey: Survey, slot: Slot) -> str:
    cpus = sum(machine.cpus for machine in survey.machines)
    gpus = sum(machine.gpus for machine in survey.machines)
    used = [
        f"{there - free:g} of {there:g} {name}"
        for name, there, free, wanted in (
            ("GPU", gpus, survey.free_gpus, slot.gpus),
            ("CPU", cpus, survey.free_cpus, slot.cpus),
        )
        if wanted and there - free > 1e-6
    ]
    return " and ".join(used) + (" are" if used else "")


def _slot(ask: Ask, survey: Survey) -> Slot:
    if ask.cpus is None and ask.gpus is None:
        there = sum(machine.gpus for machine in survey.machines)
        return Slot(cpus=1, gpus=1 if there >= 1 else 0)
    return Slot(cpus=1 if ask.cpus is None else ask.cpus, gpus=ask.gpus or 0)


def _at_once(slot: Slot, workers: int, machines: Sequence[Machine], driver_cpus: float) -> int:
    """How many whole trials there is room for, beside the driver."""
    nodes = [{"CPU": each.cpus, "GPU": each.gpus} for each in machines]
    if driver_cpus:
        free = next((node for node in nodes if node["CPU"] >= driver_cpus), None)
        if free is None:
            return 0
        free["CPU"] -= driver_cpus
    if not slot.cpus and not slot.gpus:
        return _MOST
    return min(_MOST, slots(nodes, workers=workers, cpus=slot.cpus, gpus=slot.gpus))
