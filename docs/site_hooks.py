"""What mkdocs asks of us while it builds the site: see `hooks` in mkdocs.yml.

A page may link to any file of the repository, as it may on GitHub: a file outside of docs/ becomes
a page of the site with its source, and the README is the front page. A line `<!-- made: NAME -->`
is replaced by what `site_reference` makes of the code, so that a reference cannot be out of date.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from site_reference import MAKERS

ROOT = Path(__file__).resolve().parents[1]
FRONT = {"README.md": "index.md"}
"""What stands for a file of the repository that is no source."""

_LINK = re.compile(r"(?<=\]\()(\.\./[^)#\s]*)(?=[)#])")
_MADE = re.compile(r"^<!-- made: (\w+) -->$", re.MULTILINE)
_LANGUAGES = {".py": "python", ".yaml": "yaml", ".toml": "toml", ".md": "markdown", ".txt": "text"}


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add a page for each source file that a page links to."""
    pages = list(files.documentation_pages())
    for inside in sorted({path for page in pages for path in _linked(page)}):
        if inside not in FRONT:
            source = (ROOT / inside).read_text(encoding="utf-8")
            files.append(
                File.generated(config, f"source/{inside}.md", content=_shown(inside, source))
            )
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links at the pages of the site, and fill in what is made of the code."""
    uri = page.file.src_uri
    if uri.startswith("source/"):
        return markdown
    markdown = _LINK.sub(lambda link: _on_site(uri, link[1]), markdown)
    return _MADE.sub(lambda made: MAKERS[made[1]](), markdown)


def _linked(page: File) -> Iterator[str]:
    """The files outside of docs/ that a page links to, from the root of the repository."""
    for link in _LINK.findall(page.content_string):
        inside = _inside(page.src_uri, link)
        if inside is not None:
            yield inside


def _inside(uri: str, link: str) -> str | None:
    """A link's file, from the root of the repository; None where it is none, or of docs/."""
    path = os.path.normpath(ROOT / "docs" / Path(uri).parent / link)
    inside = Path(path).relative_to(ROOT).as_posix() if Path(path).is_relative_to(ROOT) else "docs"
    return inside if Path(path).is_file() and not inside.startswith("docs/") else None


def _on_site(uri: str, link: str) -> str:
    """The same link between pages of the site."""
    inside = _inside(uri, link)
    if inside is None:
        return link
    target = FRONT.get(inside, f"source/{inside}.md")
    return os.path.relpath(target, Path(uri).parent).replace(os.sep, "/")


def _shown(inside: str, source: str) -> str:
    """A page with a file's source; the search leaves it out."""
    language: Any = _LANGUAGES.get(Path(inside).suffix, "text")
    fence = "`" * 8
    return (
        f"---\nsearch:\n  exclude: true\n---\n\n# {inside}\n\n"
        f"{fence}{language}\n{source.rstrip()}\n{fence}\n"
    )
