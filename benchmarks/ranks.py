"""What a trial of two ranks costs: Ray Train's way beside ranks in the lane's placement group.

    python benchmarks/ranks.py [--trials 3] [--segments 20]

Ray Train's way is a `TorchTrainer` that a Tune function runs, with its defaults and with its
controller polling every 0.1 s; ours is a sweep with `resources={workers: 2}`. Each trial makes some
epochs of 0.1 s. The start is from the trial's beginning to its first step, the end from its last
step to the next trial's beginning: the first trial has a start of its own, in which processes begin
and torch is imported. Then what a stopped segment costs, under a scheduler that stops each trial at
its first report. Every run is a process of its own, with a Ray of two CPUs; Ray Train's
Tune function books a third.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

EPOCHS = 5
EPOCH_S = 0.1

# One line for each thing that rank 0 does: what, the trial, when.
NOTE = """
    import json, os, time

    def note(what, trial):
        with open(os.environ["NOTES"], "a") as file:
            file.write(json.dumps([what, trial, time.time()]) + "\\n")
"""

OFFICIAL = """
    import logging, sys, tempfile
    import ray, torch
    import torch.distributed as dist
    from ray import train, tune
    from ray.train import ScalingConfig
    from ray.train.torch import TorchTrainer
    from ray.tune.integration.ray_train import TuneReportCallback

    def loop(config):
        for epoch in range(config["epochs"]):
            time.sleep(config["epoch_s"])
            dist.all_reduce(torch.ones(1))
            if dist.get_rank() == 0:
                note("step", config["trial"])
            train.report({"loss": 1.0 / (epoch + 1)})
        if dist.get_rank() == 0:
            note("end", config["trial"])

    def trial(config):
        note("begin", config["trial"])
        TorchTrainer(
            loop,
            train_loop_config=config,
            scaling_config=ScalingConfig(num_workers=2, resources_per_worker={"CPU": 1}),
            run_config=train.RunConfig(
                name=f"t{config['trial']}",
                storage_path=config["storage"],
                callbacks=[TuneReportCallback()],
            ),
        ).fit()

    trials, epochs, epoch_s = int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    results = tune.Tuner(
        tune.with_resources(trial, {"cpu": 1}),
        param_space={"trial": tune.grid_search(list(range(trials))), "epochs": epochs,
                     "epoch_s": epoch_s, "storage": os.path.join(sys.argv[1], "train")},
        tune_config=tune.TuneConfig(max_concurrent_trials=1, reuse_actors=True),
        run_config=tune.RunConfig(storage_path=sys.argv[1], verbose=0),
    ).fit()
    assert not results.errors, results.errors
    note("over", -1)
"""

OURS = """
    import hydra
    import torch
    import torch.distributed as dist
    from hydra.core.hydra_config import HydraConfig

    import sweeps

    @hydra.main(version_base=None, config_path=None)
    def main(cfg):
        first, trial = dist.get_rank() == 0, HydraConfig.get().job.num
        if first:
            note("begin", trial)
        try:
            for epoch in range(cfg.epochs):
                time.sleep(cfg.epoch_s)
                dist.all_reduce(torch.ones(1))
                if first:
                    note("step", trial)
                sweeps.report({"loss": 1.0 / (epoch + 1)}, step=epoch + 1)
        finally:
            if first:
                note("end", trial)

    if __name__ == "__main__":
        main()
        note("over", -1)
"""


def run(
    source: str, folder: Path, *arguments: str, **environment: str
) -> tuple[float, list[list[Any]]]:
    """Run a script; when it began, and what it noted."""
    script, notes = folder / "app.py", folder / "notes.jsonl"
    script.write_text(textwrap.dedent(NOTE) + textwrap.dedent(source))
    began = time.time()
    done = subprocess.run(
        [sys.executable, str(script), *arguments],
        env={**os.environ, "NOTES": str(notes), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"failed:\n{done.stdout}\n{done.stderr}")
    return began, [json.loads(line) for line in notes.read_text().splitlines()]


def official(trials: int, **environment: str) -> dict[str, float]:
    """Ray Train's way."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = [folder, str(trials), str(EPOCHS), str(EPOCH_S)]
        return measured(*run(OFFICIAL, Path(folder), *arguments, **environment))


def ours(trials: int) -> dict[str, float]:
    """A sweep of caviar's."""
    with tempfile.TemporaryDirectory() as folder:
        return measured(*run(OURS, Path(folder), *sweep_of(folder, trials)))


def stopped(segments: int, workers: int) -> float:
    """Milliseconds a trial takes, begun and stopped at its first report."""
    with tempfile.TemporaryDirectory() as folder:
        options = ["hydra/sweeper/scheduler=asha_stop", "hydra.sweeper.scheduler.max_t=9"]
        app = OURS.replace("1.0 / (epoch + 1)", "cfg.x")  # each is worse than the one before
        _, notes = run(
            app if workers > 1 else alone(app),
            Path(folder),
            *sweep_of(folder, segments, workers=workers),
            *options,
            "epochs=9",
            "epoch_s=0",
        )
    begins = [moment for what, _, moment in notes if what == "begin"]
    return statistics.median(late - early for early, late in pairwise(begins[3:])) * 1000


def alone(app: str) -> str:
    """The app in one process, which has nothing to reduce."""
    return app.replace("dist.get_rank() == 0", "True").replace("dist.all_reduce", "len")


def sweep_of(folder: str, trials: int, *, workers: int = 2) -> list[str]:
    """The command line of a sweep, one trial at once."""
    return [
        "-m",
        "hydra/sweeper=ray_tune",
        "hydra/sweeper/searcher=grid",
        f"+x=range({trials})",
        f"+epochs={EPOCHS}",
        f"+epoch_s={EPOCH_S}",
        f"hydra.sweeper.resources={{workers: {workers}}}",
        "hydra.sweeper.max_concurrent_trials=1",
        "hydra.sweeper.metric=loss",
        "hydra.sweeper.mode=min",
        f"hydra.sweeper.storage_path={folder}",
        "hydra.sweeper.name=s",
        "hydra.sweeper.export=false",
    ]


def measured(began: float, notes: list[list[Any]]) -> dict[str, float]:
    """Seconds of what trials do, from what they noted."""
    when: dict[tuple[str, int], list[float]] = {}
    for what, trial, moment in notes:
        when.setdefault((what, trial), []).append(moment)
    trials = sorted({trial for _, trial in when if trial >= 0}, key=lambda t: when["begin", t])
    begins = [when["begin", trial][0] for trial in trials] + [when["over", -1][0]]
    starts = [when["step", trial][0] - when["begin", trial][0] - EPOCH_S for trial in trials]
    steps = [
        late - early - EPOCH_S for trial in trials for early, late in pairwise(when["step", trial])
    ]
    ends = [begins[i + 1] - when["end", trial][-1] for i, trial in enumerate(trials[:-1])]
    return {
        "to the first trial": begins[0] - began,
        "start of the first": starts[0],
        "start of another": statistics.median(starts[1:]),
        "a report": statistics.median(steps),
        "end": statistics.median(ends),
        "in all": begins[-1] - began,
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=3)
    parser.add_argument("--segments", type=int, default=20)
    given = parser.parse_args()
    fast = {"RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.1"}
    ways = {
        "TorchTrainer in a Tune function": official(given.trials),
        "the same, polling every 0.1 s": official(given.trials, **fast),
        "ranks in the placement group": ours(given.trials),
    }
    columns = list(next(iter(ways.values())))
    print(f"{given.trials} trials of 2 ranks, {EPOCHS} epochs of {EPOCH_S} s, one at once; seconds")
    print(f"  {'':32}" + "".join(f"{column:>20}" for column in columns))
    for way, seconds in ways.items():
        print(f"  {way:32}" + "".join(f"{seconds[column]:20.2f}" for column in columns))
    print(f"{given.segments} trials, each stopped at its first report; ms a trial")
    for workers in (1, 2):
        print(
            f"  {workers} rank{'s' if workers > 1 else ' '} {stopped(given.segments, workers):8.1f}"
        )


if __name__ == "__main__":
    main()
