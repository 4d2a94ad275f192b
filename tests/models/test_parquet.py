"""Streams from Parquet: the same task as a table in memory, in bounded memory, from any step on."""

from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import models
from models import Parquet, Trainer
from models.data import clear_cache
from models.training.batches import batch_sizes

WORK = ("state", "private", "self")


@pytest.fixture(autouse=True)
def _fresh_cache():
    clear_cache()
    yield
    clear_cache()


def people(n, *, start=0):
    """Sorted by class, as files often are; `row` tells the rows apart."""
    rng = np.random.default_rng(start)
    income = np.arange(n) >= n // 2
    return pa.table(
        {
            "row": np.arange(start, start + n),
            "age": pa.array(np.where(rng.random(n) < 0.1, np.nan, 30 + 20 * income)),
            "work": pa.array([WORK[i] for i in rng.integers(0, 3, n)]),
            "hours": rng.normal(40, 5, n) + 5 * income,
            "income": pa.array(np.where(income, ">50K", "<=50K")),
        }
    )


@pytest.fixture
def folder(tmp_path):
    """Two files of 1,000 rows in row groups of 90."""
    for i in range(2):
        file = tmp_path / "people" / f"{i}.parquet"
        file.parent.mkdir(exist_ok=True)
        pq.write_table(people(1000, start=1000 * i), file, row_group_size=90)
    return str(tmp_path / "people")


def parquet(path, **options):
    return Parquet(**{"path": path, "target": "income", "buffer_rows": 128, **options})


def rows_of(path, split="train", **options):
    """The split with its rows' numbers as they are."""
    data = parquet(path, drop=["age", "work", "hours"], scaling="none", **options).load()
    return data.split(split)


def numbers(pairs):
    return [x.flatten().long() for x, _ in pairs]


def epoch(split, *, seed=0, batch_size=32, start=0):
    return numbers(split.batches(batch_sizes(split.n_rows, batch_size), seed=seed, start=start))


# Splits


def test_splits_hold_every_row_once(folder):
    parts = [numbers(rows_of(folder, split).parts()) for split in ("train", "validation", "test")]
    assert torch.cat([torch.cat(p) for p in parts]).sort().values.tolist() == list(range(2000))


def test_splits_are_of_about_the_size_that_was_asked_for(folder):
    n_validation = rows_of(folder, "validation", validation=0.2, test=0.05).n_rows
    n_test = rows_of(folder, "test", validation=0.2, test=0.05).n_rows
    assert n_validation == pytest.approx(400, abs=4 * 18)  # 4 deviations of the binomial
    assert n_test == pytest.approx(100, abs=4 * 10)


def test_another_seed_gives_another_split(folder):
    one, two = (torch.cat(numbers(rows_of(folder, split_seed=s).parts())) for s in (0, 1))
    assert set(one.tolist()) != set(two.tolist())


def test_a_further_file_moves_no_row(folder, tmp_path):
    before = torch.cat(numbers(rows_of(folder).parts())).tolist()
    pq.write_table(people(500, start=2000), tmp_path / "people" / "a.parquet", row_group_size=70)
    after = torch.cat(numbers(rows_of(folder).parts())).tolist()
    assert [row for row in after if row < 2000] == before


def test_a_fraction_is_within_every_larger_one_and_leaves_the_other_splits(folder):
    whole, half, tenth = (
        set(torch.cat(numbers(rows_of(folder, fraction=f).parts())).tolist()) for f in (1, 0.5, 0.1)
    )
    assert tenth < half < whole
    assert len(half) == pytest.approx(0.5 * len(whole), rel=0.1)
    held = [numbers(rows_of(folder, "test", fraction=f).parts())[0] for f in (1, 0.1)]
    assert torch.equal(*held)


def test_splits_may_be_files_of_their_own(folder, tmp_path):
    for i, name in enumerate(("validation", "test")):
        pq.write_table(people(100, start=5000 + 100 * i), tmp_path / f"{name}.parquet")
    paths = {f"{name}_path": str(tmp_path / f"{name}.parquet") for name in ("validation", "test")}
    splits = [rows_of(folder, name, **paths) for name in ("train", "validation", "test")]
    assert [split.n_rows for split in splits] == [2000, 100, 100]
    assert torch.cat(numbers(splits[2].parts())).tolist() == list(range(5100, 5200))


# The same task as in memory


@pytest.mark.parametrize("categorical", ["onehot", "integer"])
@pytest.mark.parametrize("scaling", ["standardize", "min_max"])
def test_encodings_and_statistics_are_those_of_the_same_rows_in_memory(
    folder, tmp_path, categorical, scaling
):
    options = {"target": "income", "categorical": categorical, "scaling": scaling}
    data = parquet(folder, **options).load()
    train = torch.cat(numbers(rows_of(folder).parts()))
    table = pa.concat_tables([people(1000), people(1000, start=1000)]).take(train.numpy())
    in_memory = survey_in_memory(table, tmp_path / "train.parquet", options)
    ours, theirs = data.preprocessing, in_memory
    assert (ours.features, ours.classes, ours.shape) == (
        theirs.features, theirs.classes, theirs.shape,
    )  # fmt: skip
    for name in ("shift", "scale", "fill"):
        a, b = getattr(ours, name), getattr(theirs, name)
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12, msg=name)


def survey_in_memory(table, file, options):
    """A table's preprocessing whose training split is all rows of `table`."""
    from models.data.columns import encode_column, fit_column
    from models.data.dataset import RawRows, make_dataset
    from models.data.split import SplitRows

    inputs = table.drop_columns(["income"])
    columns = tuple(fit_column(c, inputs[c], options["categorical"]) for c in inputs.column_names)
    x = torch.cat([encode_column(c, inputs[c.name]) for c in columns], dim=1)
    raw = RawRows(x=x, y=torch.zeros(len(x)).long(), columns=columns, classes=("<=50K", ">50K"))
    every = torch.arange(len(x))
    return make_dataset(
        raw, SplitRows(every, every, every), scaling=options["scaling"]
    ).preprocessing


def test_rows_reach_the_network_as_in_memory(folder, tmp_path):
    data = parquet(folder).load()
    table = pa.concat_tables([people(1000), people(1000, start=1000)])
    x = data.preprocessing.transform(data.preprocessing.encode(table))
    rows = torch.cat(numbers(rows_of(folder).parts()))
    found = [torch.cat(p) for p in zip(*data.train.parts(), strict=True)]
    assert torch.equal(found[0], x[rows])
    assert torch.equal(found[1], (rows % 1000 >= 500).long())


# Epochs


@pytest.mark.parametrize("batch_size", [1, 32, 128, 1000])
def test_an_epoch_holds_every_training_row_once(folder, batch_size):
    split = rows_of(folder)
    batches = epoch(split, batch_size=batch_size)
    assert [len(b) for b in batches] == batch_sizes(split.n_rows, batch_size)
    in_order = torch.cat(numbers(split.parts()))
    assert torch.equal(torch.cat(batches).sort().values, in_order)


def test_an_epoch_is_a_function_of_its_seed(folder):
    split = rows_of(folder)
    first, again, other = (torch.cat(epoch(split, seed=s)) for s in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("row_group_size", [50, 2000])
def test_sorted_files_are_mixed(tmp_path, row_group_size):
    file = tmp_path / "a.parquet"
    pq.write_table(people(4000), file, row_group_size=row_group_size)
    data = parquet(str(file), buffer_rows=512).load()
    sizes = batch_sizes(data.train.n_rows, 64)
    of_class_1 = [int(y.sum()) for _, y in data.train.batches(sizes, seed=0)]
    spread = np.std(np.array(of_class_1[:-1]) / 64)
    assert spread < 0.25  # 0.0625 if it were all rows, 0.5 if it were none


@pytest.mark.parametrize("start", [0, 1, 3, 4, 5, 30, 49])
def test_the_rest_of_an_epoch_is_that_of_the_whole_one(folder, start):
    split = rows_of(folder)
    whole, rest = epoch(split), epoch(split, start=start)
    assert len(whole) == 50
    assert len(rest) == len(whole) - start
    assert all(map(torch.equal, whole[start:], rest))


def test_what_lies_before_the_first_step_is_not_read(folder, monkeypatch):
    split, read = rows_of(folder), []
    encode = split.encode
    object.__setattr__(split, "encode", lambda table: (read.append(len(table)), encode(table))[1])
    epoch(split, start=40)
    assert sum(read) == split.n_rows - 40 * 32


# Ranks


@pytest.mark.parametrize("ranks", [2, 3, 7])
def test_the_ranks_parts_of_a_step_are_together_its_batch(folder, ranks):
    split = rows_of(folder)
    parts = [epoch(split.part(rank, ranks), seed=3) for rank in range(ranks)]
    assert len({len(part) for part in parts}) == 1
    whole = [sum(len(part[step]) for part in parts) for step in range(len(parts[0]))]
    assert whole == batch_sizes(split.n_rows, 32)
    sizes = [[len(part[step]) for part in parts] for step in range(len(parts[0]))]
    assert all(max(of_step) - min(of_step) <= 1 for of_step in sizes)


@pytest.mark.parametrize("ranks", [2, 3, 7])
def test_ranks_read_disjoint_parts_that_are_every_row_once(folder, ranks):
    split = rows_of(folder)
    for rows in (
        [torch.cat(epoch(split.part(rank, ranks), seed=3)) for rank in range(ranks)],
        [torch.cat(numbers(split.part(rank, ranks).parts())) for rank in range(ranks)],
    ):
        assert torch.equal(torch.cat(rows).sort().values, torch.cat(numbers(split.parts())))


def test_a_rank_goes_on_at_any_step(folder):
    part = rows_of(folder).part(1, 3)
    assert all(map(torch.equal, epoch(part)[17:], epoch(part, start=17)))


# Memory


def most_held(file, row_groups):
    """Rows behind a batch, and bytes in Arrow's memory, at most during an epoch."""
    with pq.ParquetWriter(file, people(1).schema) as writer:
        for i in range(row_groups):
            writer.write_table(people(5000, start=5000 * i))
    before = pa.total_allocated_bytes()
    data = parquet(str(file), buffer_rows=1024).load()
    rows, arrow = set(), set()
    for x, _ in data.train.batches(batch_sizes(data.train.n_rows, 100), seed=0):
        rows.add(x.untyped_storage().nbytes() // x[:1].nbytes)
        arrow.add(pa.total_allocated_bytes() - before)
    return max(rows), max(arrow)


def test_memory_does_not_grow_with_the_files(tmp_path):
    rows, small = most_held(tmp_path / "a.parquet", 8)
    rows_of_large, large = most_held(tmp_path / "b.parquet", 32)
    assert rows <= 1024
    assert rows_of_large <= 1024
    assert large < 1.2 * small
    assert large < 0.5 * pq.read_table(tmp_path / "b.parquet").nbytes


# Training


def parts_of(data):
    return {
        "seed": 0,
        "model": partial(models.MLP, width=16, dropout=0.2),
        "data": data,
        "optimizer": partial(models.SGD, lr=0.1, momentum=0.9),
        "lr_schedule": models.Cosine,
    }


def train(data, *, resume=None, stop=None):
    seen = []
    trainer = Trainer(epochs=3, batch_size=64, device="cpu")
    fit = trainer.fit(
        parts_of(data), resume=resume, stop=stop, on_epoch=lambda e, m, save: seen.append(m)
    )
    return trainer, fit, seen


def test_a_stream_trains_to_what_the_same_rows_do_in_memory(folder):
    trainer, fit, _ = train(parquet(folder))
    assert fit.objective > 0.95
    assert trainer.evaluate(fit.net, "test")["accuracy"] > 0.95


@pytest.mark.parametrize("steps", [7, 25, 40, 51])
def test_a_run_cut_at_any_step_equals_the_unbroken_one(folder, tmp_path, steps):
    data, count = parquet(folder), iter(range(1, 1000))
    _, unbroken, seen = train(data)
    _, cut, before = train(data, stop=lambda: next(count) >= steps)
    assert cut.ended == "interrupted"
    cut.save(tmp_path / "c")
    clear_cache()
    _, resumed, rest = train(data, resume=tmp_path / "c")
    assert before + rest == seen
    states = (net.state_dict().values() for net in (unbroken.net, resumed.net))
    assert all(map(torch.equal, *states))


def test_an_exported_network_predicts_raw_tables_without_the_files(folder, tmp_path):
    trainer, fit, _ = train(parquet(folder))
    fit.save(tmp_path / "c")
    data = parquet(str(tmp_path / "nowhere"))
    fresh = Trainer(device="cpu")
    best = fresh.load(tmp_path / "c", parts_of(data))
    table = people(50, start=9000)
    assert torch.equal(fresh.predict(best.net, table), trainer.predict(fit.net, table))


def test_streams_go_with_averages_and_class_weights(folder):
    data = parquet(folder)
    trainer = Trainer(epochs=2, batch_size=64, device="cpu", class_weights="balanced")
    averaging = partial(models.EMA, decay=0.9)
    fit = trainer.fit({**parts_of(data), "averaging": averaging})
    assert fit.objective > 0.9


# Messages


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "incme"}, r"data\.target is 'incme'; did you mean 'income'"),
        ({"drop": ["agge"]}, r"data\.drop is 'agge'; did you mean 'age'"),
        ({"target": "hours"}, "which holds real numbers"),
        ({"fraction": 0}, r"data\.fraction is 0; it must be more than 0"),
        ({"validation": 0.6, "test": 0.4}, r"data\.validation and data\.test are 1\.0 together"),
        ({"validation": 0.0}, r"data\.validation leaves no row"),
        ({"validation": 1.5}, r"data\.validation is 1\.5; it must be at least 0"),
        ({"validation": 0.1, "validation_path": "v"}, "set one of them"),
        ({"buffer_rows": 0}, r"data\.buffer_rows is 0; it must be 1 or more"),
        ({"scaling": "minmax"}, r"data\.scaling is 'minmax'; did you mean 'min_max'"),
        ({"categorical": "one_hot"}, r"data\.categorical is 'one_hot'; did you mean 'onehot'"),
        ({"drop": ["row", "age", "work", "hours"]}, "no column beside the target"),
    ],
)
def test_a_wrong_option_names_its_key(folder, options, message):
    with pytest.raises(ValueError, match=message):
        parquet(folder, **options).load()


def test_a_missing_path_names_its_key(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"data\.path is .*folder without any \*\.parquet"):
        parquet(str(tmp_path)).load()


def test_the_same_file_cannot_be_in_two_splits(folder):
    with pytest.raises(ValueError, match=r"more than one of data\.path"):
        parquet(folder, test_path=f"{folder}/0.parquet").load()


def test_files_must_have_the_same_columns(folder, tmp_path):
    other = people(10).set_column(1, "age", pa.array(["old"] * 10))
    pq.write_table(other, tmp_path / "people" / "9.parquet")
    with pytest.raises(ValueError, match=r"column 'age' is double in .*0\.parquet, but string in"):
        parquet(folder).load()


def test_a_damaged_file_is_named(folder, tmp_path):
    (tmp_path / "people" / "9.parquet").write_bytes(b"PAR1 nonsense")
    with pytest.raises(ValueError, match=r"data\.path: cannot read .*9\.parquet"):
        parquet(folder).load()


def test_an_infinite_value_names_its_column(tmp_path):
    hours = np.zeros(1000)
    hours[::2] = np.inf
    table = people(1000).set_column(3, "hours", pa.array(hours))
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(ValueError, match="column 'hours' holds an infinite value"):
        parquet(str(tmp_path / "a.parquet")).load()


def test_a_class_that_training_does_not_know_is_named(folder, tmp_path):
    other = people(10).set_column(4, "income", pa.array(["much"] * 10))
    pq.write_table(other, tmp_path / "v.parquet")
    data = parquet(folder, validation_path=str(tmp_path / "v.parquet")).load()
    with pytest.raises(ValueError, match=r"data\.target is 'income', which holds 'much'"):
        next(data.validation.parts())


def test_too_many_categories_are_answered_with_what_to_do(tmp_path):
    table = people(3000).set_column(2, "work", pa.array([f"w{i}" for i in range(3000)]))
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=r"more than 1000: set data\.categorical=integer"):
        parquet(str(tmp_path / "a.parquet")).load()
    assert parquet(str(tmp_path / "a.parquet"), categorical="integer").load().shape == (4,)
