"""An app that returns metrics by name, and calls its main function without a guard."""

import hydra
from omegaconf import DictConfig


@hydra.main(version_base=None, config_path=None)
def main(cfg: DictConfig) -> dict[str, float]:
    return {"loss": cfg.x**2, "accuracy": 1 - cfg.x}


main()
