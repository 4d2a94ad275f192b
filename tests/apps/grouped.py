"""An app with a config group."""

import hydra
from omegaconf import DictConfig


@hydra.main(version_base=None, config_path="conf", config_name="grouped")
def main(cfg: DictConfig) -> float:
    return float(cfg.optimizer.lr)


if __name__ == "__main__":
    main()
