"""A project's app: it notes where it trains, and goes on from its checkpoints."""

import json
import time
from pathlib import Path

import hydra
from notes import note, surroundings, wait_for
from omegaconf import DictConfig

import sweeps


@hydra.main(version_base=None, config_path="conf", config_name="app")
def main(cfg: DictConfig) -> None:
    assert Path(cfg.words).read_text() == "as it was sent\n"
    checkpoint = sweeps.get_checkpoint()
    first = json.loads((checkpoint / "state.json").read_text())["epoch"] + 1 if checkpoint else 1
    note(kind="begin", first=first, app=__file__, config=cfg.words, **surroundings())
    wait_for(cfg.together)
    for epoch in range(first, cfg.epochs + 1):
        time.sleep(cfg.epoch_s)
        note(kind="epoch", epoch=epoch)
        sweeps.report({"loss": (cfg.x - 2) ** 2 + 1 / epoch}, step=epoch, checkpoint=save(epoch))
    note(kind="end")


def save(epoch: int) -> Path | None:
    folder = sweeps.checkpoint_folder(epoch)
    if folder is not None:
        folder.mkdir(parents=True)
        (folder / "state.json").write_text(json.dumps({"epoch": epoch}))
    return folder


if __name__ == "__main__":
    main()
