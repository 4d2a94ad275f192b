"""An app whose training gets better with the share of its data."""

from pathlib import Path

import hydra
from omegaconf import DictConfig

import sweeps


@hydra.main(version_base=None, config_path=None)
def main(cfg: DictConfig) -> None:
    assert sweeps.get_checkpoint() is None  # it trains anew at each share
    for epoch in (1, 2):
        output = hydra.core.hydra_config.HydraConfig.get().runtime.output_dir
        folder = Path(output, "state")
        folder.mkdir(exist_ok=True)
        (folder / "share.txt").write_text(str(cfg.share))
        loss = abs(cfg.x) + 1 / cfg.share + 1 / epoch
        sweeps.report({"loss": loss, "share": cfg.share}, step=epoch, checkpoint=folder)


if __name__ == "__main__":
    main()
