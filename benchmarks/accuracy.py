"""Test accuracy of the experiments on real data, over seeds; writes docs/results.md.

    python benchmarks/accuracy.py --data ../shared/data --out docs/results.md

Each run is what `caviar train experiment=NAME data.path=FILE seed=N` trains: its best epoch on the
validation split is evaluated on the test split. A run that is recorded already is not run again.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import hydra
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))


@dataclass(frozen=True)
class Experiment:
    """One of conf/experiment."""

    name: str
    file: str
    """Below the folder of the data."""
    what: str
    least: float
    """What it must reach."""


EXPERIMENTS = (
    Experiment("mnist_softmax", "mnist/mnist.npz", "MNIST, softmax regression", 0.92),
    Experiment("mnist_mlp", "mnist/mnist.npz", "MNIST, MLP with batch norm and dropout", 0.98),
    Experiment("mnist_convnet", "mnist/mnist.npz", "MNIST, ConvNet", 0.99),
    Experiment("letter_mlp", "tabular/letterrecognition.npz", "Letter, MLP", 0.95),
    Experiment("adult_mlp", "tabular/adult.data", "Adult, MLP", 0.84),
)


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training."""

    experiment: str
    seed: int
    accuracy: float
    epochs: int
    parameters: int
    threads: int
    wall_s: float
    cpu_s: float


def main() -> None:
    """Train what is not yet recorded, one after the other, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder with mnist/ and tabular/")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, help="else as many as the experiment says")
    parser.add_argument("--only", nargs="+", choices=[e.name for e in EXPERIMENTS])
    parser.add_argument("--runs", type=Path, default=ROOT / "outputs" / "accuracy.jsonl")
    parser.add_argument("--out", type=Path, help="where to write the table; else it is printed")
    options = parser.parse_args()
    if options.data is None:
        print("nothing to train on: say where the data lie with --data FOLDER")
        return
    options.runs.parent.mkdir(parents=True, exist_ok=True)
    known = read_runs(options.runs)
    for experiment in EXPERIMENTS:
        for seed in range(options.seeds):
            wanted = options.only is None or experiment.name in options.only
            if wanted and (experiment.name, seed) not in known:
                run = train(experiment, options.data, seed=seed, threads=options.threads)
                known[run.experiment, run.seed] = run
                with options.runs.open("a") as file:
                    print(json.dumps(asdict(run)), file=file)
    text = page(list(known.values()))
    print(text) if options.out is None else options.out.write_text(text, encoding="utf-8")


def read_runs(file: Path) -> dict[tuple[str, int], Run]:
    """The recorded runs, by experiment and seed."""
    lines = file.read_text().splitlines() if file.exists() else []
    runs = [Run(**json.loads(line)) for line in lines]
    return {(run.experiment, run.seed): run for run in runs}


def train(experiment: Experiment, data: Path, *, seed: int, threads: int | None) -> Run:
    """One run; prints its epochs."""
    file = (data / experiment.file).resolve()
    overrides = [f"experiment={experiment.name}", f"data.path='{file}'", f"seed={seed}"]
    if threads is not None:
        overrides.append(f"trainer.threads={threads}")
    with hydra.initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        parts = hydra.utils.instantiate(hydra.compose("train", overrides), _convert_="all")
    trainer = parts["trainer"]
    wall, cpu = time.perf_counter(), os.times().user

    def on_epoch(epoch: int, metrics: dict[str, float], save: object) -> None:
        values = "  ".join(f"{name} {value:.4f}" for name, value in metrics.items())
        seconds = time.perf_counter() - wall
        print(
            f"{experiment.name}  seed {seed}  epoch {epoch:2}  {values}  {seconds:.0f} s",
            flush=True,
        )

    fit = trainer.fit(parts, on_epoch=on_epoch)
    run = Run(
        experiment=experiment.name,
        seed=seed,
        accuracy=trainer.evaluate(fit.net, "test")["accuracy"],
        epochs=fit.epoch,
        parameters=sum(p.numel() for p in fit.net.parameters()),
        threads=trainer.threads or torch.get_num_threads(),
        wall_s=time.perf_counter() - wall,
        cpu_s=os.times().user - cpu,
    )
    print(run, flush=True)
    return run


def page(runs: list[Run]) -> str:
    """The table as a page."""
    rows = [
        row(e, found) for e in EXPERIMENTS if (found := [r for r in runs if r.experiment == e.name])
    ]
    seeds = sorted({run.seed for run in runs})
    threads = sorted({run.threads for run in runs})
    return f"""# Results on real data

Accuracy on the test split, of the best epoch on the validation split, for {len(seeds)} seeds of
weights, dropout and order; the split of the rows is the same. MNIST has its own 10,000 test images;
of Letter and Adult a stratified fifth of the rows is the test.

| experiment | what | by seed | mean | asked for | epochs | parameters | CPU s | wall s |
|---|---|---|---|---|---|---|---|---|
{chr(10).join(rows)}

Seconds are medians over the seeds, of a whole run, reading the data included, on
{" or ".join(map(str, threads))} of {os.cpu_count()} cores that had other work to do: alone, a run
takes little more than its CPU seconds. Python {platform.python_version()}, torch
{torch.__version__}.

`caviar train experiment=mnist_convnet data.path=mnist.npz seed=0` is one of these runs, and
`python benchmarks/accuracy.py --data FOLDER --out docs/results.md` makes this page.
"""


def row(experiment: Experiment, runs: list[Run]) -> str:
    """A line of the table."""
    accuracies = [run.accuracy for run in sorted(runs, key=lambda run: run.seed)]
    cells = [
        f"`{experiment.name}`",
        experiment.what,
        ", ".join(f"{a:.4f}" for a in accuracies),
        f"{statistics.mean(accuracies):.4f}",
        f"{experiment.least:g}",
        str(runs[0].epochs),
        f"{runs[0].parameters:,}",
        f"{statistics.median(run.cpu_s for run in runs):.0f}",
        f"{statistics.median(run.wall_s for run in runs):.0f}",
    ]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
