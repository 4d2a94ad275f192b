"""Synchronized batch norm over real gloo processes is batch norm of one process on all rows."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "ranks" / "sync_batch_norm.py"
CASES = [
    "rows",
    "sequences",
    "images",
    "volumes",
    "single_precision",
    "unequal_batches",
    "an_empty_batch",
    "one_row_a_rank",
    "cumulative_average",
    "without_affine",
    "without_tracking",
    "without_a_shift",
    "half_precision",
    "an_empty_half_precision_batch",
    "converted_to_half_precision",
    "large_mean_and_small_spread",
    "tiny_spread",
    "means_that_differ_between_ranks",
    "one_value_over_all_ranks",
    "data_without_a_gradient",
    "evaluation_says_nothing_to_other_ranks",
    "groups_of_their_own",
    "data_parallel_training",
    "data_parallel_training_with_an_empty_batch",
    "data_parallel_training_with_gradient_accumulation",
    "precise_statistics_over_ranks",
    "precise_statistics_of_synchronized_norms",
]
COMPILED = ["compiled", "compiled_with_one_value_over_all_ranks"]


def run_ranks(world, folder, cases):
    """The traceback of each case, None where it passed, of each rank."""
    strict = [] if cases == COMPILED else ["-W", "error"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    commands = [
        [sys.executable, *strict, str(SCRIPT), str(rank), str(world), str(folder), *cases]
        for rank in range(world)
    ]
    processes = [
        subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for command in commands
    ]
    try:
        outputs = [process.communicate(timeout=300)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, output in zip(processes, outputs, strict=True):
        assert process.returncode == 0, output
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(world)]


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory):
    return run_ranks(2, tmp_path_factory.mktemp("two"), CASES)


@pytest.fixture(scope="module")
def four_ranks(tmp_path_factory):
    return run_ranks(4, tmp_path_factory.mktemp("four"), CASES)


@pytest.fixture(scope="module")
def compiled_ranks(tmp_path_factory):
    return run_ranks(2, tmp_path_factory.mktemp("compiled"), COMPILED)


def check(ranks, case):
    failures = [f"rank {n}:\n{rank[case]}" for n, rank in enumerate(ranks) if rank[case]]
    assert not failures, "\n".join(failures)


@pytest.mark.parametrize("case", CASES)
def test_two_ranks(two_ranks, case):
    check(two_ranks, case)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_four_ranks(four_ranks, case):
    check(four_ranks, case)


@pytest.mark.slow
@pytest.mark.parametrize("case", COMPILED)
def test_two_compiled_ranks(compiled_ranks, case):
    check(compiled_ranks, case)


@pytest.mark.gpu
def test_two_ranks_on_a_cuda_device(tmp_path):
    check(run_ranks(2, tmp_path, ["cuda"]), "cuda")
