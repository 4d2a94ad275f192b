"""An app whose trials train in several ranks: they add their numbers up at each step."""

import json
import os
import signal
import time
from functools import partial
from pathlib import Path

import hydra
import torch
import torch.distributed as dist
from omegaconf import DictConfig

import sweeps


@hydra.main(version_base=None, config_path=None)
def main(cfg: DictConfig) -> None:
    output = Path(hydra.core.hydra_config.HydraConfig.get().runtime.output_dir)
    rank = dist.get_rank()
    checkpoint = sweeps.get_checkpoint()
    begun = int((checkpoint / "epoch").read_text()) if checkpoint else 0
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR")
    found = {name: os.environ[name] for name in names}
    note(output, "ranks.jsonl", {**found, "rank": rank, "pid": os.getpid(), "begun": begun})
    try:
        for epoch in range(begun + 1, cfg.get("epochs", 9) + 1):
            time.sleep(cfg.get("epoch_s", 0))
            if rank == 1:
                harm(cfg.get("kind", "fine"), epoch, output)
            total = torch.tensor([rank + 1.0])
            dist.all_reduce(total)
            metrics = {"loss": cfg.x / epoch + 0 * total.item(), "total": total.item()}
            if rank == 0 or cfg.get("all_report", True):
                sweeps.report(metrics, step=epoch, checkpoint=partial(save, epoch=epoch))
    finally:
        note(output, "ends.jsonl", {"rank": rank, "time": time.time()})


def save(folder: Path, epoch: int) -> None:
    assert dist.get_rank() == 0
    folder.mkdir()
    (folder / "epoch").write_text(str(epoch))


def harm(kind: str, epoch: int, output: Path) -> None:
    if epoch != 4 or kind == "fine":
        return
    first = not (output / "harmed").exists()
    (output / "harmed").touch()
    if kind == "raises":
        raise RuntimeError("rank 1 has no luck")
    if kind == "raises_and_leaves":
        dist.destroy_process_group()
        raise RuntimeError("rank 1 has no luck")
    if kind == "dies" and first:
        os.kill(os.getpid(), signal.SIGKILL)


def note(output: Path, name: str, line: dict[str, object]) -> None:
    with (output / name).open("a") as file:
        file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
