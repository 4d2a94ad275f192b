"""A module beside the app: what a trial finds around it."""

import json
import os
import time
from pathlib import Path

import hydra
import ray


def note(**about: object) -> None:
    """Add a line to the trial's notes."""
    with (_output() / "notes.jsonl").open("a") as lines:
        lines.write(json.dumps({"time": time.time(), **about}) + "\n")


def wait_for(trials: int) -> None:
    """Wait until so many trials have begun."""
    deadline = time.monotonic() + 180
    while len(list(_output().parents[1].glob("*/*/notes.jsonl"))) < trials:
        assert time.monotonic() < deadline, "the others do not begin"
        time.sleep(0.05)


def _output() -> Path:
    return Path(hydra.core.hydra_config.HydraConfig.get().runtime.output_dir)


def surroundings() -> dict[str, object]:
    return {
        "node": ray.util.get_node_ip_address(),
        "cwd": os.getcwd(),
        "module": __file__,
        "words": hydra.utils.to_absolute_path("words.txt"),
        "devices": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "niceness": os.nice(0),
        "slurm": [name for name in os.environ if name.startswith("SLURM")],
    }
