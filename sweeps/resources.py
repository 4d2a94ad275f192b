"""What a trial gets of the machines, and how many run at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sweeps.errors import ConfigError
from sweeps.settings import Settings

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


def resources_of_a_trial(settings: Settings, there: Mapping[str, float]) -> Resources:
    """What each trial gets; `auto` is a GPU for each worker where there are any, else a CPU.

    Raises:
        ConfigError: More than there is: no trial could ever start.
    """
    each = _asked(settings, there)
    if not each.cpus and not each.gpus:
        raise ConfigError("hydra.sweeper.resources has neither cpus nor gpus: a trial needs some")
    for key, name in _NAMES:
        asked = each.workers * getattr(each, key)
        if asked > there.get(name, 0):
            of = f" for each of {each.workers} workers" if each.workers > 1 else ""
            raise ConfigError(
                f"hydra.sweeper.resources.{key} is {getattr(each, key):g}{of}, and Ray has "
                f"{there.get(name, 0):g}: no trial could ever start"
            )
    return each


def _asked(settings: Settings, there: Mapping[str, float]) -> Resources:
    given = {} if isinstance(settings.resources, str) else dict(settings.resources)
    workers = int(given.pop("workers", 1))
    if not given:
        given = {"gpus": 1 if there.get("GPU", 0) >= 1 else 0}
    return Resources(workers=workers, **given)


def describe_slots(each: Resources, there: Mapping[str, float], most: int | None) -> str:
    """One line of what each trial gets, so that nobody trains on the CPU unnoticed."""
    fits = [
        int(there.get(name, 0) / (each.workers * getattr(each, key)))
        for key, name in _NAMES
        if getattr(each, key)
    ]
    slots = min([*fits, *([most] if most else [])], default=1)
    gpus = f"{each.gpus:g} GPU and " if each.gpus else "no GPU, "
    whose = f"each of a trial's {each.workers} workers" if each.workers > 1 else "each trial"
    return f"{whose} gets {gpus}{each.cpus:g} CPU; {slots} run at once"
