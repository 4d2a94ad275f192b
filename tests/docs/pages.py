"""The documentation as its readers use it: what a page writes, runs, links to and names.

A fenced block with a title is a file that the page has its reader write. A line of a `console`
block that begins with `$ ` is a command; a backslash carries it on, and what follows is what it
prints. A comment `<!-- not run: REASON -->` above a block says why a test cannot run it, and
`<!-- exits 2 -->` that its last command ends so.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS.rglob("*.md")])

_FENCE = re.compile(
    r"(?P<above>(?:<!--(?:(?!-->).)*-->\s*)*)"
    r"^(?P<indent> *)(?P<fence>```+)(?P<info>[^\n`]*)\n(?P<text>.*?)^(?P=indent)(?P=fence)$",
    re.MULTILINE | re.DOTALL,
)
_TITLE = re.compile(r'title="([^"]+)"')
_NOT_RUN = re.compile(r"<!-- not run: (.+?) -->", re.DOTALL)
_EXITS = re.compile(r"<!-- exits (\d+) -->")
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} +(.+?)(?: *\{ *#([\w-]+) *\})?$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    text: str
    title: str | None
    """The file that it is the text of."""
    not_run: str | None
    """Why its commands are not run."""
    exits: int
    """What its last command ends with."""

    @property
    def commands(self) -> list[str]:
        """What a reader types: each command whole, over all of its lines."""
        if self.language != "console":
            return []
        found: list[str] = []
        goes_on = False
        for line in self.text.splitlines():
            if goes_on:
                found[-1] += f"\n{line}"
            elif line.startswith("$ "):
                found.append(line.removeprefix("$ "))
            goes_on = (goes_on or line.startswith("$ ")) and line.endswith("\\")
        return found

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """A page's fenced blocks, in order."""
    text = page.read_text(encoding="utf-8")
    return [_block(page, text, found) for found in _FENCE.finditer(text)]


def _block(page: Path, text: str, found: re.Match[str]) -> Block:
    title, why = _TITLE.search(found["info"]), _NOT_RUN.search(found["above"])
    exits = _EXITS.search(found["above"])
    indent = len(found["indent"])
    return Block(
        page=page,
        line=text.count("\n", 0, found.start("fence")) + 1,
        language=(found["info"].split() or [""])[0],
        text="\n".join(line[indent:] for line in found["text"].splitlines()),
        title=title[1] if title else None,
        not_run=" ".join(why[1].split()) if why else None,
        exits=int(exits[1]) if exits else 0,
    )


def words_of_commands(page: Path) -> Iterator[tuple[str, list[str]]]:
    """(where, words) of each `caviar ...` in a page: in its blocks, and between single ticks."""
    for block in blocks(page):
        for command in block.commands:
            yield str(block), _words(command)
    prose = _FENCE.sub("", page.read_text(encoding="utf-8"))
    for code in re.findall(r"(?<!`)`([^`\n]+)`(?!`)", prose):
        yield f"{page.name}: {code}", _words(code)


def _words(command: str) -> list[str]:
    """A command line's words from `caviar` on; empty where it is none."""
    try:
        words = shlex.split(command.replace("\\\n", " "), comments=True)
    except ValueError:  # text in ticks, with an apostrophe
        return []
    return words[words.index("caviar") :] if "caviar" in words else []


def links(page: Path) -> list[str]:
    """Where a page links to, images too; not what is in its blocks."""
    prose = _FENCE.sub("", page.read_text(encoding="utf-8"))
    prose = re.sub(r"`[^`\n]*`", "``", prose)
    return [link or image for link, image in _LINK.findall(prose)]


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and the site make them."""
    prose = _FENCE.sub("", page.read_text(encoding="utf-8"))
    return {given or _slug(title) for title, given in _HEADING.findall(prose)}


def _slug(title: str) -> str:
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)|[`*]", r"\1", title)
    return re.sub(r"[\s]+", "-", re.sub(r"[^\w\s-]", "", plain).strip().lower())
