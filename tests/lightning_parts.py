"""A network for Lightning that trains in moments."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

SGD = partial(torch.optim.SGD, momentum=0.9)


def module_class(package: Any) -> type:
    """A network with dropout, momentum and a plateau schedule: all that can be lost in a pause."""

    class Net(package.LightningModule):
        def __init__(self, lr: float = 0.02, optimizer=SGD):
            super().__init__()
            self.save_hyperparameters(logger=False)
            self.layers = torch.nn.Sequential(
                torch.nn.Linear(4, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 1)
            )
            self.seen = []

        def training_step(self, batch, batch_idx):
            self.seen.append((self.current_epoch, float(batch[0].sum())))
            loss = F.mse_loss(self.layers(batch[0]), batch[1])
            self.log("train/loss", loss, on_step=False, on_epoch=True)
            return loss

        def validation_step(self, batch, batch_idx):
            self.log("val/loss", F.mse_loss(self.layers(batch[0]), batch[1]))

        def configure_optimizers(self):
            optimizer = (self.hparams.optimizer or SGD)(self.parameters(), lr=self.hparams.lr)
            schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(
                optimizer, mode="max", factor=0.5, patience=0
            )
            return {
                "optimizer": optimizer,
                "lr_scheduler": {"scheduler": schedule, "monitor": "val/loss"},
            }

    return Net


def loader(*, shuffle: bool) -> DataLoader:
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(24, 4, generator=generator)
    return DataLoader(TensorDataset(x, x.sum(1, keepdim=True)), batch_size=8, shuffle=shuffle)


def make_trainer(tmp_path: Path, package: Any = pl, **arguments: Any) -> Any:
    given = {"max_epochs": 4, "logger": False, "enable_model_summary": False, **arguments}
    return package.Trainer(accelerator="cpu", default_root_dir=tmp_path, **given)


def fit(trainer: Any, net: Any = None, package: Any = pl, **arguments: Any) -> Any:
    net = net or module_class(package)()
    trainer.fit(net, loader(shuffle=True), loader(shuffle=False), **arguments)
    return net


def same_weights(one: Any, other: Any) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)
