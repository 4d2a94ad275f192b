"""The commands of the tutorial, the how-to pages and the README run as they are written."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, ROOT, Block, blocks
from tests.metadata import put_metadata

PAGES = (
    "tutorial",
    "your_app",
    "your_trackers",
    "plain_torch",
    "hugging_face",
    "lightning",
    "early_stopping",
    "resume",
    "searching",
    "networks",
    "clusters",
    "storage",
    "tables",
    "report",
    "tracking",
    "export",
    "retest",
    "reproduce",
    "experiment_file",
    "repeats",
    "from_optuna_sweeper",
    "from_wandb_sweeps",
    "from_ray_tune",
)
RUN = [ROOT / "README.md", *(DOCS / f"{name}.md" for name in PAGES)]
CHECKOUT = ("conf", "examples", "sweeps", "models", "cluster", "hydra_plugins", "pyproject.toml")
LIMIT_S = 1500
SKIPPED = {
    "make ": "sets up an environment, which takes gigabytes",
    "pip install": "the same",
    "python app.py": "docs/your_app.md has such an app",
    "--cluster gpus": "needs a cluster",
    "logs -f app-ann": "needs a cluster",
    "--cluster process": "docs/clusters.md does, and waits for its end",
    "data.path=": "needs data from elsewhere",
}
"""Of the README: what a command has in it that is not run, and why."""


def script(page: Path) -> str:
    """A page's files and commands, in order, as a script that ends at the first that goes wrong."""
    return "\n".join(
        ["set -euo pipefail", *(step for block in blocks(page) for step in _steps(block))]
    )


def _steps(block: Block) -> list[str]:
    if block.not_run:
        return []
    if block.title:
        folder = shlex.quote(str(Path(block.title).parent))
        text = f"{block.text}\n"
        return [f"mkdir -p {folder}", f"printf %s {shlex.quote(text)} > {shlex.quote(block.title)}"]
    skipped = SKIPPED if block.page.name == "README.md" else {}
    commands = [c for c in block.commands if not any(part in c for part in skipped)]
    said = [f"echo {shlex.quote(f'{block} $ {command}')}" for command in commands]
    done = [*commands[:-1], *(_ends_with(block.exits, c) for c in commands[-1:])]
    return [step for pair in zip(said, done, strict=True) for step in pair]


def _ends_with(code: int, command: str) -> str:
    return f"ended=0; {command} || ended=$?; test $ended = {code}" if code else command


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what a checkout holds."""
    root = tmp_path / "caviar"
    root.mkdir()
    for name in CHECKOUT:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, root / name)
    return root


@pytest.fixture
def environment(tmp_path: Path, checkout: Path) -> dict[str, str]:
    """An activated environment's, in which that checkout is installed; and an own home."""
    commands, home = tmp_path / "bin", tmp_path / "home"
    for folder in (commands, home):
        folder.mkdir()
    for name, arguments in (("caviar", "-m sweeps.cli"), ("python", "")):
        (commands / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments} "$@"\n')
        (commands / name).chmod(0o755)
    hidden = ("XDG_", "PYTHON", "AWS_")
    own = {key: value for key, value in os.environ.items() if not key.startswith(hidden)}
    path = f"{commands}{os.pathsep}{os.environ['PATH']}"
    put_metadata(checkout)
    return {**own, "PATH": path, "HOME": str(home), "PYTHONPATH": str(checkout)}


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN, ids=lambda page: page.stem)
def test_a_pages_commands_run_in_order(
    page: Path, checkout: Path, environment: dict[str, str]
) -> None:
    process = subprocess.Popen(
        ["bash", "-c", script(page)],
        cwd=checkout,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=LIMIT_S)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    print(output)
    assert process.returncode == 0, output[-4000:]


def test_what_is_not_run_says_why() -> None:
    reasons = {str(block): block.not_run for page in RUN for block in blocks(page) if block.not_run}
    assert all(len(reason.split()) > 2 for reason in reasons.values()), reasons


@pytest.mark.parametrize("page", RUN, ids=lambda page: page.stem)
def test_commands_stand_in_blocks_that_are_run(page: Path) -> None:
    """A block in another language, or in none, would not be run."""
    others = [b for b in blocks(page) if b.language in ("", "bash", "sh", "shell")]
    assert not [str(block) for block in others if "caviar " in block.text]


def test_a_page_of_commands_has_commands() -> None:
    empty = [
        page.name for page in RUN if not any(b.commands and not b.not_run for b in blocks(page))
    ]
    assert not empty


def test_files_commands_and_exits_become_a_script(tmp_path: Path) -> None:
    page = ROOT / "docs" / "made-up.md"
    text = """
```python title="a/app.py"
print("it's")
```
<!-- not run: needs a cluster -->
```console
$ caviar submit
```
<!-- exits 3 -->
```console
$ python a/app.py \\
    more
it's
$ sh -c 'exit 3'
```
"""
    made = tmp_path / page.name
    made.write_text(text)
    found = [Block(**{**vars(block), "page": page}) for block in blocks(made)]
    steps = [step for block in found for step in _steps(block)]
    done = subprocess.run(
        ["bash", "-c", "\n".join(["set -e", *steps])], cwd=tmp_path, capture_output=True, text=True
    )
    assert "submit" not in done.stdout
    assert done.stdout.count("it's\n") == 1
    assert done.returncode == 0

    other = "\n".join(["set -e", *steps]).replace("exit 3", "exit 4")
    assert subprocess.run(["bash", "-c", other], cwd=tmp_path, capture_output=True).returncode != 0
