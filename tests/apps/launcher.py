"""An app that chooses a launcher of its own."""

import hydra
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig

ConfigStore.instance().store(group="hydra/launcher", name="joblib", node={"_target_": "joblib.X"})


@hydra.main(version_base=None, config_path=None)
def main(cfg: DictConfig) -> float:
    return float(cfg.x)


if __name__ == "__main__":
    main()
