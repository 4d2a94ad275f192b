"""An app with two objectives: what is better costs more."""

import hydra
from omegaconf import DictConfig


@hydra.main(version_base=None, config_path=None)
def main(cfg: DictConfig) -> dict[str, float]:
    return {"quality": cfg.x, "cost": cfg.x**2}


if __name__ == "__main__":
    main()
