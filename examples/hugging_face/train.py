"""A small transformer, trained from nothing by the Hugging Face Trainer.

python train.py
caviar sweep train.py +hparams=lab
"""

import hydra
import transformers
from hydra.utils import instantiate
from omegaconf import DictConfig
from reviews import reviews
from transformers import EvalPrediction, Trainer

import sweeps
from sweeps.integrations.hugging_face import SweepCallback


@hydra.main(version_base=None, config_path="conf", config_name="train")
def main(cfg: DictConfig) -> None:
    transformers.set_seed(cfg.seed)
    trainer = Trainer(
        model=instantiate(cfg.model),
        args=instantiate(cfg.training),
        train_dataset=reviews(cfg.sentences, seed=1),
        eval_dataset=reviews(300, seed=2),
        compute_metrics=accuracy,
        callbacks=[SweepCallback()],
    )
    trainer.train(resume_from_checkpoint=sweeps.get_checkpoint())


def accuracy(predicted: EvalPrediction) -> dict[str, float]:
    return {"accuracy": (predicted.predictions.argmax(-1) == predicted.label_ids).mean().item()}


if __name__ == "__main__":
    main()
