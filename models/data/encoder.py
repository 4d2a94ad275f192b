"""From rows of a table to what a network takes."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import torch

from models.data.dataset import Split
from models.data.preprocessing import Preprocessing
from models.data.table import target_values


@dataclass(frozen=True, kw_only=True, eq=False)
class Encoder:
    """Encodes and scales the features, and numbers the classes."""

    preprocessing: Preprocessing
    target: str
    classes: pa.Array
    """The target's values in the order of the classes."""

    def __call__(self, table: pa.Table) -> Split:
        """Rows in the order of the table.

        Raises:
            ValueError: A value cannot be used, or is a class that training does not know.
        """
        values = target_values(self.target, table[self.target])
        codes = pc.index_in(values, value_set=self.classes)
        if codes.null_count:
            unknown = values.filter(codes.is_null())[0]
            raise ValueError(
                f"data.target is {self.target!r}, which holds {unknown.as_py()!r}: data.path has "
                "no row of this class"
            )
        y = torch.from_numpy(codes.to_numpy().astype("int64"))
        return Split(self.preprocessing.transform(self.preprocessing.encode(table)), y)
