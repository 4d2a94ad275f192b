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

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import torch.distributed as dist
from torch import nn

import models
from models import Digits, Trainer
from models.training.distributed import Ranks


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
    with pytest.raises(ValueError, match=r"batch_size is 1; it is shared by \d workers, so"):
        train(PARTS, {"batch_size": 1})
    with pytest.raises(ValueError, match=r"gradient_penalty is 0.1 and the network has batch"):
        train(PARTS, {"gradient_penalty": 0.1})


class AllParts:
    """A stream in one process, whose batches are those of all ranks, one part after the other."""

    def __init__(self, stream, world):
        self.stream = stream
        self.streams = [stream.part(rank, world) for rank in range(world)]
        self.n_rows = sum(part.n_rows for part in self.streams)

    def to(self, device):
        return self

    def parts(self):
        return self.stream.parts()

    def batches(self, sizes, *, seed, start=0):
        own = [size // len(self.streams) for size in sizes]
        each = [stream.batches(own, seed=seed, start=start) for stream in self.streams]
        for batch in zip(*each, strict=True):
            xs, ys = zip(*batch, strict=True)
            yield torch.cat(xs), torch.cat(ys)


def stream_of(folder):
    """Digits as a Parquet file; 600 training rows, whatever the split."""
    rows = DIGITS.dataset.train
    file = folder / str(dist.get_rank()) / "digits.parquet"  # the split depends on its name
    file.parent.mkdir()
    columns = {f"pixel{i}": column for i, column in enumerate(rows.x.flatten(1).T.numpy())}
    pq.write_table(pa.table({**columns, "digit": rows.y.numpy()}), file, row_group_size=100)
    data = models.Parquet(path=str(file), target="digit", test=0.0, buffer_rows=100)
    return data.load()


def ranks_read_their_own_parts_of_a_stream(folder):
    dataset = stream_of(folder)
    world = dist.get_world_size()
    changes = {"model": partial(models.MLP, width=16, dropout=0.3)}
    options = {"batch_size": 16 * world, "class_weights": "balanced", "epochs": 2}
    joined = Memory(replace(dataset, train=AllParts(dataset.train, world)))
    current, Ranks.current = Ranks.current, classmethod(lambda cls: None)
    try:
        alone = train({**PARTS, **changes, "data": joined}, options)
    finally:
        Ranks.current = current
    same_as_alone(alone, {**PARTS, **changes, "data": Memory(dataset)}, options)


OTHERS = [
    ranks_read_their_own_parts_of_a_stream,
    a_run_goes_on_bit_for_bit,
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
