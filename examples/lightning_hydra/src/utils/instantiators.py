"""Objects from groups of configs."""

from typing import Any

import hydra
from omegaconf import DictConfig


def instantiate_all(group: DictConfig | None) -> list[Any]:
    """Each entry of a group that has a `_target_`."""
    return [hydra.utils.instantiate(each) for each in (group or {}).values() if "_target_" in each]
