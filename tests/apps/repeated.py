"""An app whose loss is noisy: it depends on a seed, and on which fold it is validated with."""

import json
import os
import random
import signal
from pathlib import Path

import hydra
from omegaconf import DictConfig

import sweeps


@hydra.main(version_base=None, config_path="conf", config_name="repeated")
def main(cfg: DictConfig) -> float:
    checkpoint = sweeps.get_checkpoint()
    done = json.loads((checkpoint / "state.json").read_text()) if checkpoint else [0, 0.0]
    output = Path(hydra.core.hydra_config.HydraConfig.get().runtime.output_dir)
    with (output / "began.log").open("a") as file:
        file.write(f"{done[0]} {cfg.seed} {cfg.data.fold} {random.randrange(2**31)}\n")
    epoch, total = done
    while epoch < cfg.epochs:
        epoch += 1
        noise = random.Random(f"{cfg.seed} {cfg.data.fold} {epoch}").uniform(0, cfg.noise)
        total += noise
        loss = (cfg.x - 2) ** 2 + 1 / epoch + total / epoch
        with (output / "losses.log").open("a") as file:
            file.write(f"{epoch} {loss!r}\n")
        if epoch == cfg.kill_at and cfg.data.fold == 1 and not Path(cfg.flag).exists():
            Path(cfg.flag).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        folder = output / "state"
        folder.mkdir(exist_ok=True)
        (folder / "state.json").write_text(json.dumps([epoch, total]))
        kept = folder if cfg.checkpoints else None
        sweeps.report({"loss": loss, "noise": noise}, step=epoch, checkpoint=kept)
    return loss


if __name__ == "__main__":
    main()
