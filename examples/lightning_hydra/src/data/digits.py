"""scikit-learn's 1,797 digits of 8 x 8 pixels."""

import torch
from lightning import LightningDataModule
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, Dataset, TensorDataset, random_split


class DigitsDataModule(LightningDataModule):
    def __init__(self, batch_size: int = 64, split: tuple[int, int, int] = (1200, 297, 300)):
        super().__init__()
        self.save_hyperparameters(logger=False)
        self.parts: list[Dataset] = []

    def setup(self, stage: str) -> None:
        if not self.parts:
            x, y = load_digits(return_X_y=True)
            rows = TensorDataset(torch.tensor(x / 16, dtype=torch.float32), torch.tensor(y))
            generator = torch.Generator().manual_seed(42)
            self.parts = random_split(rows, list(self.hparams.split), generator)

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self.parts[0], self.hparams.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self.parts[1], self.hparams.batch_size)

    def test_dataloader(self) -> DataLoader:
        return DataLoader(self.parts[2], self.hparams.batch_size)
