"""The problems: for each configuration the losses and seconds of its steps, from recorded data."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from sweeps.schedulers import make_scheduler
from sweeps.searchers import seed_of
from sweeps.space.space import Space, parse_space

Values = Mapping[str, Any]
Steps = Sequence[tuple[float, float]]
"""(loss, seconds) of each step."""


class Missing(Exception):  # noqa: N818
    """A problem's data or a library that reads it is not here; the message says which."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What a sweep is to optimize, and how good it can get."""

    name: str
    space: Space
    train: Callable[[Values], Steps]
    max_t: int
    seconds: float
    """Of a full training, on average (R)."""
    pool: np.ndarray
    """The losses of random configurations trained in full, ascending."""
    best: float
    """The lowest loss known."""
    halving: float | None = None
    """The most that successive halving can gain here, see `Nb301.halving`."""

    def regret(self, loss: float) -> float:
        """0 at the best, 1 at the median random configuration and beyond."""
        return min((loss - self.best) / (float(np.median(self.pool)) - self.best), 1.0)

    def loss_after(self, trainings: float) -> float:
        """What random search has reached after so many full trainings, in the median."""
        share = 1 - 0.5 ** (1 / trainings)
        return float(self.pool[int(share * len(self.pool))])

    def trainings_to(self, loss: float) -> float:
        """After how many full trainings random search has reached the loss, in the median.

        Where the pool holds no such loss it is what the pool's best takes: a lower bound.
        """
        share = max(np.searchsorted(self.pool, loss, side="right"), 1) / len(self.pool)
        return float(np.log(0.5) / np.log1p(-share)) if share < 0.5 else 1.0


@dataclass(frozen=True)
class Stragglers:
    """Lognormal noise on costs, of mean 1: each trial's seconds are so many times its usual ones.

    A trial's factor is the same whoever sweeps.
    """

    sigma: float = 0.0
    seed: int = 0

    def factor(self, trial: int) -> float:
        """How much longer the trial takes."""
        if not self.sigma:
            return 1.0
        z = np.random.default_rng(seed_of(self.seed, trial)).standard_normal()
        return float(np.exp(self.sigma * z - self.sigma**2 / 2))


# NAS-Bench-301: learning curves of 98 epochs

_POOL = 20_000
_DESCENTS = 30
_CACHED = 5000
"""Curves kept: methods that propose at random propose the same."""
_EPOCHS = np.arange(1, 99, dtype=np.float32)[:, None]
_PREFIX = "NetworkSelectorDatasetInfo_COLON_darts_COLON_"
_ABSENT = "#na#"


def nb301(data: Path) -> Problem:
    """A cell's operations and inputs: 34 categorical parameters, 24 of them conditional.

    Loss is 1 - validation accuracy. A surrogate (Zela et al., ICLR 2022) of real trainings answers
    for each epoch. An epoch's seconds are its `runtime_increase`, the same all through a training
    as they are in reality; its cumulative `runtime` would charge the first epoch a twenty-fifth of
    a training, and the last nothing. The pool are 20,000 random configurations; best is the lowest
    final loss that descents from the thirty best of them find, one parameter at a time.
    """
    surrogate = Nb301(data / "nb301")
    rows = surrogate.random(_POOL, np.random.default_rng(0))
    losses, seconds = surrogate.ends(rows)
    best = min(surrogate.descend(rows[i]) for i in np.argsort(losses)[:_DESCENTS])
    return Problem(
        name="nb301",
        space=surrogate.space,
        train=surrogate.train,
        max_t=len(_EPOCHS),
        seconds=float(seconds.mean()) * len(_EPOCHS),
        pool=np.sort(losses),
        best=best,
        halving=surrogate.halving(rows, losses),
    )


class Nb301:
    """The surrogate, through onnxruntime."""

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise Missing(f"no folder {folder}")
        self._session = _session(folder / "model_v2.onnx")
        codes = json.loads((folder / "encoding_v2.json").read_text())
        columns = [
            *(f"edge_{cell}_{i}" for cell in ("normal", "reduce") for i in range(14)),
            *(f"inputs_node_{cell}_{i}" for cell in ("normal", "reduce") for i in (3, 4, 5)),
        ]
        self._codes: dict[str, dict[str, int]] = {name: codes[_PREFIX + name] for name in columns}
        conditions = json.loads((folder / "config_space_v2.json").read_text())["conditions"]
        self._when = {
            c["child"].removeprefix(_PREFIX): (c["parent"].removeprefix(_PREFIX), c["values"])
            for c in conditions
        }
        self._train = lru_cache(_CACHED)(self._train_anew)

    @cached_property
    def space(self) -> Space:
        """The space in Hydra's grammar."""
        choices = {
            name: f"choice({','.join(map(repr, self._choices(name)))})" for name in self._codes
        }
        when = {child: {parent: values} for child, (parent, values) in self._when.items()}
        return parse_space(choices, [], when=when)[0]

    def random(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Configurations drawn uniformly, one a row."""
        drawn = {name: rng.choice(self._choices(name), count) for name in self._codes}
        return self.encode(drawn)

    def encode(self, values: Mapping[str, Any]) -> np.ndarray:
        """Configurations as the model reads them: by name a value, or the values of many.

        What does not exist in one may be missing, or have any value.
        """
        columns = []
        for name, codes in self._codes.items():
            words = np.atleast_1d(np.asarray(values.get(name, _ABSENT)))
            if name in self._when:
                parent, accepted = self._when[name]
                words = np.where(np.isin(np.atleast_1d(values[parent]), accepted), words, _ABSENT)
            columns.append(np.array([codes[word] for word in words.tolist()], np.int32))
        return np.stack(np.broadcast_arrays(*columns), axis=1)

    def train(self, values: Values) -> Steps:
        """Each epoch's loss and seconds."""
        return self._train(tuple(values.get(name, _ABSENT) for name in self._codes))

    def _train_anew(self, words: tuple[str, ...]) -> Steps:
        row = self.encode(dict(zip(self._codes, words, strict=True)))
        losses, seconds = self._run(np.repeat(row, len(_EPOCHS), 0), _EPOCHS)
        return list(zip(losses.tolist(), seconds.tolist(), strict=True))

    def ends(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The losses and seconds of the last epoch."""
        return self._run(rows, np.full((len(rows), 1), _EPOCHS[-1], np.float32))

    def descend(self, row: np.ndarray) -> float:
        """The loss where no change of a single parameter helps."""
        loss = float(self.ends(row[None])[0][0])
        while True:
            around = self._around(row)
            losses, _ = self.ends(around)
            if losses.min() >= loss:
                return loss
            row, loss = around[losses.argmin()], float(losses.min())

    def halving(self, rows: np.ndarray, finals: np.ndarray) -> float:
        """How much sooner than random search successive halving can find a good configuration.

        It is what remains with endless workers and no waiting: of many configurations exactly the
        best third go on from each rung of ours. Good are the best 1 in 200. Where the ranks at the
        rungs say little of the last epoch's, most of the good are given up on the way.
        """
        *rungs, end = make_scheduler("asha", space=self.space, seed=0, max_t=len(_EPOCHS)).rungs()
        alive, spent, before = np.arange(len(rows)), 0.0, 0
        for rung in rungs:
            spent += len(alive) * (rung - before) / end
            losses, _ = self._run(rows[alive], np.full((len(alive), 1), rung, np.float32))
            alive, before = alive[np.argsort(losses)[: len(alive) // 3]], rung
        spent += len(alive) * (end - before) / end
        good = np.argsort(finals)[: len(rows) // 200]
        return float(np.isin(good, alive).mean() * len(rows) / spent)

    def _around(self, row: np.ndarray) -> np.ndarray:
        words = {
            name: next(word for word, code in codes.items() if code == row[i])
            for i, (name, codes) in enumerate(self._codes.items())
        }
        full = {n: w if w != _ABSENT else self._choices(n)[0] for n, w in words.items()}
        changes = [
            (name, choice)
            for name, word in words.items()
            for choice in self._choices(name)
            if word not in (_ABSENT, choice)
        ]
        return self.encode(
            {
                name: [choice if changed == name else word for changed, choice in changes]
                for name, word in full.items()
            }
        )

    def _run(self, rows: np.ndarray, epochs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        (out,) = self._session.run(None, {"x_cat": rows, "x_cont": epochs})
        return 1 - out[:, 0].astype(float), out[:, 3].astype(float)

    def _choices(self, name: str) -> list[str]:
        return [choice for choice in self._codes[name] if choice != _ABSENT]


def _session(model: Path) -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise Missing("onnxruntime is not installed (extra: bench)") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(model), options)


# Tables: a final score for every configuration

_OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
_TABLES: Mapping[str, Mapping[str, str]] = {
    # By the columns of `keys`; what has an order is a range over the choices' indexes.
    "hpobench": {
        "alpha": "range(0, 10)",
        "batch_size": "range(0, 10)",
        "depth": "range(0, 3)",
        "learning_rate_init": "range(0, 10)",
        "width": "range(0, 10)",
    },
    "hpolib": {
        "activation_fn_1": "choice(0, 1)",
        "activation_fn_2": "choice(0, 1)",
        "batch_size": "range(0, 4)",
        "dropout_1": "range(0, 3)",
        "dropout_2": "range(0, 3)",
        "init_lr": "range(0, 6)",
        "lr_schedule": "choice(0, 1)",
        "n_units_1": "range(0, 6)",
        "n_units_2": "range(0, 6)",
    },
    "nasbench201": {
        f"op_{i}": f"choice({','.join(map(str, range(len(_OPERATIONS))))})" for i in range(6)
    },
}


def tables(data: Path) -> Iterator[Problem]:
    """Final scores, averaged over the recorded seeds; a trial is one step of one second.

    Loss is 1 - score, or the logarithm of hpolib's squared error. The pool is the whole table.
    """
    folder = data / "hpo_tables"
    if not folder.is_dir():
        raise Missing(f"no folder {folder}")
    for family, parameters in _TABLES.items():
        for path in sorted((folder / family).glob("*.npz")):
            yield _table(f"{family}/{path.stem}", parameters, path)


def _table(name: str, parameters: Mapping[str, str], path: Path) -> Problem:
    with np.load(path) as file:
        keys, values = file["keys"], np.nanmean(file["values"].astype(float), axis=1)
    losses = np.log(values) if name.startswith("hpolib") else 1 - values
    by_key = dict(zip(map(tuple, keys.tolist()), losses.tolist(), strict=True))

    def train(values: Values) -> Steps:
        return [(by_key[tuple(int(values[name]) for name in parameters)], 1.0)]

    return Problem(
        name=name,
        space=parse_space(parameters, [])[0],
        train=train,
        max_t=1,
        seconds=1.0,
        pool=np.sort(losses),
        best=float(losses.min()),
    )
