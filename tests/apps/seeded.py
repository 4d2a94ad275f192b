"""An app whose loss depends on its seed: the configuration's own, and noise on top."""

import math
import random
import time
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

import sweeps


@hydra.main(version_base=None, config_path="conf", config_name="seeded")
def main(cfg: DictConfig) -> None:
    output = Path(HydraConfig.get().runtime.output_dir)
    luck = random.Random(cfg.seed).gauss(0, cfg.noise)
    for epoch in range(1, cfg.epochs + 1):
        time.sleep(cfg.epoch_s)
        with (output / "epochs.log").open("a") as file:
            file.write(f"{epoch}\n")
        if cfg.fails_with is not None and cfg.seed % 2 == cfg.fails_with:
            raise RuntimeError(f"seed {cfg.seed} does not do")
        loss = (cfg.x - 2) ** 2 + 1 / epoch / cfg.share + luck
        if cfg.diverges_with is not None and cfg.seed % 2 == cfg.diverges_with:
            loss = math.nan
        sweeps.report({"loss": loss, "cost": cfg.x}, step=epoch)


if __name__ == "__main__":
    main()
