"""Trains a classifier of handwritten digits: `python src/train.py`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

ROOT = next(p for p in Path(__file__).resolve().parents if (p / ".project-root").exists())
sys.path.insert(0, str(ROOT))
os.environ["PROJECT_ROOT"] = str(ROOT)

import hydra  # noqa: E402
import lightning as L  # noqa: E402
from omegaconf import DictConfig  # noqa: E402

from src.utils.instantiators import instantiate_all  # noqa: E402
from src.utils.resolvers import register_resolvers  # noqa: E402

register_resolvers()


def train(cfg: DictConfig) -> dict[str, Any]:
    if cfg.seed is not None:
        L.seed_everything(cfg.seed, workers=True)
    datamodule = hydra.utils.instantiate(cfg.data)
    model = hydra.utils.instantiate(cfg.model)
    callbacks = instantiate_all(cfg.callbacks)
    logger = instantiate_all(cfg.logger)
    trainer = hydra.utils.instantiate(cfg.trainer, callbacks=callbacks, logger=logger)
    trainer.fit(model=model, datamodule=datamodule, ckpt_path=cfg.ckpt_path)
    metrics = dict(trainer.callback_metrics)
    if cfg.test:
        best = trainer.checkpoint_callback.best_model_path
        trainer.test(model=model, datamodule=datamodule, ckpt_path=best or None)
        metrics |= trainer.callback_metrics
    return metrics


@hydra.main(version_base="1.3", config_path="../configs", config_name="train.yaml")
def main(cfg: DictConfig) -> float:
    return float(train(cfg)[cfg.optimized_metric])


if __name__ == "__main__":
    main()
