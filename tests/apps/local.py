"""An app whose task function is local to another."""

import hydra
from omegaconf import DictConfig


def run() -> None:
    @hydra.main(version_base=None, config_path=None)
    def main(cfg: DictConfig) -> float:
        return float(cfg.x)

    main()


run()
