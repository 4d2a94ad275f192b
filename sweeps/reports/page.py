"""The report's page: one HTML file that holds all it needs, and loads nothing.

plotly.js alone is 4.8 MB: it and the figures lie in the page compressed, and the browser inflates
them. Its content security policy forbids every load, and every script but these two.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
from functools import cache
from importlib.resources import files
from typing import Any
from xml.etree.ElementTree import Element

from plotly.io.json import to_json_plotly
from plotly.offline import get_plotlyjs

from sweeps.reports.drawing import Drawing
from sweeps.reports.header import header
from sweeps.reports.html import add, document, element
from sweeps.reports.retests import retest_table
from sweeps.reports.sections import SECTIONS, Section
from sweeps.reports.style import template
from sweeps.reports.tables import Table, best_trials, failures, provenance
from sweeps.reports.usage import usage_table
from sweeps.results import SweepResults

_UNDRAWN = (
    "This browser cannot draw the plots: they need JavaScript and DecompressionStream (Chrome 80, "
    "Firefox 113, Safari 16.4 or newer). The numbers and tables are all here."
)


def page(sweep: SweepResults) -> str:
    """The report of a sweep as it stands."""
    figures: dict[str, Any] = {}
    html = element("html", lang="en")
    body = element("body")
    contents = _contents(body, header(sweep))
    main = add(body, "main", id="main", tabindex="-1")
    _add_table(main, contents, "best-trials", best_trials(sweep))
    if (retested := retest_table(sweep)) is not None:
        _add_table(main, contents, "retested", retested)
    for section in SECTIONS:
        _add_section(main, contents, section, section.drawings(sweep), figures)
    _add_table(main, contents, "usage", usage_table(sweep))
    _add_table(main, contents, "failures", failures(sweep))
    _add_table(main, contents, "provenance", provenance(sweep))
    add(
        add(body, "footer"),
        "p",
        "Written by caviar. Nothing in this file is loaded from elsewhere.",
    )
    _add_scripts(body, figures)
    html.append(_head(sweep))
    html.append(body)
    return document(html)


def _head(sweep: SweepResults) -> Element:
    head = element("head")
    add(head, "meta", charset="utf-8")
    add(head, "meta", http_equiv="Content-Security-Policy", content=_policy())
    add(head, "meta", name="viewport", content="width=device-width, initial-scale=1")
    add(head, "meta", name="color-scheme", content="light dark")
    add(head, "meta", name="referrer", content="no-referrer")
    add(head, "title", f"{sweep.record.name}: sweep report")
    add(head, "link", rel="icon", href="data:,")
    style = add(head, "style")
    style.text = _asset("page.css")
    return head


def _contents(body: Element, head: Element) -> Element:
    """The page's top, and the list that its sections are added to."""
    add(body, "a", "Skip to the results", href="#main", class_="skip")
    body.append(head)
    nav = add(body, "nav", aria_label="Contents")
    return add(nav, "ol")


def _section(main: Element, contents: Element, key: str, title: str) -> Element:
    add(add(contents, "li"), "a", title, href=f"#{key}")
    section = add(main, "section", id=key, aria_labelledby=f"{key}-title")
    add(section, "h2", title, id=f"{key}-title")
    return section


def _add_section(
    main: Element,
    contents: Element,
    of: Section,
    drawings: list[Drawing],
    figures: dict[str, Any],
) -> None:
    if not drawings:
        return
    section = _section(main, contents, of.key, of.title)
    if of.about:
        add(section, "p", of.about, class_="about")
    grid = add(section, "div", class_="grid")
    for i, drawing in enumerate(drawings):
        only = len(drawings) == 1 and drawing.title == of.title
        _add_drawing(grid, f"{of.key}-{i}", drawing, figures, titled=not only)


def _add_drawing(
    grid: Element, key: str, drawing: Drawing, figures: dict[str, Any], *, titled: bool
) -> None:
    box = add(grid, "figure", class_=f"{drawing.span} {'bare' if drawing.figure is None else ''}")
    if titled:
        add(box, "h3", drawing.title)
    if drawing.about:
        add(box, "p", drawing.about, class_="about")
    if drawing.figure is not None:
        spec = drawing.figure.to_dict()
        spec["layout"].pop("template", None)
        figures[key] = spec
        label = " ".join(p for p in (f"Plot: {drawing.title}.", drawing.about, drawing.words) if p)
        least = spec["layout"].get("meta", {}).get("minwidth", 0)
        size = f"min-height:{spec['layout']['height']}px;min-width:{least}px"
        scroll = add(box, "div", class_="scroll")
        add(scroll, "div", class_="plot", id=key, role="img", aria_label=label, style=size)
    if drawing.words:
        add(box, "figcaption", drawing.words)


def _add_table(main: Element, contents: Element, key: str, table: Table) -> None:
    section = _section(main, contents, key, table.title)
    if table.rows:
        frame = add(
            section, "div", class_="frame", tabindex="0", role="region", aria_label=table.title
        )
        _add_rows(frame, table, key)
    if table.words:
        add(section, "p", table.words, class_="words")


def _add_rows(frame: Element, table: Table, key: str) -> None:
    made = add(frame, "table", class_=key)
    if any(table.header):
        row = add(add(made, "thead"), "tr")
        for i, name in enumerate(table.header):
            add(row, "th", name, scope="col", **_column(table, i))
    body = add(made, "tbody")
    for at, cells in enumerate(table.rows):
        row = add(body, "tr", **({"class_": "marked"} if at in table.marked else {}))
        for i, cell in enumerate(cells):
            scope = {"scope": "row"} if i == 0 else {}
            add(row, "th" if i == 0 else "td", cell, **scope, **_column(table, i))


def _column(table: Table, i: int) -> dict[str, str]:
    return {"class_": "numeric"} if i in table.numeric else {}


def _add_scripts(body: Element, figures: dict[str, Any]) -> None:
    add(add(body, "noscript"), "p", _UNDRAWN, class_="undrawn")
    add(body, "p", _UNDRAWN, class_="undrawn", id="undrawn", hidden="hidden")
    looks = {name: template(dark=name == "dark").to_plotly_json() for name in ("light", "dark")}
    data = to_json_plotly({"templates": looks, "figures": figures})
    _add_packed(body, "plotly", _packed_plotly())
    _add_packed(body, "data", _packed(data))
    script = add(body, "script")
    script.text = _asset("page.js")


def _add_packed(body: Element, key: str, packed: str) -> None:
    add(body, "script", type="text/plain", id=f"packed-{key}").text = packed


def _packed(text: str) -> str:
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode("ascii")


@cache
def _packed_plotly() -> str:
    return _packed(get_plotlyjs())


@cache
def _policy() -> str:
    scripts = " ".join(f"'sha256-{_digest(text)}'" for text in (get_plotlyjs(), _asset("page.js")))
    return (
        f"default-src 'none'; script-src {scripts}; style-src 'unsafe-inline'; "
        f"img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")


@cache
def _asset(name: str) -> str:
    return files("sweeps.reports").joinpath(name).read_text(encoding="utf-8")
