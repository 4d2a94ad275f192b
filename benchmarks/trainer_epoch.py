"""An epoch of the trainer against a bare PyTorch loop of the same steps, turn by turn.

    python benchmarks/trainer_epoch.py
    python benchmarks/trainer_epoch.py --options

Both train the same MLP on the digits on one thread in one process, and both evaluate on the
validation split; the median of the epochs counts. A checkpoint of each epoch is timed beside them.
With `--options` the trainer with each of its options is compared to the trainer without.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import models

BATCH = 64
SGD = {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 1e-4}


PARTS: dict[str, object] = {
    "seed": 0,
    "model": lambda n_in, n_out: make_net(),
    "data": models.Digits(),
    "optimizer": partial(models.SGD, **SGD),
    "lr_schedule": models.Cosine,
}


def main() -> None:
    """Print milliseconds an epoch and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--fused", action="store_true", help="a fused optimizer for the bare loop")
    parser.add_argument("--options", action="store_true", help="what each option costs")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.options:
        compare_options()
        return
    net = make_net()
    optimizer = torch.optim.SGD(net.parameters(), **SGD, fused=options.fused or None)
    times = measure(options.epochs, bare_epoch(net, optimizer, batch_size=BATCH))
    medians = {name: statistics.median(values) * 1e3 for name, values in times.items()}
    for name, value in medians.items():
        print(f"{name:10} {value:7.2f} ms an epoch")
    print(f"ratio      {medians['trainer'] / medians['bare loop']:7.3f} trainer / bare loop")


def measure(epochs: int, bare: Callable[[], None]) -> dict[str, list[float]]:
    """Seconds of each epoch; the bare loop has its turn after each of the trainer's."""
    times: dict[str, list[float]] = {"trainer": [], "bare loop": [], "checkpoint": []}
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()

        def on_epoch(epoch: int, metrics: object, save: Callable[[Path], Path]) -> None:
            nonlocal start
            times["trainer"].append(time.perf_counter() - start)
            times["checkpoint"].append(timed(lambda: save(Path(folder) / str(epoch))))
            times["bare loop"].append(timed(bare))
            start = time.perf_counter()

        models.Trainer(epochs=epochs, batch_size=BATCH, device="cpu").fit(PARTS, on_epoch=on_epoch)
    return times


OPTIONS: dict[str, tuple[dict[str, object], dict[str, object]]] = {
    "plain": ({}, {}),
    "clip_norm": ({}, {"clip_norm": 1.0}),
    "micro_batch_size": ({}, {"micro_batch_size": 32}),
    "gradient_penalty": ({}, {"gradient_penalty": 0.01}),
    "class_weights": ({}, {"class_weights": "balanced"}),
    "statistics": ({}, {"statistics": True}),
    "bf16": ({}, {"precision": "bf16"}),
    "ema": ({"averaging": models.EMA}, {}),
    "swa": ({"averaging": partial(models.SWA, start_epoch=0)}, {}),
    "adamw": ({"optimizer": models.AdamW}, {}),
    "rmsprop": ({"optimizer": models.RMSProp}, {}),
    "adagrad": ({"optimizer": models.Adagrad}, {}),
}


def compare_options(rounds: int = 5, epochs: int = 15) -> None:
    """Print milliseconds an epoch with each option, and their ratio to none; turn by turn."""
    times: dict[str, list[float]] = {name: [] for name in OPTIONS}
    for _ in range(rounds):
        for name, (parts, options) in OPTIONS.items():
            times[name] += epoch_times(parts, options, epochs=epochs)
    plain = statistics.median(times["plain"])
    for name, values in times.items():
        value = statistics.median(values)
        print(f"{name:18} {value * 1e3:7.2f} ms an epoch  {value / plain:5.2f}")


def epoch_times(
    changes: dict[str, object], options: dict[str, object], *, epochs: int
) -> list[float]:
    """Seconds of each epoch of a run but the first."""
    ends: list[float] = []
    trainer = models.Trainer(epochs=epochs, batch_size=BATCH, device="cpu", **options)
    trainer.fit({**PARTS, **changes}, on_epoch=lambda *_: ends.append(time.perf_counter()))
    return [b - a for a, b in pairwise(ends)]


def timed(call: Callable[[], object]) -> float:
    """Seconds of a call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def make_net() -> torch.nn.Module:
    """The network of both."""
    return models.MLP(64, 10, depth=2, width=128, dropout=0.1)


def bare_epoch(
    net: torch.nn.Module, optimizer: torch.optim.Optimizer, *, batch_size: int
) -> Callable[[], None]:
    """An epoch on the digits as one writes it by hand."""
    data = models.Digits().load()
    (x, y), (x_val, y_val) = data.train, data.validation

    def epoch() -> None:
        net.train()
        for rows in torch.randperm(len(y)).split(batch_size):
            loss = F.cross_entropy(net(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        net.eval()
        with torch.no_grad():
            logits = net(x_val)
            F.cross_entropy(logits, y_val).item()
            (logits.argmax(1) == y_val).float().mean().item()

    return epoch


if __name__ == "__main__":
    main()
