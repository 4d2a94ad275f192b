"""What a trial gets of the machines, and how many run at once."""

from __future__ import annotations

from collections.abc import Mapping

from sweeps.errors import ConfigError
from sweeps.settings import Settings


def resources_of_a_trial(settings: Settings, there: Mapping[str, float]) -> dict[str, float]:
    """A trial's `cpus` and `gpus`; `auto` is a GPU where there are any, else a CPU.

    Raises:
        ConfigError: More than there is: no trial could ever start.
    """
    each = _asked(settings, there)
    for key, name in (("cpus", "CPU"), ("gpus", "GPU")):
        if each[key] > there.get(name, 0):
            raise ConfigError(
                f"hydra.sweeper.resources.{key} is {each[key]:g}, and Ray has "
                f"{there.get(name, 0):g}: no trial could ever start"
            )
    return each


def _asked(settings: Settings, there: Mapping[str, float]) -> dict[str, float]:
    if isinstance(settings.resources, str):
        gpu = there.get("GPU", 0) >= 1
        return {"cpus": 1, "gpus": 1 if gpu else 0}
    return dict(settings.resources)


def describe_slots(each: Mapping[str, float], there: Mapping[str, float], most: int | None) -> str:
    """One line of what each trial gets, so that nobody trains on the CPU unnoticed."""
    fits = [
        int(there.get(name, 0) / each[key])
        for key, name in (("cpus", "CPU"), ("gpus", "GPU"))
        if each[key]
    ]
    slots = min([*fits, *([most] if most else [])], default=1)
    gpus = f"{each['gpus']:g} GPU and " if each["gpus"] else "no GPU, "
    return f"each trial gets {gpus}{each['cpus']:g} CPU; {slots} run at once"
