"""Predictions for the rows of files, by a small graph whose answers are known."""

import csv
import io
import json
import math
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from sweeps.cli import main
from sweeps.errors import ConfigError, SweepError
from sweeps.export.signature import Column, Signature
from sweeps.predict import model as model_module
from sweeps.predict import predict_file, reading
from sweeps.predict.encoding import Encoder, match_columns

COLUMNS = (
    Column(name="age"),
    Column(name="city", encoding="onehot", categories=("Lima", "Oslo")),
    Column(name="size", encoding="integer", categories=("L", "M", "S")),
)
ROWS = [
    {"id": "a", "age": "1", "city": "Lima", "size": "S"},
    {"id": "b", "age": "2.5", "city": "Oslo", "size": "L"},
    {"id": "c", "age": "", "city": "Lima", "size": "M"},
]
NUMERIC = [[1, 1, 0, 2], [2.5, 0, 1, 0], [math.nan, 1, 0, 1]]


@pytest.fixture
def export(make_export):
    """Two classes; a row's logits are its age (3 where it is missing), and its size."""
    weights = np.array([[1, 0], [0, 0], [0, 0], [0, 1]], np.float64)
    return make_export(COLUMNS, weights, missing_is=3.0)


def expected(rows):
    logits = [[3.0 if math.isnan(age) else age, size] for age, _, _, size in rows]
    p = np.exp(logits)
    return p / p.sum(1, keepdims=True)


def write_csv(file, rows=ROWS, columns=None, **options):
    columns = columns or list(rows[0])
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, columns, extrasaction="ignore", **options)
        writer.writeheader()
        writer.writerows(rows)
    return file


def probabilities(file):
    table = read(file)
    return np.stack([table[f"probability.{name}"].to_numpy() for name in ("no", "yes")], axis=1)


def read(file):
    if file.suffix == ".parquet":
        return pyarrow.parquet.read_table(file)
    return pyarrow.csv.read_csv(file)


@pytest.mark.parametrize("out", ["p.csv", "p.parquet"])
def test_each_row_has_its_class_and_the_probability_of_each_class(export, tmp_path, out):
    done = predict_file(export, write_csv(tmp_path / "d.csv"), out=tmp_path / out)
    np.testing.assert_allclose(probabilities(tmp_path / out), expected(NUMERIC), rtol=1e-6)
    assert read(tmp_path / out)["prediction"].to_pylist() == ["yes", "no", "no"]
    assert (done.rows, done.file, done.unused) == (3, "model.onnx", ["id"])


def test_the_order_of_columns_is_free_and_that_of_rows_is_kept(export, tmp_path):
    data = write_csv(tmp_path / "d.csv", ROWS[::-1], ["size", "id", "city", "age"])
    predict_file(export, data, out=tmp_path / "p.csv", keep=["id"])
    np.testing.assert_allclose(
        probabilities(tmp_path / "p.csv"), expected(NUMERIC[::-1]), rtol=1e-6
    )
    assert read(tmp_path / "p.csv").column_names[0] == "id"
    assert read(tmp_path / "p.csv")["id"].to_pylist() == ["c", "b", "a"]


def as_table():
    return pa.table(
        {
            "age": pa.array([1, 2.5, None]),
            "city": pa.array(["Lima", "Oslo", "Lima"]).dictionary_encode(),
            "size": ["S", "L", "M"],
            "id": [1, 2, 3],
        }
    )


def test_parquet_gives_what_csv_gives(export, tmp_path):
    pyarrow.parquet.write_table(as_table(), tmp_path / "d.parquet")
    predict_file(export, tmp_path / "d.parquet", out=tmp_path / "p.parquet", keep=["id"])
    np.testing.assert_allclose(probabilities(tmp_path / "p.parquet"), expected(NUMERIC), rtol=1e-6)
    assert read(tmp_path / "p.parquet")["id"].type == pa.int64()


def test_numeric_rows_of_an_npy_file_are_predicted(export, tmp_path):
    np.save(tmp_path / "d.npy", np.array(NUMERIC))
    assert predict_file(export, tmp_path / "d.npy", out=tmp_path / "p.csv").rows == 3
    np.testing.assert_allclose(probabilities(tmp_path / "p.csv"), expected(NUMERIC), rtol=1e-6)


def test_an_npy_file_of_objects_is_not_unpickled(export, tmp_path):
    np.save(tmp_path / "d.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(SweepError, match="Python objects"):
        predict_file(export, tmp_path / "d.npy", out=tmp_path / "p.csv")


def test_compressed_csv_and_other_delimiters_are_read(export, tmp_path):
    import gzip

    plain = write_csv(tmp_path / "d.tsv", delimiter="\t")
    packed = tmp_path / "d.csv.gz"
    packed.write_bytes(gzip.compress(write_csv(tmp_path / "s.csv", delimiter=";").read_bytes()))
    for data, delimiter in [(plain, None), (packed, ";")]:
        predict_file(export, data, out=tmp_path / "p.csv", delimiter=delimiter)
        np.testing.assert_allclose(probabilities(tmp_path / "p.csv"), expected(NUMERIC), rtol=1e-6)


def test_a_large_file_goes_through_in_batches(export, tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "_BLOCK", 1 << 12)
    rows = [{"id": i, "age": i % 7, "city": "Oslo", "size": "M"} for i in range(5000)]
    batches = []
    encode = Encoder.__call__
    monkeypatch.setattr(
        Encoder, "__call__", lambda self, b: batches.append(b.num_rows) or encode(self, b)
    )
    done = predict_file(
        export, write_csv(tmp_path / "d.csv", rows), out=tmp_path / "p.csv", keep=["id"]
    )
    assert done.rows == sum(batches) == 5000
    assert max(batches) < 1000
    table = read(tmp_path / "p.csv")
    assert table["id"].to_pylist() == list(range(5000))
    wanted = expected([[i % 7, 0, 1, 1] for i in range(5000)])
    np.testing.assert_allclose(probabilities(tmp_path / "p.csv"), wanted, rtol=1e-6)


def test_a_bad_cell_in_a_later_batch_is_told_by_its_row_in_the_file(export, tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "_BLOCK", 1 << 12)
    rows = [{"age": i, "city": "Oslo", "size": "M"} for i in range(5000)]
    rows[4321]["age"] = "forty"
    with pytest.raises(ConfigError, match="row 4322, column 'age': 'forty' is not a number"):
        predict_file(export, write_csv(tmp_path / "d.csv", rows), out=tmp_path / "p.csv")
    assert not list(tmp_path.glob("*p.csv*"))


def test_numbers_are_read_as_training_reads_them(make_export, tmp_path):
    """What pyarrow takes for a number, a boolean or a missing value in a column of a CSV file."""
    cells = ["1", " 2 ", "-3e2", "true", "FALSE", "", "NA", "null", "nan", "0.5"]
    rows = [{"age": cell, "other": i} for i, cell in enumerate(cells)]
    export = make_export((Column(name="age"),), np.array([[1.0, 0.0]]), missing_is=3.0)
    predict_file(export, write_csv(tmp_path / "d.csv", rows), out=tmp_path / "p.csv")
    wanted = [1, 2, -300, 1, 0, 3, 3, 3, 3, 0.5]
    logit = np.log(probabilities(tmp_path / "p.csv")[:, 0]) - np.log(
        probabilities(tmp_path / "p.csv")[:, 1] + 1e-300
    )
    finite = np.isfinite(logit) & (np.abs(wanted) < 100)
    np.testing.assert_allclose(logit[finite], np.array(wanted)[finite], atol=1e-5)
    assert finite.sum() == 9


def test_an_unknown_category_counts_as_none_of_the_known_and_is_told(export, tmp_path, capsys):
    rows = [
        *ROWS,
        {"id": "d", "age": "1", "city": "Paris", "size": "XL"},
        {**ROWS[0], "city": "Rome"},
    ]
    data, out = write_csv(tmp_path / "d.csv", rows), tmp_path / "p.csv"
    assert main(["predict", str(export), str(data), "-o", str(out)]) == 0
    said = capsys.readouterr().err
    assert "column 'city': 2 cells of categories that training had not seen" in said
    assert "the first 'Paris' in row 4" in said
    assert "column 'size': 1 cells" in said
    numeric = [*NUMERIC, [1, 0, 0, 0], [1, 0, 0, 2]]
    given = expected(numeric)
    given[3] = np.exp([1, 3]) / np.exp([1, 3]).sum()  # a missing number's stand-in
    np.testing.assert_allclose(probabilities(out), given, rtol=1e-6)


def test_the_nearest_name_of_a_missing_column_is_none_that_the_model_takes():
    columns = tuple(Column(name=f"pixel_0_{i}", encoding="number") for i in range(4))
    signature = Signature(
        task="regression",
        columns=columns,
        shape=(4,),
        dtype="float64",
        outputs=("y",),
        missing=None,
    )
    with pytest.raises(ConfigError, match=r"'pixel_0_0'; did you mean pixel00\?"):
        match_columns(signature, ["pixel00", "pixel_0_1", "pixel_0_2", "pixel_0_3"], where="d.csv")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"age": "Age"}, r"d.csv lacks 1 of 3 columns: 'age'; did you mean Age\?"),
        ({"city": "id2", "size": "z"}, "d.csv lacks 2 of 3 columns: 'city', 'size'"),
        ({"id": "age"}, "d.csv has 2 columns 'age'"),
    ],
)
def test_a_header_that_does_not_match_is_told_in_one_line(export, tmp_path, change, message):
    text = write_csv(tmp_path / "d.csv").read_text()
    header, _, rest = text.partition("\n")
    renamed = ",".join(change.get(name.strip(), name.strip()) for name in header.split(","))
    (tmp_path / "d.csv").write_text(f"{renamed}\n{rest}")
    with pytest.raises(ConfigError, match=message) as error:
        predict_file(export, tmp_path / "d.csv", out=tmp_path / "p.csv")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("age", ["x", "y", "z"], "column 'age' holds string; the model takes numbers"),
        ("city", [1, 2, 3], "column 'city' holds int64; the model takes text"),
        ("age", [1.0, math.inf, 2.0], "row 2, column 'age' is inf"),
    ],
)
def test_a_parquet_column_of_another_kind_is_told(export, tmp_path, column, values, message):
    table = as_table()
    table = table.set_column(table.column_names.index(column), column, pa.array(values))
    pyarrow.parquet.write_table(table, tmp_path / "d.parquet")
    with pytest.raises(ConfigError, match=message):
        predict_file(export, tmp_path / "d.parquet", out=tmp_path / "p.csv")


def test_a_model_that_takes_no_missing_numbers_says_so(make_export, tmp_path):
    export = make_export((Column(name="age"),), np.array([[1.0, 0.0]]), missing_is=None)
    with pytest.raises(ConfigError, match="row 3, column 'age' is missing; the model takes a fin"):
        predict_file(export, write_csv(tmp_path / "d.csv"), out=tmp_path / "p.csv")


def test_a_file_without_rows_gives_a_header(export, tmp_path):
    (tmp_path / "d.csv").write_text("age,city,size\n")
    assert predict_file(export, tmp_path / "d.csv", out=tmp_path / "p.csv").rows == 0
    assert "probability.yes" in (tmp_path / "p.csv").read_text()


def test_values_of_a_regression_are_predicted(make_export, tmp_path):
    export = make_export(
        (Column(name="age"),), np.array([[2.0]]), missing_is=3.0, task="regression"
    )
    predict_file(export, write_csv(tmp_path / "d.csv"), out=tmp_path / "p.csv")
    assert read(tmp_path / "p.csv").to_pydict() == {"prediction": [2.0, 5.0, 6.0]}


def test_without_an_output_file_csv_goes_to_standard_output(export, tmp_path, capfdbinary):
    assert main(["predict", str(export), str(write_csv(tmp_path / "d.csv")), "--column", "id"]) == 0
    table = pyarrow.csv.read_csv(io.BytesIO(capfdbinary.readouterr().out))
    assert table["id"].to_pylist() == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["d.csv", "-o", "p.xls"], "must end with .csv or .parquet"),
        (["d.txt"], "rows are read from .csv, .tsv, .parquet"),
        (["gone.csv"], "gone.csv is not a file"),
        (["d.csv", "--column", "idd"], "which d.csv does not have; did you mean id?"),
        (["d.csv", "-o", "d.csv"], "which holds the data"),
        (["d.csv", "--delimiter", ";;"], "it is one character"),
        (["d.parquet", "--delimiter", ";"], "--delimiter is of a CSV file"),
    ],
)
def test_wrong_usage_is_told_with_exit_code_2(
    export, tmp_path, monkeypatch, capsys, given, message
):
    monkeypatch.chdir(tmp_path)
    write_csv(tmp_path / "d.csv")
    pyarrow.parquet.write_table(as_table(), tmp_path / "d.parquet")
    (tmp_path / "d.txt").write_text("x")
    try:
        code = main(["predict", str(export), *given])
    except SystemExit as error:
        code = error.code
    assert code == 2
    assert message in capsys.readouterr().err


def test_a_damaged_file_of_rows_is_told(export, tmp_path):
    (tmp_path / "d.csv").write_text("age,city,size\n1,Oslo,M\n1,2\n")
    with pytest.raises(SweepError, match="cannot be read: CSV parse error: Expected 3 columns"):
        predict_file(export, tmp_path / "d.csv", out=tmp_path / "p.csv")
    (tmp_path / "d.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(SweepError, match=r"d.parquet cannot be read"):
        predict_file(export, tmp_path / "d.parquet", out=tmp_path / "p.csv")


def test_an_older_file_of_predictions_stays_where_it_goes_wrong(export, tmp_path):
    out = tmp_path / "p.csv"
    predict_file(export, write_csv(tmp_path / "d.csv"), out=out)
    before = out.read_text()
    with pytest.raises(ConfigError):
        predict_file(export, write_csv(tmp_path / "d.csv", [{**ROWS[0], "age": "x"}]), out=out)
    assert out.read_text() == before


def test_a_folder_that_is_no_export_is_told_with_the_one_within(export, tmp_path):
    sweep = export.parent / "sweep"
    sweep.mkdir()
    export.rename(sweep / "best")
    with pytest.raises(ConfigError, match=r"holds no export: did you mean .*sweep/best\?"):
        predict_file(sweep, write_csv(tmp_path / "d.csv"))
    with pytest.raises(ConfigError, match="is not a folder"):
        predict_file(tmp_path / "gone", tmp_path / "d.csv")


def test_progress_is_told_of_a_long_run(export, tmp_path, monkeypatch):
    from sweeps.predict import run

    clock = iter(range(0, 1000, 3))
    monkeypatch.setattr(run, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    said = []
    pyarrow.parquet.write_table(as_table(), tmp_path / "d.parquet")
    predict_file(export, tmp_path / "d.parquet", out=tmp_path / "p.csv", say=said.append)
    assert said == ["3 of 3 rows"]


def test_onnxruntime_that_is_missing_is_told_and_the_weights_are_used(
    export, tmp_path, monkeypatch
):
    monkeypatch.setattr(model_module, "find_spec", lambda name: None)
    said = []
    with pytest.raises(SweepError, match=r"config\.yaml cannot be read"):
        predict_file(export, write_csv(tmp_path / "d.csv"), say=said.append)
    assert said == [
        "model.onnx needs onnxruntime (pip install 'caviar[onnx]'): its weights are used"
    ]


def test_a_signature_survives_its_file(tmp_path):
    signature = Signature(
        task="classification",
        columns=COLUMNS,
        shape=(4,),
        dtype="float64",
        outputs=("no", "yes"),
        missing="it counts as 3",
    )
    signature.write(tmp_path)
    assert Signature.read(tmp_path) == signature
    assert signature.features == ("age", "city=Lima", "city=Oslo", "size")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": [3]}, "have 3 numbers, and there are 4 features"),
        ({"dtype": "object"}, "dtype is 'object'"),
        ({"task": "eval"}, "task is 'eval'"),
        ({"columns": [{"name": "age", "encoding": "pickle", "categories": []}]}, "'pickle'"),
        ({"version": 2}, "of a later caviar"),
        ({"columns": None}, "is damaged"),
    ],
)
def test_a_damaged_signature_is_told(export, change, message):
    file = export / "signature.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(SweepError, match=message):
        Signature.read(export)
