"""The search of an architecture, with the interface of any training."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from models.checks import number
from models.choices import miss
from models.data import Dataset, Split, in_memory
from models.data.split import split_rows
from models.networks.darts import DartsSupernet
from models.networks.darts.genotype import FILE
from models.training.architecture import ArchitectureSearch
from models.training.export import Best
from models.training.optimizers import Optimizer
from models.training.trainer import Trainer

if TYPE_CHECKING:
    from models.training import Fit

log = logging.getLogger(__name__)

Save = Callable[[Path], Path]


@dataclass(kw_only=True)
class DartsTrainer(Trainer):
    """Trains a `DartsSupernet` as DARTS does, and writes the architecture that it derives.

    Liu et al. 2019, arXiv:1806.09055, algorithm 1: the training rows are shared out between weights
    and architecture, and each step of the weights is followed by one of the alphas; see
    `models.training.bilevel`. A checkpoint holds `genotype.json` of its epoch, an export that of
    the best epoch; `DartsNet` takes either folder. The log ends with the last one.

    Args:
        order: 2 differentiates through the weights' next step, at four times the work of 1, which
            does not.
        architecture_lr: Learning rate of Adam on the alphas.
        architecture_weight_decay: The same optimizer's.
        architecture_share: Share of the training rows that the alphas learn from.
    """

    order: int = 2
    architecture_lr: float = 3e-4
    architecture_weight_decay: float = 1e-3
    architecture_share: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.order not in (1, 2):
            raise ValueError(miss(self.order, ["1", "2"], key="trainer.order"))
        for name in ("architecture_lr", "architecture_weight_decay"):
            self._check(number, name, lambda v: v >= 0, "0 or more")
        rule = "more than 0 and less than 1"
        self._check(number, "architecture_share", lambda v: 0 < v < 1, rule)

    def fit(
        self,
        parts: Mapping[str, Any],
        *,
        resume: Path | None = None,
        on_epoch: Callable[[int, dict[str, float], Save], None] | None = None,
        stop: Callable[[], bool] | None = None,
    ) -> Fit:
        """Search up to `epochs` epochs; as `Trainer.fit`."""
        data = _SharedRows(parts["data"], self.architecture_share, parts["seed"])
        nets: list[DartsSupernet] = []

        def optimizer(net: nn.Module) -> Optimizer:
            nets.append(_supernet(net))
            return self._search(net, data, parts["optimizer"], parts["seed"])

        def save_with_genotype(save: Save) -> Save:
            return lambda to: _write_genotype(save(to), nets[-1])

        def report(epoch: int, metrics: dict[str, float], save: Save) -> None:
            if on_epoch is not None:
                on_epoch(epoch, metrics, save_with_genotype(save))

        shared = {**parts, "data": data, "optimizer": optimizer}
        fit = super().fit(shared, resume=resume, on_epoch=report, stop=stop)
        log.info("genotype after %d epochs: %s", fit.epoch, nets[-1].derive().to_json().strip())
        return replace(fit, save=save_with_genotype(fit.save))

    def export(self, best: Best, folder: str | Path) -> Path:
        """As `Trainer.export`, and `genotype.json` of the best epoch."""
        return _write_genotype(super().export(best, folder), _supernet(best.net))

    def _check_net(self, net: nn.Module) -> None:
        _supernet(net)

    def _search(
        self,
        net: nn.Module,
        data: _SharedRows,
        weights: Callable[[nn.Module], Optimizer],
        seed: int,
    ) -> ArchitectureSearch:
        device = next(net.parameters()).device
        train = in_memory(data.load().train, needed_by="trainer=darts").to(device)
        return ArchitectureSearch(
            net,
            weights,
            train=train,
            validation=data.architecture.to(device),
            batch_size=self.batch_size,
            loss=self._loss(train),
            lr=self.architecture_lr,
            weight_decay=self.architecture_weight_decay,
            second_order=self.order == 2,
            seed=seed,
        )


class _SharedRows:
    """A data set that keeps some of its training rows for the architecture."""

    def __init__(self, data: Any, share: float, seed: int):
        self._data, self._share, self._seed = data, share, seed

    def load(self) -> Dataset:
        """The data set with the weights' training rows."""
        return self._both[0]

    @property
    def architecture(self) -> Split:
        """The architecture's rows."""
        return self._both[1]

    @cached_property
    def _both(self) -> tuple[Dataset, Split]:
        dataset: Dataset = self._data.load()
        x, y = in_memory(dataset.train, needed_by="trainer=darts")
        rows = split_rows(y, validation=self._share, test=0.0, seed=self._seed)
        train, other = (Split(x[part], y[part]) for part in (rows.train, rows.validation))
        return replace(dataset, train=train), other


def _supernet(net: nn.Module) -> DartsSupernet:
    if not isinstance(net, DartsSupernet):
        raise ValueError(
            f"trainer=darts searches in a supernet, and the model is {type(net).__name__}; "
            "choose model=darts_supernet"
        )
    return net


def _write_genotype(folder: Path, net: DartsSupernet) -> Path:
    partial = folder / f"{FILE}.partial"
    partial.write_text(net.derive().to_json())
    partial.rename(folder / FILE)
    return folder
