"""An app whose epochs are spent in a DataLoader that waits for a slow disk."""

import time

import hydra
import torch
from omegaconf import DictConfig
from torch.utils.data import DataLoader, Dataset

import sweeps


class Slow(Dataset[torch.Tensor]):
    """Takes a twentieth of a second for each row."""

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> torch.Tensor:
        time.sleep(0.05)
        return torch.tensor(float(index))


@hydra.main(version_base=None, config_path=None)
def main(cfg: DictConfig) -> None:
    for epoch in range(1, 5):
        total = sum(float(batch.sum()) for batch in DataLoader(Slow(), batch_size=2))
        sweeps.report({"loss": total * cfg.x}, step=epoch)


if __name__ == "__main__":
    main()
