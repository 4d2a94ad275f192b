"""64 configurations of the digits MLP with ASHA on 2 cores, beside raw Ray Tune and Optuna.

    python benchmarks/digits_asha.py [--repeats 1] [--skip-peers]

All train the same configurations with the same trainer. A sweep's time runs from the start of its
first trial's first epoch to its last trial's end: Ray's start and imports are aside. Its ideal is
the same epochs of the same configurations trained one after another in one process, halved: so each
sweep has an ideal of its own, and the ratio says what orchestration costs. It is given for a bare
PyTorch loop as one writes it by hand, and for the project's own trainer, which is faster.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from trainer_epoch import bare_epoch

import models

torch.set_num_threads(1)

CONFIGURATIONS = 64
MAX_T, GRACE, ETA = 27, 1, 3
Values = Mapping[str, Any]
WARM_UP: Values = {
    "depth": 1,
    "width": 32,
    "norm": "batch",
    "dropout": 0.1,
    "lr": 0.1,
    "momentum": 0.9,
    "weight_decay": 1e-4,
    "batch_size": 64,
}


def parts_of(values: Values) -> dict[str, Any]:
    """The parts of a training, as the composed config would give them."""
    of = {key.rpartition(".")[2]: value for key, value in values.items()}
    return {
        "model": functools.partial(
            models.MLP,
            depth=of["depth"],
            width=of["width"],
            norm=of["norm"],
            dropout=of["dropout"],
        ),
        "data": models.Digits(standardize="global"),
        "optimizer": functools.partial(
            models.SGD,
            lr=of["lr"],
            momentum=of["momentum"],
            nesterov=True,
            weight_decay=of["weight_decay"],
            decay_norms_and_biases=False,
        ),
        "lr_schedule": functools.partial(models.Cosine, final=0.0),
        "trainer": models.Trainer(epochs=MAX_T, batch_size=of["batch_size"]),
        "seed": 0,
    }


def train_by_hand(values: Values, epochs: int) -> float:
    """Seconds of a bare PyTorch loop over some epochs of one configuration."""
    parts = parts_of(values)
    began = time.perf_counter()
    net = parts["model"](64, 10)
    optimizer = torch.optim.SGD(
        net.parameters(),
        lr=parts["optimizer"].keywords["lr"],
        momentum=parts["optimizer"].keywords["momentum"],
        nesterov=True,
        weight_decay=parts["optimizer"].keywords["weight_decay"],
    )
    epoch = bare_epoch(net, optimizer, batch_size=parts["trainer"].batch_size)
    for _ in range(epochs):
        epoch()
    return time.perf_counter() - began


class EnoughError(Exception):
    """Ends a bare training after the epochs that a sweep gave it."""


def train_alone(values: Values, epochs: int) -> float:
    """Seconds of the trainer by itself over some epochs of one configuration."""
    parts = parts_of(values)

    def count(epoch: int, metrics: Mapping[str, float], save: Any) -> None:
        if epoch >= epochs:
            raise EnoughError

    began = time.perf_counter()
    with contextlib.suppress(EnoughError):
        parts["trainer"].fit(parts, on_epoch=count)
    return time.perf_counter() - began


# caviar


def sweep_caviar(
    folder: Path, seed: int, *, scheduler: str = "asha"
) -> tuple[float, list[tuple[Values, int]]]:
    """Seconds after the first report, and the configurations with the epochs each was trained.

    A seed gives the same configurations under every scheduler.
    """
    command = [sys.executable, "-m", "sweeps.train", "-m", "experiment=digits_asha"]
    options = {
        "hydra/sweeper/searcher": "random",
        "hydra/sweeper/scheduler": scheduler,
        "hydra.sweeper.num_samples": CONFIGURATIONS,
        "hydra.sweeper.max_concurrent_trials": 2,
        "hydra.sweeper.storage_path": folder,
        "hydra.sweeper.name": scheduler,
        "hydra.sweeper.seed": seed,
        "hydra.sweeper.export": "false",
    }
    command += [f"{key}={value}" for key, value in options.items()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"the sweep failed:\n{done.stderr}")
    from sweeps.results import load_sweep
    from sweeps.storage.folder import SweepFolder

    sweep = load_sweep(SweepFolder(folder / scheduler))
    assert sweep.trials.closed is not None
    first = min(trial.reports[1].time for trial in sweep.trials)
    trained = [(sweep.values(trial), trial.step) for trial in sweep.trials]
    return sweep.trials.closed.time - first, trained


# Raw Ray Tune: its ASHA stops, its actors are reused


def sweep_tune(folder: Path, configurations: list[Values]) -> tuple[float, list[int]]:
    """Seconds, and the epochs that each configuration was trained."""
    (folder / "configurations.json").write_text(json.dumps(configurations))
    command = [sys.executable, __file__, "--tune-in", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"raw Ray Tune failed:\n{done.stderr}")
    result = json.loads(done.stdout.splitlines()[-1])
    return result["seconds"], result["epochs"]


def run_tune(folder: Path) -> None:
    """The process of `sweep_tune`."""
    import logging

    import ray
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler

    configurations = json.loads((folder / "configurations.json").read_text())

    def train(config: dict[str, Any]) -> None:
        began = time.time()
        parts = parts_of(configurations[config["number"]])

        def report(epoch: int, metrics: dict[str, float], save: Any) -> None:
            with tempfile.TemporaryDirectory() as place:
                checkpoint = tune.Checkpoint.from_directory(save(Path(place) / "checkpoint"))
                tune.report({**metrics, "epoch": epoch, "began": began}, checkpoint=checkpoint)

        parts["trainer"].fit(parts, on_epoch=report)

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    results = tune.Tuner(
        train,
        param_space={"number": tune.grid_search(list(range(len(configurations))))},
        tune_config=tune.TuneConfig(
            metric="val_accuracy",
            mode="max",
            max_concurrent_trials=2,
            reuse_actors=True,
            scheduler=ASHAScheduler(
                time_attr="epoch", max_t=MAX_T, grace_period=GRACE, reduction_factor=ETA
            ),
        ),
        run_config=tune.RunConfig(storage_path=str(folder / "tune"), verbose=0),
    ).fit()
    last = {result.config["number"]: result.metrics for result in results}
    began = min(metrics["began"] for metrics in last.values())
    ended = max(metrics["timestamp"] for metrics in last.values())
    epochs = [last[number]["epoch"] for number in range(len(configurations))]
    print(json.dumps({"seconds": ended - began, "epochs": epochs}))


# Optuna: two processes over one journal, its successive-halving pruner


def sweep_optuna(folder: Path, configurations: list[Values]) -> tuple[float, list[int]]:
    """Seconds, and the epochs that each configuration was trained."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    path = str(folder / "journal.log")
    study = optuna.create_study(
        study_name="digits", direction="maximize", storage=JournalStorage(JournalFileBackend(path))
    )
    for number in range(len(configurations)):
        study.enqueue_trial({"number": number})
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=work_optuna, args=(path, configurations)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    trials = [t for t in study.get_trials(deepcopy=False) if t.intermediate_values]
    began = min(t.datetime_start.timestamp() for t in trials)
    ended = max(t.datetime_complete.timestamp() for t in trials)
    epochs = {t.params["number"]: max(t.intermediate_values) for t in trials}
    return ended - began, [epochs[number] for number in range(len(configurations))]


def work_optuna(path: str, configurations: list[Values]) -> None:
    """One of the processes of `sweep_optuna`."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.load_study(
        study_name="digits",
        storage=JournalStorage(JournalFileBackend(path)),
        pruner=optuna.pruners.SuccessiveHalvingPruner(
            min_resource=GRACE, reduction_factor=ETA, min_early_stopping_rate=0
        ),
    )

    def objective(trial: optuna.Trial) -> float:
        parts = parts_of(configurations[trial.suggest_int("number", 0, len(configurations) - 1)])

        def report(epoch: int, metrics: dict[str, float], save: Any) -> None:
            with tempfile.TemporaryDirectory() as place:
                save(Path(place) / "checkpoint")
            trial.report(metrics["val_accuracy"], epoch)
            if trial.should_prune():
                raise optuna.TrialPruned

        return float(parts["trainer"].fit(parts, on_epoch=report).objective)

    while any(t.state.name == "WAITING" for t in study.get_trials(deepcopy=False)):
        study.optimize(objective, n_trials=1)


# The table


def measure(repeats: int, *, peers: bool) -> dict[str, list[tuple[float, float]]]:
    """Ratios of sweep time to both ideals, by who swept."""
    ratios: dict[str, list[tuple[float, float]]] = {}
    train_by_hand(WARM_UP, 1)  # imports and data, before any clock starts
    for seed in range(repeats):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            seconds, trained = sweep_caviar(folder, seed)
            epochs_of = [epochs for _, epochs in trained]
            each = [seconds_an_epoch(values, epochs) for values, epochs in trained]
            seconds += each[0][1]
            note(ratios, "caviar, ASHA promoting", seconds, each, epochs_of)
            stopping, trained = sweep_caviar(folder, seed, scheduler="asha_stop")
            epochs_of = [epochs for _, epochs in trained]
            note(ratios, "caviar, ASHA stopping", stopping + each[0][1], each, epochs_of)
            if not peers:
                continue
            values = [dict(v) for v, _ in trained]
            for who, sweep in PEERS.items():
                seconds, epochs = sweep(folder, values)
                note(ratios, who, seconds, each, epochs)
    return ratios


PEERS = {
    "raw Ray Tune, ASHA stopping, actors reused": sweep_tune,
    "Optuna, 2 processes, one journal": sweep_optuna,
}


def seconds_an_epoch(values: Values, epochs: int) -> tuple[float, float]:
    """Of a loop by hand, and of the trainer alone, over as many epochs as the sweep gave."""
    return train_by_hand(values, epochs) / epochs, train_alone(values, epochs) / epochs


def note(
    ratios: dict[str, list[tuple[float, float]]],
    who: str,
    seconds: float,
    each: list[tuple[float, float]],
    epochs: list[int],
) -> None:
    """Keep the ratios to both ideals, and print where they come from."""
    by_hand, trainer = (
        sum(pair[i] * n for pair, n in zip(each, epochs, strict=True)) / 2 for i in (0, 1)
    )
    ratios.setdefault(who, []).append((seconds / by_hand, seconds / trainer))
    print(
        f"  {who:44} {sum(epochs):5} epochs  {seconds:6.2f} s"
        f"  ideal {by_hand:5.2f} s by hand, {trainer:5.2f} s trainer",
        flush=True,
    )


def main() -> None:
    """Print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--skip-peers", action="store_true")
    parser.add_argument("--tune-in", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.tune_in:
        run_tune(given.tune_in)
        return
    print(f"{CONFIGURATIONS} configurations of the digits MLP, 2 at once")
    for who, ratios in measure(given.repeats, peers=not given.skip_peers).items():
        by_hand, trainer = (statistics.median(values) for values in zip(*ratios, strict=True))
        print(f"{who:46} {by_hand:5.2f} times a bare loop's, {trainer:5.2f} times the trainer's")
    print("caviar's is to be at most 2.5 times a bare loop's, where it stops 1.5 times")


if __name__ == "__main__":
    main()
