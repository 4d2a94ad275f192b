"""What an exported model takes and gives: `signature.json`, and the metadata inside its graphs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sweeps.errors import SweepError

FILE = "signature.json"
ENCODINGS = ("number", "onehot", "integer")
DTYPES = ("float32", "float64")
TASKS = ("classification", "regression")


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of a table, and how it becomes features."""

    name: str
    encoding: str = "number"
    """`number` is one feature as it stands; `onehot` one a category, `integer` its position."""
    categories: tuple[str, ...] = ()
    """Of text: what training has seen."""

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the features it becomes."""
        if self.encoding == "onehot":
            return tuple(f"{self.name}={category}" for category in self.categories)
        return (self.name,)


@dataclass(frozen=True, kw_only=True)
class Signature:
    """Raw numeric rows `[n, *shape]` in, `[n, outputs]` out.

    Raises:
        ValueError: The parts do not fit together.
    """

    task: str
    columns: tuple[Column, ...]
    shape: tuple[int, ...]
    dtype: str
    outputs: tuple[str, ...]
    """Names of the classes, in the order of the probabilities; of a regression, of its values."""
    missing: str | None = None
    """What becomes of a number that is NaN; None where there may be none."""

    def __post_init__(self) -> None:
        _one_of("task", self.task, TASKS)
        _one_of("dtype", self.dtype, DTYPES)
        for column in self.columns:
            _one_of(f"the encoding of {column.name!r}", column.encoding, ENCODINGS)
        if math.prod(self.shape) != len(self.features) or not self.outputs:
            raise ValueError(
                f"rows of shape {self.shape} have {math.prod(self.shape)} numbers, and there are "
                f"{len(self.features)} features and {len(self.outputs)} outputs"
            )

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the numbers of a row, in their order."""
        return tuple(name for column in self.columns for name in column.features)

    @property
    def result_names(self) -> tuple[str, ...]:
        """Names of the columns of a table of predictions."""
        if self.task == "classification":
            return ("prediction", *(f"probability.{name}" for name in self.outputs))
        if len(self.outputs) == 1:
            return ("prediction",)
        return tuple(f"prediction.{name}" for name in self.outputs)

    @classmethod
    def of(cls, deployable: Any) -> Signature:
        """What a trainer's `deployable` says of itself.

        Raises:
            AttributeError: It does not say it.
            ValueError: It contradicts itself.
        """
        columns = tuple(
            Column(name=str(c.name), encoding=c.encoding, categories=tuple(map(str, c.categories)))
            for c in deployable.columns
        )
        return cls(
            task=deployable.task,
            columns=columns,
            shape=tuple(map(int, deployable.shape)),
            dtype=deployable.dtype,
            outputs=tuple(map(str, deployable.outputs)),
            missing=deployable.missing,
        )

    def metadata(self) -> dict[str, str]:
        """As a graph's own metadata: JSON by name."""
        about = {**self._as_json(), "features": self.features}
        return {name: json.dumps(value) for name, value in about.items()}

    def write(self, folder: Path) -> None:
        """Write signature.json."""
        text = json.dumps({"version": 1, **self._as_json()}, indent=1)
        (folder / FILE).write_text(f"{text}\n", encoding="utf-8")

    def _as_json(self) -> dict[str, Any]:
        names = "classes" if self.task == "classification" else "outputs"
        return {names if key == "outputs" else key: value for key, value in asdict(self).items()}

    @classmethod
    def read(cls, folder: Path) -> Signature:
        """Read signature.json.

        Raises:
            SweepError: It is missing or damaged.
        """
        file = folder / FILE
        try:
            return cls._from_json(json.loads(file.read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise SweepError(
                f"{folder} has no {FILE}: its app's trainer does not say what its rows are "
                f"(docs/export.md), or an older version of caviar wrote it: export it again"
            ) from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SweepError(f"{file} is damaged: {error!r}") from error

    @classmethod
    def _from_json(cls, values: Mapping[str, Any]) -> Signature:
        if values["version"] != 1:
            raise ValueError(f"version {values['version']!r} is of a later caviar")
        columns = tuple(
            Column(name=c["name"], encoding=c["encoding"], categories=tuple(c["categories"]))
            for c in values["columns"]
        )
        return cls(
            task=values["task"],
            columns=columns,
            shape=tuple(values["shape"]),
            dtype=values["dtype"],
            outputs=tuple(values["classes"] if "classes" in values else values["outputs"]),
            missing=values["missing"],
        )


def _one_of(what: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{what} is {value!r}; choose from {', '.join(choices)}")
