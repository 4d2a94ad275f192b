"""A linear classifier of scikit-learn's, trained epoch by epoch on handwritten digits.

python train.py
caviar sweep train.py +hparams=lab
"""

from pathlib import Path

import hydra
import numpy as np
from omegaconf import DictConfig
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import train_test_split

import sweeps

STATE = ("classes_", "coef_", "intercept_", "t_")
"""What `SGDClassifier.partial_fit` goes on from: arrays, so that nothing has to be unpickled."""


@hydra.main(version_base=None, config_path="conf", config_name="train")
def main(cfg: DictConfig) -> None:
    x, y = load_digits(return_X_y=True)
    x, x_val, y, y_val = train_test_split(x / 16, y, random_state=0, stratify=y)
    net = SGDClassifier(
        loss=cfg.loss,
        penalty=cfg.penalty,
        learning_rate="constant",
        eta0=cfg.lr,
        alpha=cfg.alpha,
        shuffle=False,
    )
    begun = load(net, sweeps.get_checkpoint())
    for epoch in range(begun + 1, cfg.epochs + 1):
        rows = np.random.default_rng([cfg.seed, epoch]).permutation(len(x))
        net.partial_fit(x[rows], y[rows], classes=np.unique(y))
        metrics = {"val_error": 1 - net.score(x_val, y_val), "error": 1 - net.score(x, y)}

        def save(folder: Path, epoch: int = epoch) -> None:
            folder.mkdir(parents=True)
            arrays = {name: getattr(net, name) for name in STATE}
            np.savez(folder / "net.npz", epoch=epoch, **arrays)

        sweeps.report(metrics, step=epoch, checkpoint=save)


def load(net: SGDClassifier, folder: Path | None) -> int:
    """The epoch that the folder's state was saved after; 0 without a folder."""
    if folder is None:
        return 0
    with np.load(folder / "net.npz", allow_pickle=False) as saved:
        for name in STATE:
            setattr(net, name, saved[name])
        return int(saved["epoch"])


if __name__ == "__main__":
    main()
