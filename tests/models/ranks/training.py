"""One rank of tests that train over several: `python training.py RANK WORLD FOLDER CASE...`.

Each case trains in this process alone first, then together with the others.
"""

import json
import math
import sys
import traceback
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import torch.distributed as dist
from torch import nn

import models
from models import Digits, Trainer


class ForeignNet(nn.Module):
    """A user's network, with torch's own dropout."""

    def __init__(self, in_shape, n_out):
        super().__init__()
        first = nn.Linear(math.prod(in_shape), 16)
        rest = [nn.BatchNorm1d(16), nn.Dropout(0.3), nn.Linear(16, n_out)]
        self.layers = nn.Sequential(nn.Flatten(), first, *rest)

    def forward(self, x):
        return self.layers(x)


class Memory:
    """A data set that is handed over."""

    def __init__(self, dataset):
        self.dataset = dataset

    def load(self):
        return self.dataset


def first_rows(dataset, count):
    train = models.Split(x=dataset.train.x[:count], y=dataset.train.y[:count])
    return Memory(replace(dataset, train=train))


def in_double(dataset):
    splits = {name: dataset.split(name) for name in ("train", "validation")}
    doubled = {name: models.Split(x=split.x.double(), y=split.y) for name, split in splits.items()}
    return Memory(replace(dataset, **doubled))


DIGITS = first_rows(Digits().load(), 600)
PARTS = {
    "seed": 0,
    "model": partial(models.MLP, width=16, dropout=0.0),
    "data": DIGITS,
    "optimizer": partial(models.SGD, lr=0.1, momentum=0.9, nesterov=True),
    "lr_schedule": models.Cosine,
}
CASES = {
    "batch_norm": ({}, {}),
    "dropout": ({"model": partial(models.MLP, width=16, dropout=0.3)}, {}),
    "a_network_and_dropout_of_torchs_own": ({"model": ForeignNet}, {}),
    "without_batch_norm": ({"model": partial(models.MLP, width=16, norm="none")}, {}),
    "unequal_parts": ({}, {"batch_size": 63}),
    "fewer_rows_than_ranks_in_the_last_batch": (  # the statistics of two rows magnify rounding
        {"data": "cut", "model": "double"},
        {"batch_size": 64},
    ),
    "images": ({"model": partial(models.ConvNet, width=4, depth=2, dropout=0.2)}, {}),
    "class_weights_and_label_smoothing": (
        {},
        {"batch_size": 63, "class_weights": "balanced", "label_smoothing": 0.1},
    ),
    "clipping": ({}, {"clip_norm": 0.5}),
    "moving_average": ({"averaging": partial(models.EMA, decay=0.98)}, {"batch_size": 63}),
    "adamw_in_double_precision": (  # in single, Adam makes a step of rounding a gradient of 0
        {"model": "double", "optimizer": partial(models.AdamW, lr=0.01)},
        {},
    ),
    "gradient_penalty": (
        {"model": partial(models.MLP, width=16, norm="none")},
        {"gradient_penalty": 0.01},
    ),
}


def trainer(**options):
    return Trainer(**{"epochs": 3, "device": "cpu", **options})


def train(parts, options, **how):
    seen = []
    fit = trainer(**options).fit(
        parts, on_epoch=lambda epoch, metrics, save: seen.append(metrics), **how
    )
    return fit, seen


def close(ours, theirs):
    for name, tensor in theirs.net.state_dict().items():
        if tensor.is_floating_point():
            torch.testing.assert_close(ours.net.state_dict()[name], tensor, rtol=1e-5, atol=1e-5)


def same_as_alone(alone, parts, options):
    together, seen = train(parts, options)
    close(together, alone[0])
    for ours, theirs in zip(seen, alone[1], strict=True):
        assert ours["val_accuracy"] == theirs["val_accuracy"]
        assert math.isclose(ours["train_loss"], theirs["train_loss"], rel_tol=1e-5)
        assert math.isclose(ours["val_loss"], theirs["val_loss"], rel_tol=1e-4)


def parts_of(case, world):
    changes, options = CASES[case]
    parts = {**PARTS, **changes}
    if parts["data"] == "cut":
        parts["data"] = first_rows(DIGITS.dataset, 64 * 4 + max(2, world - 1))
    if parts["model"] == "double":
        parts["data"] = in_double(parts["data"].dataset)
        parts["model"] = lambda *shape: models.MLP(*shape, width=16).double()
    return parts, options


def a_run_goes_on_bit_for_bit(folder):
    parts = {**PARTS, "model": partial(models.MLP, width=16, dropout=0.3)}
    unbroken, _ = train(parts, {"epochs": 4})
    taken = folder / f"checkpoint-{dist.get_rank()}"

    def save_second(epoch, metrics, save):
        if epoch == 2:
            save(taken)

    trainer(epochs=4).fit(parts, on_epoch=save_second)
    dist.barrier()
    resumed, _ = train(parts, {"epochs": 4}, resume=folder / "checkpoint-0")  # rank 0's, on all
    for name, tensor in unbroken.net.state_dict().items():
        assert torch.equal(resumed.net.state_dict()[name], tensor), name
    assert resumed.objective == unbroken.objective


def stream(folder):
    """A data set in Parquet, and a list of how many training rows this rank has read at a time."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2000, 4)), rng.integers(0, 2, 2000)
    x[:, 0] += 3 * y
    own = folder / str(dist.get_rank())
    own.mkdir(exist_ok=True)
    columns = {f"x{i}": x[:, i] for i in range(4)} | {"y": y}
    pq.write_table(pa.table(columns), own / "rows.parquet", row_group_size=300)
    dataset = models.Parquet(path=str(own), target="y", buffer_rows=256).load()
    read, encode = [], dataset.train.encode

    def counted(table):
        read.append(len(table))
        return encode(table)

    return Memory(replace(dataset, train=replace(dataset.train, encode=counted))), read


def a_stream_is_read_once_by_all_ranks_together(folder):
    data, read = stream(folder)
    fit, seen = train({**PARTS, "data": data}, {"epochs": 2, "batch_size": 63})
    told = [None] * dist.get_world_size()
    weights = [tensor.tolist() for tensor in fit.net.state_dict().values()]
    dist.all_gather_object(told, (sum(read), seen, weights))
    assert sum(rows for rows, _, _ in told) == 2 * data.load().train.n_rows
    assert all(one[1:] == told[0][1:] for one in told)
    assert fit.objective > 0.9


def a_stream_goes_with_class_weights_averages_and_dropout(folder):
    data, _ = stream(folder)
    parts = {
        **PARTS,
        "data": data,
        "model": partial(models.MLP, width=16, dropout=0.2),
        "averaging": partial(models.EMA, decay=0.9),
    }
    fit, seen = train(parts, {"epochs": 2, "batch_size": 63, "class_weights": "balanced"})
    told = [None] * dist.get_world_size()
    dist.all_gather_object(told, seen)
    assert all(one == told[0] for one in told)
    assert fit.objective > 0.9
    with pytest.raises(ValueError, match=r"micro_batch_size is 8; several workers that read a"):
        train(parts, {"micro_batch_size": 8})


def all_ranks_end_alike(folder):
    fit, seen = train(PARTS, {"epochs": 9, "patience": 1})
    told = [None] * dist.get_world_size()
    dist.all_gather_object(told, (fit.ended, fit.best_epoch, seen))
    assert all(one == told[0] for one in told)


def a_divergence_ends_all_ranks(folder):
    fit, seen = train({**PARTS, "optimizer": partial(models.SGD, lr=1e30)}, {})
    assert fit.ended == "diverged"
    assert len(seen) == 1


def wrong_choices_are_refused(folder):
    plain = {**PARTS, "model": partial(models.MLP, width=16, norm="none")}
    with pytest.raises(ValueError, match=r"batch_size is 1; it is shared by \d workers, so"):
        train(plain, {"batch_size": 1})
    ghosts = {**PARTS, "model": partial(models.MLP, width=8, norm="ghost_batch")}
    with pytest.raises(ValueError, match=r"model\.norm is ghost_batch.*set it to batch"):
        train(ghosts, {})
    with pytest.raises(ValueError, match=r"gradient_penalty is 0.1 and the network has batch"):
        train(PARTS, {"gradient_penalty": 0.1})


OTHERS = [
    a_run_goes_on_bit_for_bit,
    a_stream_is_read_once_by_all_ranks_together,
    a_stream_goes_with_class_weights_averages_and_dropout,
    all_ranks_end_alike,
    a_divergence_ends_all_ranks,
    wrong_choices_are_refused,
]


def run(rank, world, folder, names):
    torch.set_num_threads(1)
    alone = {name: train(*parts_of(name, world)) for name in names if name in CASES}
    alone["accumulation"] = train(PARTS, {"micro_batch_size": 16 * world})  # of all ranks
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/store",
        rank=rank,
        world_size=world,
        timeout=timedelta(seconds=60),
    )
    tests = {
        **{name: partial(same_as_alone, alone[name], *parts_of(name, world)) for name in CASES},
        "accumulation": partial(
            same_as_alone, alone["accumulation"], PARTS, {"micro_batch_size": 16}
        ),
        **{test.__name__: partial(test, folder) for test in OTHERS},
    }
    failures = {}
    for name in names:
        try:
            tests[name]()
            failures[name] = None
        except Exception:  # noqa: BLE001 - the parent shows it
            failures[name] = traceback.format_exc()
    (folder / f"{rank}.json").write_text(json.dumps(failures))
    dist.destroy_process_group()


if __name__ == "__main__":
    run(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:])
