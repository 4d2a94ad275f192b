"""An app that no worker can import: its task exists only in the main script."""

import hydra
from omegaconf import DictConfig

if __name__ == "__main__":

    @hydra.main(version_base=None, config_path=None)
    def main(cfg: DictConfig) -> float:
        return float(cfg.x)

    main()
