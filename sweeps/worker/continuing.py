"""The checkpoint's path in the config of an app that takes one: `hydra.sweeper.checkpoint_key`.

Nothing that is recorded of the trial knows of it: it is set in the config that the task gets, and
`.hydra/continued.yaml` says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import yaml
from omegaconf import DictConfig

from sweeps.planning.overriding import set_value

_FILE = "continued.yaml"


def continued(key: str | None, checkpoint: Path | None) -> dict[str, str]:
    """What a segment sets in its config besides; nothing at a fresh start."""
    return {} if key is None or checkpoint is None else {key: str(_within(checkpoint))}


def _within(checkpoint: Path) -> Path:
    """What `trainer.fit(ckpt_path=...)` or `torch.load` take: the file, where there is but one."""
    found = list(checkpoint.iterdir())
    return found[0] if len(found) == 1 and found[0].is_file() else checkpoint


def set_all(values: Mapping[str, str], *configs: DictConfig) -> None:
    """Set values in all of the configs, of which the first has the `hydra` node."""
    for config in configs:
        for key, value in values.items():
            set_value(config, key, value)


def note(values: Mapping[str, str], folder: Path) -> None:
    """Write beside the job's config what its newest segment set besides."""
    if values:
        folder.mkdir(parents=True, exist_ok=True)
        text = yaml.safe_dump(
            {key.lstrip("+"): value for key, value in values.items()}, allow_unicode=True
        )
        (folder / _FILE).write_text(text, encoding="utf-8")
