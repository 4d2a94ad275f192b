"""A plain app: it returns a number and knows nothing of sweeps."""

import json
import logging
from pathlib import Path

import hydra
from omegaconf import DictConfig, OmegaConf

OmegaConf.register_new_resolver("twice", lambda value: 2 * value)


@hydra.main(version_base=None, config_path="conf", config_name="number")
def main(cfg: DictConfig) -> float:
    print("printed", cfg.x)
    logging.getLogger("number").info("logged %s", cfg.x)
    Path(cfg.folder, "seen.json").write_text(json.dumps(OmegaConf.to_container(cfg, resolve=True)))
    return float(cfg.x**cfg.power)


if __name__ == "__main__":
    main()
