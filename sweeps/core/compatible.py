"""Which searchers, schedulers and objectives go together; what does not is refused with the reason.

Whatever is not named here works with everything.
"""

from __future__ import annotations

from sweeps.core.settings import Settings
from sweeps.errors import ConfigError
from sweeps.schedulers import SCHEDULERS, Scheduler

_BY_COMPLETE_CURVE = {
    "learning_curve": "it stops by the chance of beating one best value",
    "pbt": "it copies the trials that are ahead in one value",
    "pb2": "it copies the trials that are ahead in one value",
}
_ONE_OBJECTIVE = {
    "annealing": "it accepts or refuses a point by one energy",
    "bohb": "it splits trials into good and bad by one value",
    "cmaes": "it ranks a generation by one value",
    "coarse_to_fine": "it zooms on one best point",
    "controller": "its reward is one value",
}
POPULATION = ("pbt", "pb2")
"""Schedulers that change the parameters of a trial as it goes."""
_LEARNS_FROM_FIXED = {
    "controller": "rewards the parameters that a trial began with",
    "cmaes": "moves its distribution by the parameters that a trial began with",
}
_ENUMERATES = {"grid": "it tries every combination as it is"}


def check_together(settings: Settings, scheduler: Scheduler) -> None:
    """See that what was chosen goes together.

    Raises:
        ConfigError: It does not.
    """
    searcher, name = settings.searcher["name"], settings.scheduler["name"]
    if settings.objective.others:
        _refuse_several("searcher", searcher, _ONE_OBJECTIVE, "random, tpe, gp or genetic")
        _refuse_several("scheduler", name, _BY_COMPLETE_CURVE, "asha, hyperband or none")
    if settings.fidelity is not None and type(scheduler).milestone is Scheduler.milestone:
        raise ConfigError(
            f"hydra.sweeper.fidelity is {settings.fidelity.name}, and the scheduler {name} lays no "
            f"rungs down to train it at; choose {_with_rungs()}"
        )
    if settings.initial and searcher in _ENUMERATES:
        raise ConfigError(
            f"hydra.sweeper.initial is set, and the searcher {searcher} takes no points: "
            f"{_ENUMERATES[searcher]}; leave one of them out"
        )
    reason = refusal(searcher, name)
    if reason is not None:
        raise ConfigError(reason)


def refusal(searcher: str, scheduler: str) -> str | None:
    """Why a searcher and a scheduler do not go together, or None if they do."""
    if searcher in _ENUMERATES and scheduler in POPULATION:
        return (
            f"the searcher {searcher} and the scheduler {scheduler} do not go together: "
            f"{scheduler} changes parameters as it goes, and {searcher} would no longer try each "
            f"combination; choose random, qmc or tpe"
        )
    if searcher in _LEARNS_FROM_FIXED and scheduler in POPULATION:
        return (
            f"the searcher {searcher} and the scheduler {scheduler} do not go together: "
            f"{searcher} {_LEARNS_FROM_FIXED[searcher]}, and {scheduler} changes them as it goes; "
            f"choose random, qmc or tpe"
        )
    return None


def _refuse_several(part: str, name: str, reasons: dict[str, str], instead: str) -> None:
    if name in reasons:
        raise ConfigError(
            f"hydra.sweeper.metric names several objectives, and the {part} {name} takes one: "
            f"{reasons[name]}; choose {instead}, or one objective"
        )


def _with_rungs() -> str:
    """The schedulers that lay rungs down."""
    names = [
        name
        for name, factory in SCHEDULERS.items()
        if getattr(factory, "milestone", Scheduler.milestone) is not Scheduler.milestone
    ]
    return ", ".join(sorted(names))
