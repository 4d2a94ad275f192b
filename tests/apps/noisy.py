"""An app that draws from the global generators, which its checkpoints do not hold."""

import json
import random
import time
from pathlib import Path

import hydra
import numpy as np
from omegaconf import DictConfig

import sweeps


@hydra.main(version_base=None, config_path=None)
def main(cfg: DictConfig) -> dict[str, float]:
    began = time.monotonic()
    checkpoint = sweeps.get_checkpoint()
    state = json.loads((checkpoint / "state.json").read_text()) if checkpoint else {}
    epoch, walk = state.get("epoch", 0), state.get("walk", 0.0)
    sweeps.record_data("rows", Path(cfg.data))
    rows = float(len(Path(cfg.data).read_bytes()))
    while epoch < cfg.epochs:
        epoch += 1
        walk += random.random() + np.random.random() / 3
        metrics = {
            "loss": abs(cfg.x - walk) + 1 / (rows * epoch),
            "noise/walk": walk,
            "seconds": time.monotonic() - began,
        }
        sweeps.report(metrics, step=epoch, checkpoint=writer({"epoch": epoch, "walk": walk}))
    return {"last": walk}


def writer(state):
    def write(folder: Path) -> None:
        folder.mkdir()
        (folder / "state.json").write_text(json.dumps(state))

    return write


if __name__ == "__main__":
    main()
