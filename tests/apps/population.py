"""An app whose two weights are each trained by one of two values of h; it notes who trained it."""

import json
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

import sweeps


@hydra.main(version_base=None, config_path=None)
def main(cfg: DictConfig) -> None:
    job = HydraConfig.get()
    checkpoint = sweeps.get_checkpoint()
    state = {"epoch": 0, "x": 0.9, "y": 0.9, "by": []}
    if checkpoint is not None:
        state = json.loads((checkpoint / "state.json").read_text())
    with (Path(job.runtime.output_dir) / "began.log").open("a") as file:
        file.write(f"{json.dumps({'h': cfg.h, **state})}\n")
    for epoch in range(state["epoch"] + 1, cfg.epochs + 1):
        x, y = state["x"] * (1 - 0.2 * cfg.h), state["y"] * (1 - 0.2 * (1 - cfg.h))
        state = {"epoch": epoch, "x": x, "y": y, "by": [*state["by"], [job.job.num, cfg.h]]}
        write = writer(state)
        sweeps.report({"q": 1.2 - x * x - y * y}, step=epoch, checkpoint=write)


def writer(state):
    def write(folder: Path) -> None:
        folder.mkdir()
        (folder / "state.json").write_text(json.dumps(state))

    return write


if __name__ == "__main__":
    main()
