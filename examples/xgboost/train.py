"""Boosted trees on handwritten digits; a sweep's steps are boosting rounds.

python train.py
caviar sweep train.py +hparams=lab
"""

from pathlib import Path

import hydra
import xgboost
from omegaconf import DictConfig, OmegaConf
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from xgboost import Booster, DMatrix

import sweeps

MODEL = "model.ubj"


class Report(xgboost.callback.TrainingCallback):
    """Reports each round."""

    def after_iteration(self, model: Booster, epoch: int, evals_log: dict) -> bool:
        metrics = {
            f"{data}_{metric}": values[-1]
            for data, by_metric in evals_log.items()
            for metric, values in by_metric.items()
        }

        def save(folder: Path) -> None:
            folder.mkdir(parents=True)
            model.save_model(folder / MODEL)

        sweeps.report(metrics, step=model.num_boosted_rounds(), checkpoint=save)
        return False


@hydra.main(version_base=None, config_path="conf", config_name="train")
def main(cfg: DictConfig) -> None:
    x, y = load_digits(return_X_y=True)
    x, x_val, y, y_val = train_test_split(x, y, random_state=0, stratify=y)
    folder = sweeps.get_checkpoint()
    model = Booster(model_file=folder / MODEL) if folder else None
    data, val = DMatrix(x, y), DMatrix(x_val, y_val)
    xgboost.train(
        OmegaConf.to_container(cfg.booster, resolve=True),
        data,
        num_boost_round=cfg.rounds - (model.num_boosted_rounds() if model else 0),
        evals=[(data, "train"), (val, "val")],
        callbacks=[Report()],
        xgb_model=model,
        verbose_eval=False,
    )


if __name__ == "__main__":
    main()
