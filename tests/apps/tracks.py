"""An app with trackers of its own, as its authors call them; of the sweep it knows `report`."""

import json
import os
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

import sweeps


@hydra.main(version_base=None, config_path=None)
def main(cfg: DictConfig) -> None:
    output = Path(HydraConfig.get().runtime.output_dir)
    (output / "pid").write_text(str(os.getpid()))
    found = sweeps.get_checkpoint()
    began = json.loads((found / "state.json").read_text())["epoch"] if found else 0
    log = _logger(cfg, output)
    for epoch in range(began + 1, cfg.get("epochs", 3) + 1):
        loss = (cfg.x - 2) ** 2 + 1 / epoch
        log(epoch, loss)
        if epoch == cfg.get("raises_at") and HydraConfig.get().job.num == 1:
            raise RuntimeError("no luck")
        (output / "state").mkdir(exist_ok=True)
        (output / "state" / "state.json").write_text(json.dumps({"epoch": epoch}))
        sweeps.report({"loss": loss}, step=epoch, checkpoint=output / "state")


def _logger(cfg: DictConfig, output: Path):
    if "mlflow" in cfg.trackers:
        import mlflow

        mlflow.set_tracking_uri(cfg.mlflow_uri)
        mlflow.set_experiment("mine")
        mlflow.log_params({"x": cfg.x, "output": str(output)})
    if "wandb" in cfg.trackers:
        import wandb

        wandb.init(project="mine", mode="offline", config={"x": cfg.x})

    def log(epoch: int, loss: float) -> None:
        if "mlflow" in cfg.trackers:
            mlflow.log_metric("loss", loss, step=epoch)
        if "wandb" in cfg.trackers:
            wandb.log({"loss": loss, "epoch": epoch})

    return log


if __name__ == "__main__":
    main()
