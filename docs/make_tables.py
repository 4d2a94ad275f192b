"""Write the columns into docs/tables.md, from the schema of the tables.

python docs/make_tables.py
"""

from __future__ import annotations

import re
from pathlib import Path

from sweeps.results.schema import COLUMNS, Column, TableName

PAGE = Path(__file__).with_name("tables.md")


def page() -> str:
    """The whole page, with the columns as they are."""
    text = PAGE.read_text(encoding="utf-8")
    for name in COLUMNS:
        marked = re.compile(rf"<!-- {name} -->\n.*?<!-- /{name} -->", re.DOTALL)
        table = f"<!-- {name} -->\n{_table(name)}<!-- /{name} -->"
        text = marked.sub(lambda _, table=table: table, text)
    return text


def _table(name: TableName) -> str:
    rows = "".join(map(_row, COLUMNS[name]))
    return f"| column | type | unit | meaning |\n|---|---|---|---|\n{rows}"


def _row(column: Column) -> str:
    kind = "that of its values" if column.type is None else f"`{column.type}`"
    return f"| `{column.name}` | {kind} | {column.unit} | {column.doc} |\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
