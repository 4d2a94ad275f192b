"""Data sets: splits, standardisation, encodings, and messages that name the key."""

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
import torch

from models import Digits, Npz, Preprocessing, Table
from models.data import clear_cache, split_rows
from models.data.scaling import SCALINGS
from models.data.statistics import Statistics

SHARED = Path(
    os.environ.get(
        "CAVIAR_SHARED_DATA", Path(__file__).resolve().parents[2].parent / "shared" / "data"
    )
)


@pytest.fixture(autouse=True)
def _fresh_cache():
    clear_cache()
    yield
    clear_cache()


# Splits


def test_splits_hold_every_row_once_in_the_classes_proportions():
    y = torch.tensor([0] * 100 + [1] * 50 + [2] * 10)
    rows = split_rows(y, validation=0.2, test=0.1, seed=0)
    assert torch.cat(rows).sort().values.tolist() == list(range(160))
    assert y[rows.validation].bincount().tolist() == [20, 10, 2]
    assert y[rows.test].bincount().tolist() == [10, 5, 1]


def test_the_sizes_of_splits_are_exact_whatever_the_classes():
    y = torch.arange(1000) % 7
    rows = split_rows(y, validation=0.15, test=0.25, seed=0)
    assert [len(part) for part in rows] == [600, 150, 250]


def test_a_split_is_a_function_of_its_seed():
    y = torch.arange(100) % 2
    first, again, other = (split_rows(y, validation=0.2, test=0.2, seed=s) for s in (0, 0, 1))
    assert torch.equal(first.train, again.train)
    assert not torch.equal(first.train, other.train)


def test_a_fraction_of_the_training_rows_is_stratified_and_within_every_larger_one():
    y = torch.tensor([0] * 100 + [1] * 50)
    whole, half, tenth = (
        split_rows(y, validation=0.2, test=0.2, seed=0, fraction=f) for f in (1.0, 0.5, 0.1)
    )
    assert [y[rows.train].bincount().tolist() for rows in (whole, half, tenth)] == [
        [60, 30],
        [30, 15],
        [6, 3],
    ]
    assert set(tenth.train.tolist()) < set(half.train.tolist()) < set(whole.train.tolist())
    assert torch.equal(half.validation, whole.validation)
    assert torch.equal(half.test, whole.test)


@pytest.mark.parametrize("fraction", [0.0, 1.5, float("nan")])
def test_an_impossible_fraction_of_the_training_rows_is_refused(fraction):
    with pytest.raises(ValueError, match=r"data\.fraction is"):
        split_rows(torch.arange(20) % 2, validation=0.2, test=0.2, seed=0, fraction=fraction)


@pytest.mark.parametrize(("validation", "test"), [(0.0, 0.2), (0.6, 0.4), (0.2, -0.1)])
def test_impossible_fractions_are_refused(validation, test):
    with pytest.raises(ValueError, match=r"data\.validation is"):
        split_rows(torch.arange(20) % 2, validation=validation, test=test, seed=0)


def test_a_split_with_no_validation_row_is_refused():
    with pytest.raises(ValueError, match="0 for validation"):
        split_rows(torch.arange(4), validation=0.2, test=0.2, seed=0)


# Standardisation


def write_npz(path, x, y, **more):
    np.savez(path, x=x, y=y, **more)
    return str(path)


def test_standardisation_uses_the_training_split_alone(tmp_path):
    x = np.random.default_rng(0).normal(3, 5, (100, 2)).astype(np.float32)
    x[:, 1] = 7  # constant
    y = np.arange(100) % 2
    data = Npz(path=write_npz(tmp_path / "a.npz", x, y)).load()
    train = x[split_rows(torch.from_numpy(y), validation=0.2, test=0.2, seed=0).train]
    np.testing.assert_allclose(data.preprocessing.shift, train.astype(float).mean(0), rtol=1e-12)
    np.testing.assert_allclose(data.preprocessing.scale[0], train[:, 0].astype(float).std())
    torch.testing.assert_close(data.train.x.mean(0), torch.zeros(2), atol=1e-6, rtol=0)
    assert data.preprocessing.scale[1] == 1
    assert data.test.x.mean(0)[0].abs() > 1e-4


def test_changed_test_rows_change_nothing_else(tmp_path):
    x, y = np.random.default_rng(0).normal(size=(50, 3)), np.arange(50) % 2
    one = Npz(path=write_npz(tmp_path / "a.npz", x, y)).load()
    x[split_rows(torch.from_numpy(y), validation=0.2, test=0.2, seed=0).test] = 1e6
    two = Npz(path=write_npz(tmp_path / "b.npz", x, y)).load()
    assert torch.equal(one.train.x, two.train.x)
    assert torch.equal(one.validation.x, two.validation.x)


def test_large_offsets_keep_their_digits(tmp_path):
    x = 1.7e9 + np.arange(100.0).reshape(-1, 1)
    data = Npz(path=write_npz(tmp_path / "a.npz", x, np.arange(100) % 2)).load()
    assert len(data.train.x.unique()) == len(data.train.x)


def test_images_have_one_mean_and_deviation_a_channel():
    data = Digits().load()
    assert data.preprocessing.shift.shape == data.preprocessing.scale.shape == (1, 1, 1)
    assert data.train.x.std() == pytest.approx(1, abs=1e-3)


def test_no_scaling_leaves_the_rows():
    assert set(Digits(scaling="none").load().train.x.unique().tolist()) == set(range(17))


def test_an_unknown_scaling_is_named():
    with pytest.raises(ValueError, match=r"data\.scaling is 'minmax'; did you mean 'min_max'"):
        Digits(scaling="minmax")


SCALED = {
    "standardize": lambda x: (x - x.mean(0)) / x.std(0),
    "min_max": lambda x: (x - x.min(0)) / (x.max(0) - x.min(0)),
    "symmetric": lambda x: 2 * (x - x.min(0)) / (x.max(0) - x.min(0)) - 1,
    "none": lambda x: x,
}


@pytest.mark.parametrize("scaling", SCALINGS)
def test_each_scaling_is_its_formula_over_the_training_rows(tmp_path, scaling):
    x = np.random.default_rng(0).normal(3, 5, (100, 2))
    y = np.arange(100) % 2
    data = Npz(path=write_npz(tmp_path / "a.npz", x, y), scaling=scaling).load()
    train = x[split_rows(torch.from_numpy(y), validation=0.2, test=0.2, seed=0).train]
    np.testing.assert_allclose(data.train.x, SCALED[scaling](train), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("scaling", SCALINGS)
def test_a_missing_number_is_the_training_mean_and_a_constant_column_stays_finite(
    tmp_path, scaling
):
    x = np.random.default_rng(0).normal(3, 5, (40, 3))
    x[:, 1], x[::3, 0], x[:, 2] = 7, np.nan, np.nan
    data = Npz(path=write_npz(tmp_path / "a.npz", x, np.arange(40) % 2), scaling=scaling).load()
    p = data.preprocessing
    assert p.scale[1:].tolist() == [1, 1]
    assert p.shift.isfinite().all()
    filled = p.transform(torch.tensor([[np.nan, 7, 1.0], [p.fill[0], 7, 1.0]]).double())
    assert torch.equal(filled[0], filled[1])


@pytest.mark.parametrize("scaling", SCALINGS)
def test_images_are_scaled_by_channel(tmp_path, scaling):
    x = np.random.default_rng(0).integers(0, 255, (60, 3, 4, 5), dtype=np.uint8)
    x[:, 2] //= 10
    y = np.arange(60) % 2
    data = Npz(path=write_npz(tmp_path / "a.npz", x, y), scaling=scaling).load()
    train = x[split_rows(torch.from_numpy(y), validation=0.2, test=0.2, seed=0).train]
    by_channel = np.moveaxis(train, 1, -1).reshape(-1, 3).astype(float)
    expected = np.moveaxis(SCALED[scaling](by_channel).reshape(len(train), 4, 5, 3), -1, 1)
    np.testing.assert_allclose(data.train.x, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("sizes", [[1, 99], [50, 50], [7, 13, 80]])
def test_pooled_statistics_are_those_of_all_rows(sizes):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(100, 3, generator=generator).double() * 1e-2 + 1e4
    x[:60:2, 1] = torch.nan
    x[:, 2] = torch.nan
    whole, pooled = Statistics.of(x), Statistics.pooled(torch.split(x, sizes))
    assert torch.equal(pooled.count, torch.tensor([100, 70, 0]).double())
    for name in ("mean", "std", "low", "high"):
        a, b = getattr(pooled, name), getattr(whole, name)
        torch.testing.assert_close(a, b, rtol=1e-9, atol=0, msg=name)
    np.testing.assert_allclose(pooled.std[0], x[:, 0].numpy().std(), rtol=1e-9)


# Shapes


@pytest.mark.parametrize(
    ("x_shape", "layout", "shape"),
    [
        ((7,), "auto", (7,)),
        ((5, 6), "auto", (1, 5, 6)),
        ((5, 6), "hw", (1, 5, 6)),
        ((5, 6), "flat", (30,)),
        ((5, 6, 3), "auto", (3, 5, 6)),
        ((3, 5, 6), "auto", (3, 5, 6)),
        ((1, 5, 6), "auto", (1, 5, 6)),
        ((3, 5, 3), "chw", (3, 5, 3)),
        ((3, 5, 4), "hwc", (4, 3, 5)),
        ((5, 6, 3), "flat", (90,)),
    ],
)
def test_images_are_recognized_or_said(tmp_path, x_shape, layout, shape):
    x = np.random.default_rng(0).normal(size=(20, *x_shape)).astype(np.float32)
    path = write_npz(tmp_path / "a.npz", x, np.arange(20) % 2)
    data = Npz(path=path, layout=layout, scaling="none").load()
    assert data.shape == data.preprocessing.shape == tuple(data.test.x.shape[1:]) == shape
    assert data.train.x.is_contiguous()
    last = (x_shape[-1] == shape[0]) and layout in ("auto", "hwc") and len(x_shape) == 3
    first_row = x[split_rows(torch.arange(20) % 2, validation=0.2, test=0.2, seed=0).train[0]]
    expected = np.moveaxis(first_row, -1, 0) if last else first_row.reshape(shape)
    np.testing.assert_array_equal(data.train.x[0], expected)


@pytest.mark.parametrize("x_shape", [(3, 5, 3), (5, 6, 7), (1, 2, 3, 4)])
def test_images_that_cannot_be_recognized_name_the_option(tmp_path, x_shape):
    path = write_npz(tmp_path / "a.npz", np.zeros((20, *x_shape)), np.arange(20) % 2)
    with pytest.raises(ValueError, match=r"shape .*set data\.layout to hwc, chw or flat"):
        Npz(path=path).load()


def test_a_layout_of_other_axes_is_refused(tmp_path):
    path = write_npz(tmp_path / "a.npz", np.zeros((20, 5)), np.arange(20) % 2)
    with pytest.raises(ValueError, match=r"data\.layout is 'hwc', but x of .* shape \(20, 5\)"):
        Npz(path=path, layout="hwc").load()


def test_raw_images_may_be_flat_or_of_any_order_of_axes(tmp_path):
    x = np.random.default_rng(0).integers(0, 255, (20, 5, 6, 3), dtype=np.uint8)
    p = Npz(path=write_npz(tmp_path / "a.npz", x, np.arange(20) % 2)).load().preprocessing
    first = torch.from_numpy(np.moveaxis(x, -1, 1).copy())
    assert torch.equal(p.transform(x), p.transform(first))
    assert torch.equal(p.transform(first.flatten(1)), p.transform(first))
    grey = Digits().load().preprocessing
    assert grey.transform(torch.zeros(2, 8, 8)).shape == (2, 1, 8, 8)


def test_preprocessing_survives_json():
    before = Digits().load().preprocessing
    after = Preprocessing.from_json(before.to_json())
    assert after.equals(before)
    rows = np.random.default_rng(0).uniform(0, 16, (5, 64))
    assert torch.equal(after.transform(rows), before.transform(rows))


def test_preprocessing_of_before_images_had_a_shape_loads():
    old = {
        "columns": [{"name": "a", "encoding": "number", "categories": []}] * 2,
        "classes": ["x", "y"],
        "mean": [1.0, 2.0],
        "std": [2.0, 4.0],
    }
    loaded = Preprocessing.from_dict(old)
    assert loaded.shape == (2,)
    rows = torch.tensor([[3.0, 10.0], [torch.nan, 2.0]])
    assert loaded.transform(rows).tolist() == [[1, 2], [0, 0]]
    assert Preprocessing.from_json(loaded.to_json()).equals(loaded)


@pytest.mark.parametrize("older", ["feature", "global", "none"])
def test_older_configs_say_standardize(older):
    assert Digits(standardize=older).scaling == ("none" if older == "none" else "standardize")
    with pytest.raises(ValueError, match=r"data\.standardize is 'min_max'"):
        Digits(standardize="min_max")


def test_rows_of_another_width_are_refused():
    with pytest.raises(ValueError, match=r"shape \(2, 3\); expected \[n, 64\]"):
        Digits().load().preprocessing.transform(torch.zeros(2, 3))


def test_an_infinite_value_names_its_column():
    rows = torch.zeros(2, 64)
    rows[1, 9] = torch.inf
    with pytest.raises(ValueError, match="infinite value in 'pixel_1_1'"):
        Digits().load().preprocessing.transform(rows)


# Digits and the cache


def test_digits_are_those_of_scikit_learn():
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    data = Digits(scaling="none").load()
    ours = torch.cat([data.train.x, data.validation.x, data.test.x])
    assert (data.shape, len(data.preprocessing.classes)) == ((1, 8, 8), 10)
    np.testing.assert_array_equal(np.sort(ours.flatten(1).numpy(), axis=0), np.sort(x, axis=0))
    assert torch.cat([data.train.y, data.validation.y, data.test.y]).bincount().tolist() == (
        np.bincount(y).tolist()
    )


def test_the_same_options_are_read_once():
    assert Digits().load() is Digits().load()
    assert Digits(split_seed=1).load() is not Digits().load()


def test_a_changed_file_is_read_again(tmp_path):
    x, y = np.random.default_rng(0).normal(size=(20, 2)), np.arange(20) % 2
    data = Npz(path=write_npz(tmp_path / "a.npz", x, y))
    first = data.load()
    assert data.load() is first
    write_npz(tmp_path / "a.npz", np.concatenate([x, x]), np.concatenate([y, y]))
    assert len(data.load().train.y) == 2 * len(first.train.y)


# Npz


def test_a_test_set_of_its_own_is_kept(tmp_path):
    rng = np.random.default_rng(0)
    np.savez(
        tmp_path / "a.npz",
        x_train=rng.integers(0, 255, (40, 3, 3), dtype=np.uint8),
        y_train=np.arange(40) % 4,
        x_test=rng.integers(0, 255, (10, 3, 3), dtype=np.uint8),
        y_test=np.arange(10) % 4,
    )
    data = Npz(path=str(tmp_path / "a.npz"), validation=0.3).load()
    assert [len(s.y) for s in (data.train, data.validation, data.test)] == [28, 12, 10]
    assert data.test.y.tolist() == (np.arange(10) % 4).tolist()
    with pytest.raises(ValueError, match=r"data\.test is 0\.1.*test set of its own"):
        Npz(path=str(tmp_path / "a.npz"), test=0.1).load()


def test_labels_of_any_kind_become_classes(tmp_path):
    y = np.array(["no", "yes"] * 10)
    data = Npz(path=write_npz(tmp_path / "a.npz", np.arange(20.0).reshape(-1, 1), y)).load()
    assert data.preprocessing.classes == ("no", "yes")


def test_named_classes_are_kept(tmp_path):
    x, y = np.arange(20.0).reshape(-1, 1), np.arange(20) % 2
    path = write_npz(tmp_path / "a.npz", x, y, classes=np.array(["a", "b", "never"]))
    assert Npz(path=path).load().preprocessing.classes == ("a", "b", "never")


def test_a_missing_file_names_data_path(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"data\.path is '.*nix\.npz', which does not exist"
    ):
        Npz(path=str(tmp_path / "nix.npz")).load()


def test_pickled_objects_are_not_read(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.array([{}], dtype=object), y=np.zeros(1))
    with pytest.raises(ValueError, match=r"data\.path: cannot read .*a\.npz.*allow_pickle"):
        Npz(path=str(tmp_path / "a.npz")).load()


def test_a_damaged_archive_is_named(tmp_path):
    path = Path(write_npz(tmp_path / "a.npz", np.zeros((9, 2)), np.zeros(9, int)))
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"data\.path: cannot read .*a\.npz"):
        Npz(path=str(path)).load()


def test_other_arrays_are_answered_with_the_layouts(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.zeros(3))
    with pytest.raises(ValueError, match="holds images; expected x and y, or x_train"):
        Npz(path=str(tmp_path / "a.npz")).load()


# Tables


def adults(n=60):
    return pa.table(
        {
            "age": pa.array([20 + i % 30 if i % 7 else None for i in range(n)]),
            "hours": pa.array([float(i % 5) for i in range(n)]),
            "work": pa.array(["state", "private", "self"][i % 3] for i in range(n)),
            "married": pa.array([i % 2 == 0 for i in range(n)]),
            "income": pa.array(["<=50K" if i % 4 else ">50K" for i in range(n)]),
        }
    )


@pytest.fixture(params=["parquet", "csv"])
def adult_file(request, tmp_path):
    file = tmp_path / f"adult.{request.param}"
    if request.param == "parquet":
        pyarrow.parquet.write_table(adults(), file)
    else:
        pyarrow.csv.write_csv(adults(), file)
    return str(file)


def test_a_table_becomes_features_and_classes(adult_file):
    data = Table(path=adult_file, target="income").load()
    assert data.preprocessing.features == (
        "age", "hours", "work=private", "work=self", "work=state", "married",
    )  # fmt: skip
    assert data.preprocessing.classes == ("<=50K", ">50K")
    assert len(data.train.y) == 36
    assert data.train.x.isfinite().all()
    torch.testing.assert_close(data.train.x.mean(0), torch.zeros(6), atol=1e-5, rtol=0)


def test_text_can_be_numbered(adult_file):
    data = Table(path=adult_file, target="income", categorical="integer", drop=["age"]).load()
    assert data.preprocessing.features == ("hours", "work", "married")


def test_the_encoding_is_that_of_training(adult_file):
    preprocessing = Table(path=adult_file, target="income").load().preprocessing
    back = Preprocessing.from_json(preprocessing.to_json())
    rows = pa.table(
        {"work": ["self", "unheard of"], "age": [30, None], "married": [True, False],
         "hours": [1, 2], "another": ["x", "y"]}
    )  # fmt: skip
    x = back.encode(rows)
    assert x[:, 1:].tolist() == [[1, 0, 1, 0, 1], [2, 0, 0, 0, 0]]
    assert x[0, 0] == 30
    assert x[1, 0].isnan()
    assert back.transform(x)[1, 0] == 0  # a missing number is the training mean


def test_categories_come_from_the_training_rows_alone(tmp_path):
    table = adults(50)
    y = torch.tensor([t == ">50K" for t in table["income"].to_pylist()]).long()
    hidden = split_rows(y, validation=0.2, test=0.2, seed=0).test[0].item()
    work = table["work"].to_pylist()
    work[hidden] = "only in test"
    table = table.set_column(2, "work", pa.array(work))
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    data = Table(path=str(tmp_path / "a.parquet"), target="income").load()
    assert not any("only in test" in f for f in data.preprocessing.features)


def test_dictionary_columns_are_text(tmp_path):
    table = adults()
    table = table.set_column(2, "work", table["work"].dictionary_encode())
    table = table.set_column(4, "income", table["income"].dictionary_encode())
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    data = Table(path=str(tmp_path / "a.parquet"), target="income").load()
    assert "work=self" in data.preprocessing.features
    assert data.preprocessing.classes == ("<=50K", ">50K")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "incme"}, r"data\.target is 'incme'; did you mean 'income'"),
        ({"target": "income", "drop": ["agge"]}, r"data\.drop is 'agge'; did you mean 'age'"),
        ({"target": "hours"}, "which holds real numbers"),
        ({"target": "age"}, "which misses 9 values"),
    ],
)
def test_a_wrong_column_names_its_key(tmp_path, options, message):
    pyarrow.parquet.write_table(adults(), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=message):
        Table(path=str(tmp_path / "a.parquet"), **options).load()


def test_a_date_is_answered_with_drop(tmp_path):
    table = adults().append_column("when", pa.array([0] * 60, pa.timestamp("s")))
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=r"'when' has type timestamp.*data\.drop=\[when\]"):
        Table(path=str(tmp_path / "a.parquet"), target="income").load()


def test_rows_without_a_column_say_which(adult_file):
    preprocessing = Table(path=adult_file, target="income").load().preprocessing
    with pytest.raises(ValueError, match="a column of the rows is 'work'"):
        preprocessing.encode(adults().drop_columns(["work"]))


def test_a_damaged_table_is_named(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"PAR1 nonsense")
    with pytest.raises(ValueError, match=r"data\.path: cannot read .*a\.parquet"):
        Table(path=str(tmp_path / "a.parquet"), target="x").load()


@pytest.mark.slow
def test_mnist_is_whole():
    file = SHARED / "mnist" / "mnist.npz"
    if not file.exists():
        pytest.skip(f"{file} is absent; CAVIAR_SHARED_DATA says where the data is")
    data = Npz(path=str(file), validation=1 / 6).load()
    assert [len(s.y) for s in (data.train, data.validation, data.test)] == [50000, 10000, 10000]
    assert data.preprocessing.shift.item() / 255 == pytest.approx(0.1307, abs=1e-3)


@pytest.mark.parametrize("name", ["vowel", "satellite", "dna"])
def test_shared_tables_load(name):
    file = SHARED / "tabular" / f"{name}.npz"
    if not file.exists():
        pytest.skip(f"{file} is absent; CAVIAR_SHARED_DATA says where the data is")
    assert Npz(path=str(file)).load().train.x.isfinite().all()
