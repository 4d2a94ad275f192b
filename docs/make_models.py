"""Write docs/models.md: what is in models/, a line a file, from the files' own docstrings.

    python docs/make_models.py

The idea is the docstring's first sentence, the names are those that `models` exports, and the
sources are the papers that the docstrings name.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "models.md"

INTRO = """\
# What is in models/

Torch networks and their training, an idea a file: read the file for the formula. Nothing here knows
of sweeps: a config names a class by `_target_`, and its arguments are the config's options, so that
every one can be searched. `from models import ...` gives the names below.

This page is made from the files' docstrings by `python docs/make_models.py`.
"""
SECTIONS = {
    "networks": ("Networks", "They take inputs `[n, *shape]` and return logits: `model=NAME`."),
    "layers": ("Layers", "What networks are built of; norms, activations and inits by name."),
    "training": ("Training", "From a config's parts to the best epoch, and several models as one."),
    "data": ("Data", "From files to tensors: read, split, scaled, in memory or as a stream."),
}

_NAME = r"[A-Z][\w'-]+"
_CITED = re.compile(rf"{_NAME}(?:, {_NAME})*(?: and {_NAME}| et al\.)? (?:19|20)\d\d\b")
_ARXIV = re.compile(r"arXiv:(\d{4}\.\d{4,5})")
_NEAR = 80


def page() -> str:
    """The whole page."""
    exported = set(_exported())
    sections = [_section(name, exported) for name in SECTIONS]
    return "\n".join([INTRO, *sections])


def _section(name: str, exported: set[str]) -> str:
    title, about = SECTIONS[name]
    files = [f for f in sorted((ROOT / "models" / name).rglob("*.py")) if f.name != "__init__.py"]
    rows = "\n".join(_row(file, exported) for file in files)
    table = f"| idea | in `models` | file | source |\n|---|---|---|---|\n{rows}\n"
    return f"## {title}\n\n{about}\n\n{table}"


def _row(file: Path, exported: set[str]) -> str:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    idea = (ast.get_docstring(tree) or "").partition("\n\n")[0]
    idea = " ".join(idea.split()).removesuffix(".").replace("|", r"\|")
    names = ", ".join(f"`{name}`" for name in _defined(tree) if name in exported)
    inside = file.relative_to(ROOT / "models").as_posix()
    sources = "; ".join(dict.fromkeys(_sources(tree)))
    return f"| {idea} | {names} | [{inside}](../models/{inside}) | {sources} |"


def _exported() -> list[str]:
    tree = ast.parse((ROOT / "models" / "__init__.py").read_text(encoding="utf-8"))
    (listed,) = (node for node in tree.body if isinstance(node, ast.Assign))
    return [str(name) for name in ast.literal_eval(listed.value)]


def _defined(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            yield node.name


def _sources(tree: ast.Module) -> Iterator[str]:
    """The papers that the docstrings name, linked where they say where."""
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            text = " ".join((ast.get_docstring(node) or "").split())
            for match in _CITED.finditer(text):
                near = text[match.end() : match.end() + _NEAR]
                place = _ARXIV.search(_CITED.split(near)[0])
                found[match[0]] = found.get(match[0]) or (place[1] if place else "")
    for paper, number in found.items():
        yield f"[{paper}](https://arxiv.org/abs/{number})" if number else paper


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
