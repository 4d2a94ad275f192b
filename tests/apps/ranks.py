"""An app whose trials train in several ranks: at each step they add their numbers up."""

import json
import os
import signal
import time
from pathlib import Path

import hydra
import ray
import torch
import torch.distributed as dist
from omegaconf import DictConfig

import sweeps

ENVIRONMENT = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR")


@hydra.main(version_base=None, config_path=None)
def main(cfg: DictConfig) -> None:
    rank, output = (
        dist.get_rank(),
        Path(hydra.core.hydra_config.HydraConfig.get().runtime.output_dir),
    )
    checkpoint = sweeps.get_checkpoint()
    begun = int((checkpoint / "epoch").read_text()) if checkpoint else 0
    found = {name: os.environ[name] for name in ENVIRONMENT}
    found["devices"] = os.environ.get("CUDA_VISIBLE_DEVICES")
    groups = placement_groups() if rank == 0 else None
    about = {"rank": rank, "pid": os.getpid(), "epoch": begun, "groups": groups}
    note(output / "begins.jsonl", {**about, **found})
    epoch, total = begun, torch.zeros(1)
    try:
        for epoch in range(begun + 1, cfg.get("epochs", 9) + 1):
            if epoch == 4:
                harm(cfg.get("kind"), rank, output)
            total = torch.tensor([rank + 1.0])
            dist.all_reduce(total)
            if rank == 0 or cfg.get("kind") != "one_reports":
                metrics = {"loss": cfg.x / epoch, "total": total.item()}
                sweeps.report(metrics, step=epoch, checkpoint=save(epoch))
    finally:
        note(output / "ends.jsonl", {"rank": rank, "epoch": epoch, "total": total.item()})


def placement_groups() -> int:
    table = ray.util.placement_group_table()
    return sum(group["state"] == "CREATED" for group in table.values())


def save(epoch: int) -> Path | None:
    folder = sweeps.checkpoint_folder(epoch)
    if folder is None or dist.get_rank() > 0:
        return None
    folder.mkdir(parents=True)
    (folder / "epoch").write_text(str(epoch))
    return folder


def harm(kind: str | None, rank: int, output: Path) -> None:
    """What goes wrong, in each segment or only in the first."""
    begins = (output / "begins.jsonl").read_text().splitlines()
    again = sum(f'"rank": {rank},' in begin for begin in begins) > 1
    match kind:
        case "raises" if rank == 1:
            raise RuntimeError("rank 1 has no luck")
        case "leaves_and_raises" if rank == 1 and not again:
            dist.destroy_process_group()
            raise RuntimeError("rank 1 has no luck this time")
        case "dies" if rank == 1 and not again:
            os.kill(os.getpid(), signal.SIGKILL)
        case "first_dies" if rank == 0 and not again:
            os.kill(os.getpid(), signal.SIGKILL)
        case "hangs" if rank == 1:
            time.sleep(600)


def note(file: Path, line: dict[str, object]) -> None:
    with file.open("a") as lines:
        lines.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
