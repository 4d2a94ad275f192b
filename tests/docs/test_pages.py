"""What the documentation names is there: commands, flags, keys, choices, files and anchors."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra._internal.utils import get_args_parser

from docs import site_reference
from hydra_plugins.ray_tune_sweeper import _schema
from sweeps.cli import _VERBS
from sweeps.schedulers import SCHEDULERS
from sweeps.searchers import SEARCHERS
from tests.docs.pages import DOCS, PAGES, ROOT, anchors, blocks, links, words_of_commands

PARTS = {"searcher": SEARCHERS, "scheduler": SCHEDULERS}
GROUPS = sorted(folder.name for folder in (ROOT / "conf").iterdir() if folder.is_dir())
PLACEHOLDERS = {"COMMAND", "VERB", "--help", "--version", "help"}
HYDRAS = {"train", "sweep", "submit", "resume"}
"""The verbs that pass on what is Hydra's."""

_KEY = re.compile(r"\bhydra\.sweeper\.([a-z_]+)(?:\.([a-z_]+))?")
_CHOICE = re.compile(rf"^({'|'.join(GROUPS)}|hydra/sweeper/(?:searcher|scheduler))=([\w,]+)$")
_MADE = re.compile(r"^<!-- made: (\w+) -->$", re.MULTILINE)


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def flags_of(verb: str) -> set[str]:
    """What `caviar VERB --help` shows, and Hydra's own where they are passed on."""
    shown = site_reference.filled_parser(verb, _VERBS[verb]).format_help()
    hydras = get_args_parser().format_usage() if verb in HYDRAS else ""
    return set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", shown + hydras)) | {"-h", "--help"}


def keys_of(part: str) -> set[str]:
    schemas: list[Any] = vars(_schema)[f"_{part.upper()}S"]
    return {key for schema in schemas for key in vars(schema())} - {"name"}


def text_of(page: Path) -> str:
    """A page's text, but for the blocks that show what is refused."""
    text = page.read_text(encoding="utf-8")
    for block in blocks(page):
        text = text.replace(block.text, "") if block.exits else text
    return text


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_and_their_flags_exist(page: Path) -> None:
    wrong = []
    for where, words in words_of_commands(page):
        verb = words[1] if len(words) > 1 else "--help"
        if words and verb not in {*_VERBS, *PLACEHOLDERS} and re.fullmatch(r"[a-z-]+", verb):
            wrong.append(f"{where}: caviar {verb}")
        if verb in _VERBS:
            given = {w.partition("=")[0] for w in words[2:] if re.match(r"--?[a-z]", w)}
            wrong += [f"{where}: {flag}" for flag in given - flags_of(verb)]
    assert not wrong


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_keys_of_the_sweeper_exist(page: Path) -> None:
    top = set(vars(_schema.RayTuneConf(searcher=None, scheduler=None)))
    wrong = []
    for key, option in _KEY.findall(text_of(page)):
        if key not in top:
            wrong.append(f"hydra.sweeper.{key}")
        elif key in PARTS and option and option not in keys_of(key):
            wrong.append(f"hydra.sweeper.{key}.{option}")
    assert not wrong


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_yaml_under_hydra_sweeper_has_keys_that_exist(page: Path) -> None:
    top = set(vars(_schema.RayTuneConf(searcher=None, scheduler=None)))
    for block in blocks(page):
        is_of_another = "override hydra/sweeper: optuna" in block.text
        if block.language == "yaml" and not is_of_another:
            config = yaml.safe_load(block.text)
            sweeper = config.get("hydra", {}).get("sweeper", {}) if isinstance(config, dict) else {}
            assert set(sweeper) <= top, str(block)
            for part in PARTS:
                assert set(sweeper.get(part, {})) <= keys_of(part), str(block)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_choices_of_config_groups_exist(page: Path) -> None:
    wrong = []
    for where, words in words_of_commands(page):
        own_app = any(word.endswith(".py") or word == "-m" for word in words)
        for group, values in (found.groups() for w in words if (found := _CHOICE.match(w))):
            for value in values.split(","):
                part = group.rpartition("/")[2]
                if part in PARTS:
                    there = value in PARTS[part] or value == "NAME"
                else:
                    there = own_app or (ROOT / "conf" / group / f"{value}.yaml").exists()
                wrong += [] if there or value == "NAME" else [f"{where}: {group}={value}"]
    assert not wrong


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_to_files_and_anchors(page: Path) -> None:
    wrong = []
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in all_anchors(target)):
            wrong.append(link)
    assert not wrong


def all_anchors(page: Path) -> set[str]:
    """Those of what is made when the site is built, too."""
    made = _MADE.findall(page.read_text(encoding="utf-8"))
    headings = "\n".join(site_reference.MAKERS[name]() for name in made)
    found = re.findall(r"^#+ .*\{ #([\w-]+) \}$", headings, re.MULTILINE)
    plain = re.findall(r"^#+ ([^{\n]+)$", headings, re.MULTILINE)
    return anchors(page) | set(found) | {title.strip().lower().replace(" ", "-") for title in plain}


@pytest.mark.parametrize("part", PARTS)
def test_each_choice_is_explained_with_its_options_and_source(part: str) -> None:
    page = (DOCS / f"{part}s.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL))
    assert set(PARTS[part]) <= set(sections)
    schemas: list[Any] = vars(_schema)[f"_{part.upper()}S"]
    for schema in schemas:
        text = sections[schema.name]
        for word in ("**When**", "**Options**", "**Paper", *(("**Here**",) * (part == "searcher"))):
            assert word in text or schema.name == "random", (schema.name, word)
        inherited = "those of `" in text
        missing = [o for o in vars(schema()) if o != "name" and f"`{o}`" not in text]
        assert inherited or not missing, (schema.name, missing)


def test_each_key_of_the_schema_says_what_it_is() -> None:
    rows = site_reference.schema_rows("RayTuneConf")
    assert len(rows) == len(vars(_schema.RayTuneConf(searcher=None, scheduler=None))) - 3
    assert not [key for key, _, about in rows if not about.endswith(".")]


@pytest.mark.parametrize("part", PARTS)
def test_each_option_of_a_choice_says_what_it_is(part: str) -> None:
    made = site_reference.MAKERS[f"{part}s"]()
    options = re.findall(r"^\| `(\w+)` \| .*? \| (.*?) \|$", made, re.MULTILINE)
    assert len(options) > 10
    assert not [option for option, about in options if not about]


def test_each_command_is_in_the_reference_with_its_flags() -> None:
    made = site_reference.commands()
    for verb in _VERBS:
        assert f"## caviar {verb}\n" in made
    assert "| `--trial N` |" in made
    assert "| `-f, --follow` |" in made


def test_the_page_of_ideas_is_up_to_date() -> None:
    from docs import make_models

    assert (DOCS / "models.md").read_text(encoding="utf-8") == make_models.page()
