"""An app that takes its time to end when it is told to."""

import math
import os
import time
from pathlib import Path

import hydra
from omegaconf import DictConfig

import sweeps


@hydra.main(version_base=None, config_path=None)
def main(cfg: DictConfig) -> None:
    config = hydra.core.hydra_config.HydraConfig.get()
    output = Path(config.runtime.output_dir)
    (output / "pid").write_text(str(os.getpid()))
    try:
        for epoch in range(1, 4):
            loss = math.nan if config.job.num == 0 else cfg.x / epoch
            sweeps.report({"loss": loss}, step=epoch)
    finally:
        if config.job.num == 0:
            time.sleep(cfg.unwind_s)
            (output / "unwound").touch()


if __name__ == "__main__":
    main()
