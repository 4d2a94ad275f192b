"""An app in which all kinds of things go wrong."""

import os
import signal
from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig

import sweeps


@hydra.main(version_base=None, config_path=None)
def main(cfg: DictConfig) -> Any:
    match cfg.kind:
        case "raises":
            raise RuntimeError("no such luck")
        case "text":
            return {"objective": "good"}
        case "imports":
            hydra.utils.instantiate({"_target_": "no_such_package.Net"})
        case "loses":
            return {"los": 1.0}
        case "dies" | "dies_once":
            return _die(once=cfg.kind == "dies_once")
    return 1.0


def _die(*, once: bool) -> float:
    """Train three epochs; at the second one the process is killed."""
    output = Path(hydra.core.hydra_config.HydraConfig.get().runtime.output_dir)
    checkpoint = sweeps.get_checkpoint()
    begun = int((checkpoint / "epoch").read_text()) if checkpoint else 0
    with (output / "segments.log").open("a") as file:
        file.write(f"{begun}\n")
    for epoch in range(begun + 1, 4):
        if epoch == 2 and not (once and (output / "died").exists()):
            (output / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        (output / "state").mkdir(exist_ok=True)
        (output / "state" / "epoch").write_text(str(epoch))
        with (output / "epochs.log").open("a") as file:
            file.write(f"{epoch}\n")
        sweeps.report({"objective": 1 / epoch}, step=epoch, checkpoint=output / "state")
    return 0.0


if __name__ == "__main__":
    main()
