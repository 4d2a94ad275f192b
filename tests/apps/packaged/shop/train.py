"""An app to run as `python -m shop.train`, its config a dataclass of this very module."""

from dataclasses import dataclass, field
from enum import Enum

import hydra
from hydra.core.config_store import ConfigStore

from .scale import FACTOR


class Colour(Enum):
    RED = 1
    BLUE = 2


@dataclass
class Model:
    width: int = 1
    colour: Colour = Colour.RED


@dataclass
class Config:
    model: Model = field(default_factory=Model)


ConfigStore.instance().store(name="config", node=Config)


@hydra.main(version_base=None, config_name="config")
def main(cfg: Config) -> float:
    assert isinstance(cfg.model.colour, Colour)
    return float(FACTOR * cfg.model.width + cfg.model.colour.value)


if __name__ == "__main__":
    main()
