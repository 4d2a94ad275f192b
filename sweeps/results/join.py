"""Tables of different columns, one below the other."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc


def joined(pieces: Sequence[pa.Table]) -> pa.Table:
    """One table of all columns: what a piece lacks is null.

    Numbers become real where a piece's are; where types have nothing in common, as after a
    parameter's values were changed, the column is text.
    """
    return pa.concat_tables(
        [_fitting(piece, pieces) for piece in pieces], promote_options="permissive"
    )


def _fitting(piece: pa.Table, all_pieces: Sequence[pa.Table]) -> pa.Table:
    for at, name in enumerate(piece.column_names):
        kinds = {p.schema.field(name).type for p in all_pieces if name in p.column_names}
        numbers = all(pa.types.is_integer(k) or pa.types.is_floating(k) for k in kinds)
        if len(kinds) > 1 and not numbers:
            piece = piece.set_column(at, name, pc.cast(piece[name], pa.string()))
    return piece
