"""How a sweep's trials are repeated: what tells the repeats apart, checked against the app."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from sweeps.core.repeats import Repeating, Turns, seeds_for_apps
from sweeps.errors import ConfigError
from sweeps.planning.compose import apply
from sweeps.space.grammar import split_key

if TYPE_CHECKING:
    from sweeps.planning.plan import Plan

SEED = "seed"
"""What an app's config calls its seed, where it is not said otherwise."""


def repeating_of(plan: Plan) -> Repeating | None:
    """How a plan's trials are repeated; None where they are not.

    Raises:
        ConfigError: The app's config does not take the key that is to tell the repeats apart.
    """
    settings = plan.settings
    count, key = settings.repeats, settings.repeats_key
    if count == 1:
        return None
    if plan.folder.remote is not None:
        raise ConfigError(
            f"hydra.sweeper.repeats is {count}, and the sweep is in a bucket, which does not take "
            f"repeats' checkpoints yet: let hydra.sweeper.storage_path be a folder that all nodes "
            f"share"
        )
    if key is not None:
        _check_key(plan, key, count)
        return Repeating(count=count, key=key, values=range(count), turns=_turns(plan))
    if not _has_seed(plan):
        return Repeating(count=count, turns=_turns(plan))
    seeds = seeds_for_apps(settings.seed, count)
    return Repeating(count=count, key=SEED, values=seeds, turns=_turns(plan))


def _turns(plan: Plan) -> Turns:
    """Where the scheduler judges; where each rung trains anew, repeats do it one after another."""
    if plan.settings.fidelity is not None:
        return Turns()
    grace: int = plan.settings.scheduler.get("grace_period") or 1
    doubling_from = grace if plan.scheduler.judges_between_rungs else None
    return Turns(tuple(plan.scheduler.rungs()), doubling_from)


def _check_key(plan: Plan, key: str, count: int) -> None:
    name, fidelity = split_key(key)[1], plan.settings.fidelity
    said = f"hydra.sweeper.repeats_key is {key!r}"
    if any(parameter.name == name for parameter in plan.space.parameters):
        raise ConfigError(f"{said}, which is searched too: leave it out of the search space")
    if name == _checkpoint_key(plan):
        raise ConfigError(f"{said}, which is hydra.sweeper.checkpoint_key too: name another")
    if fidelity is not None and split_key(fidelity.name)[1] == name:
        raise ConfigError(f"{said}, which is hydra.sweeper.fidelity.name too: name another")
    if OmegaConf.is_config(OmegaConf.select(_config(plan), name, throw_on_missing=False)):
        raise ConfigError(f"{said}, which has keys of its own; it must name one value")
    for value in (0, count - 1):
        try:
            _config(plan, {key: value})
        except ConfigError as error:
            raise ConfigError(f"hydra.sweeper.repeats_key: {error}") from error


def _checkpoint_key(plan: Plan) -> str | None:
    key = plan.settings.checkpoint_key
    return None if key is None else split_key(key)[1]


def _has_seed(plan: Plan) -> bool:
    """Whether the app's config has a seed that nobody else sets."""
    fidelity = plan.settings.fidelity
    taken = {parameter.name for parameter in plan.space.parameters} | {_checkpoint_key(plan)}
    if SEED in taken or (fidelity is not None and fidelity.name == SEED):
        return False
    config = _config(plan)
    seed = OmegaConf.to_container(config, resolve=False).get(SEED, "")  # type: ignore[union-attr]
    return seed is None or (isinstance(seed, int) and not isinstance(seed, bool))


def _config(plan: Plan, also: dict[str, Any] | None = None) -> DictConfig:
    """The config of some configuration."""
    space = plan.space
    values = space.values(space.draw(lambda p: p.from_value(p.domain.samples[0])))
    patch = plan.composer.patch(values, also=also)
    return apply(plan.composer.base(values), patch, job_num=0, job_id="0")
