"""An app that trains some epochs with a checkpoint every other one, and says what was imported."""

import json
import sys
import time
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

import sweeps


@hydra.main(version_base=None, config_path=None)
def main(cfg: DictConfig) -> None:
    found = sweeps.get_checkpoint()
    first = json.loads((found / "state.json").read_text())["epoch"] + 1 if found else 1
    folder = Path(HydraConfig.get().runtime.output_dir) / "state"
    folder.mkdir(exist_ok=True)
    for epoch in range(first, cfg.get("epochs", 6) + 1):
        time.sleep(cfg.get("epoch_s", 0))
        (folder / "state.json").write_text(json.dumps({"epoch": epoch}))
        metrics = {"loss": (cfg.x - 2) ** 2 + 1 / epoch, "val/acc": epoch / 10}
        sweeps.report(metrics, step=epoch, checkpoint=folder if epoch % 2 == 0 else None)


if __name__ == "__main__":
    main()
    print("IMPORTED", {"tensorboard", "mlflow", "wandb"} & set(sys.modules))
