"""Handwritten digits, and a training loop as one writes it oneself.

python src/train.py
caviar sweep src/train.py +hparams=lab
"""

from pathlib import Path

import hydra
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import sweeps


@hydra.main(version_base=None, config_path="../conf", config_name="train")
def main(cfg: DictConfig) -> None:
    torch.manual_seed(cfg.seed)
    x, x_val, y, y_val = digits()
    net = instantiate(cfg.model)
    optimizer = instantiate(cfg.optimizer, params=net.parameters())
    begun = load(sweeps.get_checkpoint() or cfg.resume_from, net, optimizer)
    for epoch in range(begun + 1, cfg.epochs + 1):
        torch.manual_seed(1000 * cfg.seed + epoch)  # the same epoch, also where training goes on
        train_epoch(net, optimizer, x, y, cfg.batch_size)
        metrics = evaluate(net, x_val, y_val)

        def save(folder: Path, epoch: int = epoch) -> None:
            folder.mkdir(parents=True)
            state = {"net": net.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch}
            torch.save(state, folder / "state.pt")

        sweeps.report(metrics, step=epoch, checkpoint=save)


def digits() -> list[Tensor]:
    x, y = load_digits(return_X_y=True)
    parts = train_test_split(x / 16, y, random_state=0, stratify=y)
    return [torch.tensor(part, dtype=kind) for part, kind in zip(parts, KINDS, strict=True)]


KINDS = (torch.float32, torch.float32, torch.int64, torch.int64)


def load(folder: str | Path | None, net: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """The epoch that the folder's state was saved after; 0 without a folder."""
    if folder is None:
        return 0
    state = torch.load(Path(folder) / "state.pt", weights_only=True)
    net.load_state_dict(state["net"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["epoch"])


def train_epoch(
    net: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor, batch_size: int
) -> None:
    net.train()
    for rows in torch.randperm(len(x)).split(batch_size):
        optimizer.zero_grad()
        cross_entropy(net(x[rows]), y[rows]).backward()
        optimizer.step()


@torch.no_grad()
def evaluate(net: nn.Module, x: Tensor, y: Tensor) -> dict[str, float]:
    net.eval()
    scores = net(x)
    return {
        "val_loss": cross_entropy(scores, y).item(),
        "val_accuracy": (scores.argmax(1) == y).float().mean().item(),
    }


if __name__ == "__main__":
    main()
