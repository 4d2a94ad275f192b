"""The parts of the reference that are made of the code when the site is built.

Each of `MAKERS` gives Markdown: the commands from their parsers, the keys of `hydra.sweeper` from
the schema, the searchers' and schedulers' options from both, the bundled app's configs from conf/.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import re
from argparse import ArgumentParser
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from griffe import Docstring, DocstringSectionKind

from hydra_plugins.ray_tune_sweeper import _schema
from sweeps.cli import _VERBS
from sweeps.commands.verb import Verb
from sweeps.schedulers import SCHEDULERS
from sweeps.searchers import SEARCHERS

ROOT = Path(__file__).resolve().parents[1]


def commands() -> str:
    """The command line, a section a verb."""
    return "\n\n".join(_command(name, verb) for name, verb in _VERBS.items())


def sweeper() -> str:
    """The keys of `hydra.sweeper` with their defaults."""
    chosen = {"`searcher`": "`tpe`", "`scheduler`": "`none`"}
    rows = [
        (key, chosen.get(key, default), said) for key, default, said in schema_rows("RayTuneConf")
    ]
    return _table(("key", "default", "what it is"), rows)


def searchers() -> str:
    """Every searcher with its options."""
    return _choices("searcher", SEARCHERS)


def schedulers() -> str:
    """Every scheduler with its options."""
    return _choices("scheduler", SCHEDULERS)


def configs() -> str:
    """The bundled app's configs: a section a group, a table a file."""
    groups = sorted({file.parent.name for file in (ROOT / "conf").glob("*/*.yaml")})
    parts = [_config("train", ROOT / "conf" / "train.yaml")]
    for group in groups:
        files = sorted((ROOT / "conf" / group).glob("*.yaml"))
        parts += [f"## {group}", *(_config(f"{group}={file.stem}", file) for file in files)]
    return "\n\n".join(parts)


def decisions() -> str:
    """A list of the decisions' pages."""
    pages = sorted((ROOT / "docs" / "adr").glob("[0-9]*.md"))
    titles = [page.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ") for page in pages]
    return "\n".join(f"- [{title}]({page.name})" for title, page in zip(titles, pages, strict=True))


MAKERS: Mapping[str, Callable[[], str]] = {
    "commands": commands,
    "sweeper": sweeper,
    "searchers": searchers,
    "schedulers": schedulers,
    "configs": configs,
    "decisions": decisions,
}


# The command line


class _Filled(Exception):  # noqa: N818 - no error
    """A verb has said all of its flags."""


def filled_parser(name: str, verb: Verb) -> ArgumentParser:
    """A verb's parser with its flags: the verb adds them when it runs, and is stopped then."""
    parser = verb.parser(name)

    def stop(*_: Any) -> Any:
        raise _Filled

    for method in ("parse_args", "parse_known_args", "print_help"):
        setattr(parser, method, stop)
    try:
        verb.run(parser, ["--help"])
    except _Filled:
        return parser
    raise AssertionError(f"caviar {name} --help parses nothing")


def _command(name: str, verb: Verb) -> str:
    parser = filled_parser(name, verb)
    actions = [a for a in parser._actions if a.help is not argparse.SUPPRESS]  # no public list
    rows = [(f"`{_spelled(action)}`", action.help or "") for action in actions]
    flags = [_table(("argument", "what it is"), rows)] if rows else []
    return "\n\n".join(
        [
            f"## caviar {name}",
            _sentence(verb.summary),
            _fence("console", f"$ caviar {name} {verb.usage}"),
            verb.about,
            *flags,
            _fence("console", "\n".join(f"$ caviar {name} {e}".rstrip() for e in verb.examples)),
        ]
    )


def _spelled(action: argparse.Action) -> str:
    """`-o FILE, --output FILE`, as the help has it."""
    if not action.option_strings:
        return str(action.metavar or action.dest)
    names = ", ".join(action.option_strings)
    if action.nargs == 0:
        return names
    value = action.metavar or (
        "|".join(map(str, action.choices)) if action.choices else action.dest.upper()
    )
    return f"{names} {value}"


# hydra.sweeper


def schema_rows(name: str) -> list[tuple[str, str, str]]:
    """(key, default, what it is) of a class of the schema: its fields, with their docstrings."""
    (tree,) = (
        node
        for node in ast.parse(inspect.getsource(_schema)).body
        if isinstance(node, ast.ClassDef) and node.name == name
    )
    hidden = {"defaults", "_target_", "_recursive_"} if name == "RayTuneConf" else {"name"}
    rows = []
    for place, node in enumerate(tree.body):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            key = node.target.id
            if key not in hidden:
                rows.append((f"`{key}`", _default(node.value), _documented(tree.body[place + 1 :])))
    return rows


def _default(node: ast.expr | None) -> str:
    """A field's default as a config shows it."""
    text = ast.unparse(node) if node is not None else ""
    if text == "MISSING":
        return "to be given"
    made = re.search(r"default_factory=(?:lambda: )?(.*)\)$", text)
    text = {"list": "[]", "dict": "{}"}.get(made[1], made[1]) if made else text
    return {"None": "", "True": "`true`", "False": "`false`"}.get(text, f"`{text.strip(chr(39))}`")


def _documented(rest: Iterable[ast.stmt]) -> str:
    """The docstring that follows a field."""
    node = next(iter(rest), None)
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return inspect.cleandoc(str(node.value.value))
    return ""


def _choices(part: str, table: Mapping[str, Callable[..., Any]]) -> str:
    schemas = {schema.name: schema for schema in vars(_schema)[f"_{part.upper()}S"]}
    return "\n\n".join(_choice(part, name, table[name], schemas[name]) for name in sorted(table))


def _choice(part: str, name: str, factory: Callable[..., Any], schema: Any) -> str:
    words, options = _parsed(factory)
    rows = [
        (key, default, options.get(key.strip("`"), ""))
        for key, default, _ in schema_rows(schema.__name__)
    ]
    header = (f"under `hydra.sweeper.{part}`", "default", "what it is")
    shown = _table(header, rows) if rows else "It has no options."
    module = inspect.getdoc(inspect.getmodule(factory)) or ""
    return "\n\n".join(
        [
            f"## {part} {name} {{ #{part}-{name} }}",
            f"`hydra/sweeper/{part}={name}`: {module.partition(chr(10) * 2)[0]}",
            *words,
            shown,
            f"What it does, with its formula and paper: [{name}](../{part}s.md#{name}).",
        ]
    )


def _parsed(factory: Callable[..., Any]) -> tuple[list[str], dict[str, str]]:
    """A docstring's words, and what it says of each argument."""
    words: list[str] = []
    options: dict[str, str] = {}
    for section in Docstring(inspect.getdoc(factory) or "").parse("google", warnings=False):
        if section.kind is DocstringSectionKind.text:
            words.append(section.value)
        elif section.kind is DocstringSectionKind.parameters:
            options.update({given.name: given.description for given in section.value})
    return words, options


# conf/


def _config(title: str, file: Path) -> str:
    """A config file's command, and the file, whose comments say what its keys are."""
    head, _, body = (
        file.read_text(encoding="utf-8").removeprefix("# @package _global_\n").partition("\n")
    )
    return "\n\n".join(
        [f"### {title}", _fence("console", f"$ {head.lstrip('# ')}"), _fence("yaml", body.strip())]
    )


# Markdown


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join(_row(line) for line in lines)


def _row(cells: tuple[str, ...]) -> str:
    flat = (" ".join(cell.split()).replace("|", r"\|") for cell in cells)
    return f"| {' | '.join(flat)} |"


def _fence(language: str, text: str) -> str:
    return f"```{language}\n{text}\n```"


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."
