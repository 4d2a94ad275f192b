"""A Parquet or CSV table with a target column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from models.choices import miss
from models.data.cache import cached
from models.data.dataset import Dataset, RawRows, make_dataset
from models.data.files import find_file, version
from models.data.scaling import Scaling, chosen_scaling
from models.data.split import split_rows

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of a table; its encoding is learned from the training split and recorded.

    Numbers and booleans are taken as they are; text becomes one feature a category (`onehot`) or
    the category's number (`integer`). Missing values are allowed in features, not in the target.

    Args:
        path: The file: Parquet, or CSV with a header (also compressed).
        target: Name of the column with the classes.
        drop: Columns to leave out.
        delimiter: Of a CSV file.
        categorical: `onehot` or `integer`.
        validation: Fraction of the rows for validation.
        test: Fraction of the rows for the test.
        split_seed: The split is a function of it and of the target.
        fraction: Share of the training split to keep; see `split_rows`.
        scaling: Of each column; see `fit_scaling`.
        standardize: What older configs call `scaling`.
    """

    path: str
    target: str
    drop: Sequence[str] = ()
    delimiter: str = ","
    categorical: Literal["onehot", "integer"] = "onehot"
    validation: float = 0.2
    test: float = 0.2
    split_seed: int = 0
    fraction: float = 1.0
    scaling: Scaling = "standardize"
    standardize: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "drop", tuple(self.drop))
        scaling = chosen_scaling(self.scaling, self.standardize)
        object.__setattr__(self, "scaling", scaling)
        if self.categorical not in ("onehot", "integer"):
            raise ValueError(miss(self.categorical, ["onehot", "integer"], key="data.categorical"))

    def load(self) -> Dataset:
        """Read, split, encode and scale.

        Raises:
            FileNotFoundError: `path` is not a file.
            ValueError: The file cannot be read, a column is unknown or of a type that cannot be
                used, or an option is out of its range.
        """
        file = find_file(self.path)
        return cached((self, version(file)), lambda: self._read(file))

    def _read(self, file: Path) -> Dataset:
        from models.data.columns import encode_column, fit_column

        table = read_table(file, delimiter=self.delimiter)
        for key, name in [("data.target", self.target), *(("data.drop", d) for d in self.drop)]:
            if name not in table.column_names:
                raise ValueError(miss(name, table.column_names, key=key))
        y, classes = encode_target(self.target, table[self.target])
        rows = split_rows(
            y,
            validation=self.validation,
            test=self.test,
            seed=self.split_seed,
            fraction=self.fraction,
        )
        inputs = table.drop_columns(list({self.target, *self.drop}))
        if not inputs.num_columns:
            raise ValueError(f"data.path: {file} has no column beside the target and data.drop")
        train = inputs.take(rows.train.numpy())
        columns = tuple(fit_column(c, train[c], self.categorical) for c in train.column_names)
        x = torch.cat([encode_column(c, inputs[c.name]) for c in columns], dim=1)
        raw = RawRows(x=x, y=y, columns=columns, classes=classes)
        return make_dataset(raw, rows, scaling=self.scaling)


def read_table(file: Path, *, delimiter: str = ",") -> pa.Table:
    """A Parquet file, known by its first bytes, or else a CSV file with a header.

    Raises:
        ValueError: The file is damaged or neither.
    """
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    try:
        with file.open("rb") as stream:
            is_parquet = stream.read(4) == b"PAR1"
        if is_parquet:
            return pyarrow.parquet.read_table(file)
        options = pyarrow.csv.ParseOptions(delimiter=delimiter)
        return pyarrow.csv.read_csv(file, parse_options=options)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"data.path: cannot read {file}: {error}") from error


def encode_target(name: str, values: pa.ChunkedArray) -> tuple[Tensor, tuple[str, ...]]:
    """Classes from 0 on, in the order of their values, and their names.

    Raises:
        ValueError: Values are missing, or are real numbers.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_floating(values.type) or pa.types.is_decimal(values.type):
        raise ValueError(
            f"data.target is {name!r}, which holds real numbers ({values.type}); expected classes"
        )
    if values.null_count:
        raise ValueError(f"data.target is {name!r}, which misses {values.null_count} values")
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    known = pc.unique(values).sort()
    codes = pc.index_in(values, value_set=known).to_numpy()
    return torch.from_numpy(codes.astype("int64")), tuple(map(str, known.to_pylist()))
