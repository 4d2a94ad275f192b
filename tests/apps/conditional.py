"""An app whose networks have keys of their own; it returns what it was given as one number."""

import json
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf


@hydra.main(version_base=None, config_path="conf", config_name="conditional")
def main(cfg: DictConfig) -> float:
    folder = Path(HydraConfig.get().runtime.output_dir)
    (folder / "seen.json").write_text(json.dumps(OmegaConf.to_container(cfg, resolve=True)))
    return float(cfg.net.width * cfg.depth + sum(cfg.rates))


if __name__ == "__main__":
    main()
