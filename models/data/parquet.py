"""Parquet files larger than memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from models.choices import miss
from models.data.cache import cached
from models.data.dataset import Dataset
from models.data.files import find_files, version
from models.data.preprocessing import Preprocessing
from models.data.scaling import Scaling, chosen_scaling, fit_scaling

if TYPE_CHECKING:
    import pyarrow as pa

    from models.data.encoder import Encoder
    from models.data.row_groups import Share
    from models.data.survey import Survey


@dataclass(frozen=True, kw_only=True)
class Parquet:
    """Rows of Parquet files that are read while a network trains, not before.

    One pass over the files comes first, for the encodings and the scaling. Rows go to validation
    and test by a hash of their place in their file, so that further files move none of them; or
    whole files are given for these. A split that fits the buffer is kept after its first reading;
    a larger one that shares its files with others costs the reading of all of them.

    Args:
        path: A file, or a folder with `*.parquet` files at any depth.
        target: Name of the column with the classes.
        drop: Columns to leave out.
        categorical: `onehot` or `integer`; see `Table`.
        validation: Share of the rows for validation (0.1 where None).
        test: Share of the rows for the test (0.1 where None).
        validation_path: A file or folder for validation; `validation` is then None.
        test_path: A file or folder for the test; `test` is then None.
        split_seed: The split is a function of it, the files' names and the rows' numbers.
        fraction: Share of the training rows to read; a larger one holds the rows of a smaller one.
        scaling: Of each column; see `fit_scaling`.
        buffer_rows: Rows that are shuffled together and held in memory; see `ParquetStream`.
    """

    path: str
    target: str
    drop: Sequence[str] = ()
    categorical: Literal["onehot", "integer"] = "onehot"
    validation: float | None = None
    test: float | None = None
    validation_path: str | None = None
    test_path: str | None = None
    split_seed: int = 0
    fraction: float = 1.0
    scaling: Scaling = "standardize"
    buffer_rows: int = 65536

    def __post_init__(self) -> None:
        object.__setattr__(self, "drop", tuple(self.drop))
        chosen_scaling(self.scaling, None)
        if self.categorical not in ("onehot", "integer"):
            raise ValueError(miss(self.categorical, ["onehot", "integer"], key="data.categorical"))
        if not 0 < self.fraction <= 1:
            raise ValueError(f"data.fraction is {self.fraction}; it must be more than 0, at most 1")
        if self.buffer_rows < 1:
            raise ValueError(f"data.buffer_rows is {self.buffer_rows}; it must be 1 or more")
        for name in ("validation", "test"):
            share, path = getattr(self, name), getattr(self, f"{name}_path")
            if share is not None and not 0 <= share < 1:
                raise ValueError(f"data.{name} is {share}; it must be at least 0 and less than 1")
            if share is not None and path is not None:
                raise ValueError(
                    f"data.{name} is {share} and data.{name}_path is {path!r}; set one of them"
                )

    def load(self) -> Dataset:
        """Read the files once for the statistics; the splits are streams.

        Raises:
            FileNotFoundError: A path is no file and no folder with files.
            ValueError: A file is damaged or unlike the others, a column is unknown or of a type
                that cannot be used, or an option is out of its range.
        """
        files = self._files()
        versions = tuple(version(file) for part in files.values() for file in part)
        return cached((self, versions), lambda: self._read(files))

    def _files(self) -> dict[str, list[Path]]:
        """The files of training, and of each split that has files of its own."""
        files = {"train": find_files(self.path, "*.parquet")}
        for name in ("validation", "test"):
            if (path := getattr(self, f"{name}_path")) is not None:
                files[name] = find_files(path, "*.parquet", key=f"data.{name}_path")
        places = [file.resolve() for part in files.values() for file in part]
        if len(set(places)) < len(places):
            twice = max(places, key=places.count)
            raise ValueError(f"{twice} is in more than one of data.path and the paths of splits")
        return files

    def _read(self, files: dict[str, list[Path]]) -> Dataset:
        from models.data.row_groups import row_groups
        from models.data.stream import ParquetStream
        from models.data.survey import survey

        inputs = self._inputs([file for part in files.values() for file in part])
        groups = {name: row_groups(part, seed=self.split_seed) for name, part in files.items()}
        shares = self._shares()
        found = survey(
            groups["train"],
            shares["train"],
            inputs=inputs,
            target=self.target,
            categorical=self.categorical,
        )
        encoder = self._encoder(found)

        def stream(name: str) -> ParquetStream:
            own = groups.get(name, groups["train"])
            return ParquetStream(
                groups=own,
                counts=[group.count(shares[name]) for group in own],
                share=shares[name],
                columns=[*inputs, self.target],
                encode=encoder,
                shape=encoder.preprocessing.shape,
                buffer_rows=self.buffer_rows,
            )

        train, validation, test = map(stream, ("train", "validation", "test"))
        if not validation.n_rows:
            raise ValueError("data.validation leaves no row for validation")
        return Dataset(
            train=train, validation=validation, test=test, preprocessing=encoder.preprocessing
        )

    def _inputs(self, files: list[Path]) -> dict[str, pa.DataType]:
        """The columns that become features and their types, the same in each file."""
        from models.data.row_groups import read_schema

        first = read_schema(files[0])
        for key, name in [("data.target", self.target), *(("data.drop", d) for d in self.drop)]:
            if name not in first.names:
                raise ValueError(miss(name, first.names, key=key))
        inputs = {f.name: f.type for f in first if f.name not in (self.target, *self.drop)}
        if not inputs:
            raise ValueError(f"data.path: {files[0]} has no column beside the target and data.drop")
        for file in files[1:]:
            schemas = first, read_schema(file)
            for name in (*inputs, self.target):
                known, kind = (
                    str(s.field(name).type) if name in s.names else "absent" for s in schemas
                )
                if kind != known:
                    raise ValueError(
                        f"column {name!r} is {known} in {files[0]}, but {kind} in {file}"
                    )
        return inputs

    def _shares(self) -> dict[str, Share]:
        """Which hashes go to which split."""
        from models.data.row_groups import Share

        validation = self._share("validation")
        held = validation + self._share("test")
        if held >= 1:
            raise ValueError(f"data.validation and data.test are {held} together; less than 1")
        whole = Share()
        return {
            "validation": whole if self.validation_path else Share(0.0, validation),
            "test": whole if self.test_path else Share(validation, held),
            "train": Share(held, 1 - (1 - self.fraction) * (1 - held)),
        }

    def _share(self, name: str) -> float:
        if getattr(self, f"{name}_path") is not None:
            return 0.0
        share: float | None = getattr(self, name)
        return 0.1 if share is None else share

    def _encoder(self, found: Survey) -> Encoder:
        from models.data.encoder import Encoder

        shift, scale = fit_scaling(found.statistics, self.scaling)
        preprocessing = Preprocessing(
            columns=found.columns,
            classes=tuple(map(str, found.classes.to_pylist())),
            shape=(len(shift),),
            shift=shift,
            scale=scale,
            fill=found.statistics.mean,
        )
        return Encoder(preprocessing=preprocessing, target=self.target, classes=found.classes)
