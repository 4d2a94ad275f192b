"""An app that takes a checkpoint's path from its config, as it did before it was ever swept."""

import json
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

import sweeps


@hydra.main(version_base=None, config_path="conf", config_name="takes")
def main(cfg: DictConfig) -> None:
    output = Path(HydraConfig.get().runtime.output_dir)
    with (output / "began_from").open("a") as file:
        file.write(f"{cfg.ckpt_path}\n")
    began = json.loads(Path(cfg.ckpt_path).read_text())["epoch"] if cfg.ckpt_path else 0
    for epoch in range(began + 1, cfg.epochs + 1):
        if cfg.raises and began == 0 and epoch == 2:
            raise RuntimeError("once")
        last = output / "last.ckpt"
        last.write_text(json.dumps({"epoch": epoch}))
        sweeps.report({"loss": (cfg.x - 2) ** 2 + 1 / epoch}, step=epoch, checkpoint=last)


if __name__ == "__main__":
    main()
