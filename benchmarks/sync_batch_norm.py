"""A training step of synchronized batch norm beside torch's, over two ranks.

    python benchmarks/sync_batch_norm.py

Forward and backward of one layer: torch's plain batch norm, which says nothing to the other rank,
and `SyncBatchNorm` as it is and with `precise`. With two CUDA devices the ranks are on them under
nccl and torch's own `SyncBatchNorm` runs beside; else on the CPU under gloo, one thread each. The
layers take turns; the median of the steps counts.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import models

RANKS = 2
SHAPES = [(64, 128), (256, 512), (64, 32, 28, 28), (64, 128, 8, 8)]


def main() -> None:
    """Print milliseconds a step and ratios to plain batch norm."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=100)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(run, (f"file://{folder}/store", options.steps), nprocs=RANKS)


def run(rank: int, store: str, steps: int) -> None:
    """One rank; the first prints."""
    torch.set_num_threads(1)
    cuda = torch.cuda.device_count() >= RANKS
    device = torch.device("cuda", rank) if cuda else torch.device("cpu")
    backend = "nccl" if cuda else "gloo"
    dist.init_process_group(backend, init_method=store, rank=rank, world_size=RANKS)
    if rank == 0:
        print(f"{backend}, {RANKS} ranks, {torch.get_num_threads()} thread each")
    for shape in SHAPES:
        times = measure(shape, device, steps)
        if rank == 0:
            print(line(shape, times))
    dist.destroy_process_group()


def layers(features: int, device: torch.device) -> dict[str, nn.Module]:
    """What is compared, by name; the first is what the others are divided by."""
    built = {
        "plain": nn.BatchNorm2d(features),
        "sync": models.SyncBatchNorm(features),
        "sync precise": models.SyncBatchNorm(features, precise=True),
    }
    if device.type == "cuda":
        built["torch sync"] = nn.SyncBatchNorm(features)
    return {name: layer.to(device) for name, layer in built.items()}


def measure(shape: tuple[int, ...], device: torch.device, steps: int) -> dict[str, float]:
    """Median seconds a step of each layer."""
    x = torch.randn(shape, device=device, requires_grad=True)
    times: dict[str, list[float]] = {}
    compared = layers(shape[1], device)
    if x.dim() == 2:
        compared["plain"] = nn.BatchNorm1d(shape[1], device=device)
    for step in range(steps + 5):
        for name, layer in compared.items():
            elapsed = seconds(layer, x)
            if step >= 5:  # the first ones warm up
                times.setdefault(name, []).append(elapsed)
    return {name: statistics.median(values) for name, values in times.items()}


def seconds(layer: nn.Module, x: Tensor) -> float:
    """One step, begun by both ranks together."""
    dist.barrier()
    begin = time.perf_counter()
    layer(x).backward(x.detach())
    if x.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def line(shape: tuple[int, ...], times: dict[str, float]) -> str:
    """A row of the table."""
    plain = times["plain"]
    cells = [f"{name} {t * 1e3:7.3f} ms ({t / plain:5.2f})" for name, t in times.items()]
    return f"{'x'.join(map(str, shape)):14}" + "   ".join(cells)


if __name__ == "__main__":
    main()
