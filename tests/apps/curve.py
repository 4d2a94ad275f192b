"""An app that trains for some epochs: one line of it, `report`, is the sweep's."""

import json
import time
from pathlib import Path

import hydra
from omegaconf import DictConfig

import sweeps


@hydra.main(version_base=None, config_path=None)
def main(cfg: DictConfig) -> None:
    checkpoint = sweeps.get_checkpoint()
    first = json.loads((checkpoint / "state.json").read_text())["epoch"] + 1 if checkpoint else 1
    output = Path(hydra.core.hydra_config.HydraConfig.get().runtime.output_dir)
    for epoch in range(first, cfg.get("epochs", 27) + 1):
        time.sleep(cfg.get("epoch_s", 0))
        with (output / "epochs.log").open("a") as file:
            file.write(f"{epoch}\n")
        folder = output / "state"
        folder.mkdir(exist_ok=True)
        (folder / "state.json").write_text(json.dumps({"epoch": epoch}))
        loss = (cfg.x - 2) ** 2 + 1 / epoch
        kept = folder if cfg.get("checkpoints", True) else None
        sweeps.report({"loss": loss}, step=epoch, checkpoint=kept)


if __name__ == "__main__":
    main()
