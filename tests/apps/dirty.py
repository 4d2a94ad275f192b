"""An app that notes what it finds in its process, and leaves it in disorder."""

import json
import logging
import os
import random
import sys
from pathlib import Path

import hydra
import numpy as np
from omegaconf import DictConfig


@hydra.main(version_base=None, config_path=None)
def main(cfg: DictConfig) -> float:
    import torch  # as a `_target_` would, when the first trial already runs

    output = Path(hydra.core.hydra_config.HydraConfig.get().runtime.output_dir)
    found = {
        "pid": os.getpid(),
        "variable": os.environ.get("LEFT_BY_A_TRIAL"),
        "cwd": os.getcwd(),
        "argv": sys.argv,
        "threads": torch.get_num_threads(),
        "random": random.random(),
        "numpy": np.random.random(),
        "torch": torch.rand(()).item(),
    }
    (output / "found.json").write_text(json.dumps(found))
    handler = logging.FileHandler(output / "own.log")
    logging.getLogger("dirty").addHandler(handler)
    logging.getLogger("dirty").warning("trial %s", cfg.x)
    os.environ["LEFT_BY_A_TRIAL"] = "yes"
    os.chdir("/")
    sys.argv.append("left")
    torch.set_num_threads(found["threads"] + 1)
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(1)
    return float(cfg.x)


if __name__ == "__main__":
    main()
