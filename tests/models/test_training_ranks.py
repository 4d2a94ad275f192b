"""Training over real gloo processes is training in one process on the joined batches."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "ranks" / "training.py"
CASES = [
    "batch_norm",
    "dropout",
    "a_network_and_dropout_of_torchs_own",
    "without_batch_norm",
    "unequal_parts",
    "fewer_rows_than_ranks_in_the_last_batch",
    "images",
    "class_weights_and_label_smoothing",
    "clipping",
    "moving_average",
    "adamw_in_double_precision",
    "gradient_penalty",
    "accumulation",
    "a_run_goes_on_bit_for_bit",
    "a_stream_is_read_once_by_all_ranks_together",
    "a_stream_goes_with_class_weights_averages_and_dropout",
    "all_ranks_end_alike",
    "a_divergence_ends_all_ranks",
    "wrong_choices_are_refused",
]


def run_ranks(world, folder):
    """The traceback of each case, None where it passed, of each rank."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    commands = [
        [sys.executable, str(SCRIPT), str(rank), str(world), str(folder), *CASES]
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
    return run_ranks(2, tmp_path_factory.mktemp("two"))


@pytest.fixture(scope="module")
def four_ranks(tmp_path_factory):
    return run_ranks(4, tmp_path_factory.mktemp("four"))


def check(ranks, case):
    failures = [f"rank {n}:\n{rank[case]}" for n, rank in enumerate(ranks) if rank[case]]
    assert not failures, "\n".join(failures)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_two_ranks(two_ranks, case):
    check(two_ranks, case)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_four_ranks(four_ranks, case):
    check(four_ranks, case)
