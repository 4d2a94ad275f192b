"""What a sweep costs: 200 no-op trials, 2 at once, beside raw Ray Tune with reused actors.

    python benchmarks/noop_trials.py [--trials 200] [--repeats 3]

Each run is a process of its own, turn by turn; what is timed is the sweep without Ray's start:
for raw Ray Tune `Tuner.fit()`, for caviar from the journal's first record to the tables written.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

APP = """
    import hydra

    @hydra.main(version_base=None, config_path=None)
    def main(cfg):
        return cfg.x

    main()
"""

RAW = """
    import json, logging, sys, time
    import ray
    from ray import tune

    def trial(config):
        return {"objective": config["x"]}

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    began = time.perf_counter()
    tune.Tuner(
        trial,
        param_space={"x": tune.uniform(0, 1)},
        tune_config=tune.TuneConfig(
            num_samples=int(sys.argv[1]), max_concurrent_trials=2, reuse_actors=True,
            metric="objective", mode="min",
        ),
        run_config=tune.RunConfig(storage_path=sys.argv[2], verbose=0),
    ).fit()
    print(json.dumps({"seconds": time.perf_counter() - began}))
"""


def time_raw(folder: Path, trials: int) -> float:
    """Seconds of raw Ray Tune."""
    script = folder / "raw.py"
    script.write_text(textwrap.dedent(RAW))
    done = run([str(script), str(trials), str(folder / "raw")])
    return float(json.loads(done.splitlines()[-1])["seconds"])


def time_caviar(folder: Path, trials: int) -> float:
    """Seconds of caviar, from the first record of the journal to the last table."""
    sweep = sweep_noop(folder, trials)
    began = json.loads((sweep / "journal.log").open().readline())["time"]
    return (sweep / "metrics.parquet").stat().st_mtime - float(began)


def sweep_noop(folder: Path, trials: int) -> Path:
    """Run a sweep of no-op trials; its folder."""
    script = folder / "app.py"
    script.write_text(textwrap.dedent(APP))
    options = {
        "hydra/sweeper": "ray_tune",
        "hydra/sweeper/searcher": "random",
        "+x": "interval(0,1)",
        "hydra.sweeper.num_samples": trials,
        "hydra.sweeper.max_concurrent_trials": 2,
        "hydra.sweeper.storage_path": folder,
        "hydra.sweeper.name": "noop",
        "hydra.sweeper.export": "false",
    }
    run([str(script), "-m", *(f"{key}={value}" for key, value in options.items())])
    return folder / "noop"


def run(arguments: list[str]) -> str:
    """Run a Python script; its standard output."""
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{arguments[0]} failed:\n{done.stderr}")
    return done.stdout


def main() -> None:
    """Print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    raw, ours = [], []
    for _ in range(given.repeats):
        for times, measure in ((raw, time_raw), (ours, time_caviar)):
            with tempfile.TemporaryDirectory() as folder:
                times.append(measure(Path(folder), given.trials))
    each_raw, each_ours = (statistics.median(t) / given.trials * 1000 for t in (raw, ours))
    print(f"{given.trials} no-op trials, 2 at once, median of {given.repeats}")
    print(f"  raw Ray Tune, actors reused  {each_raw:6.1f} ms a trial")
    print(f"  caviar, journal and tables   {each_ours:6.1f} ms a trial")
    print(f"  ratio                        {each_ours / each_raw:6.2f}  (at most 1.15)")


if __name__ == "__main__":
    main()
