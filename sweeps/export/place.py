"""Where an export goes: it appears whole, in the place of an older one, or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from sweeps.errors import ConfigError, SweepError
from sweeps.export.trained import TrainedTrial
from sweeps.storage.checkpoints import held
from sweeps.storage.folder import EXPERIMENT

METRICS = "metrics.json"
"""The file that an export is known by."""
INDEX = "index.json"
"""The same of a folder of several exports."""


@contextmanager
def replacing(place: Path) -> Iterator[Path]:
    """A folder to make and to fill, which takes the place of an older export if all goes well.

    Raises:
        ConfigError: The place holds something else than an export.
        SweepError: It cannot be written.
    """
    _check_place(place)
    partial = place.with_name(f".{place.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        yield partial
        _replace(place, partial)
    except OSError as error:
        raise SweepError(f"nothing was exported to {place}: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _check_place(place: Path) -> None:
    if not place.exists():
        return
    is_export = any((place / mark).exists() for mark in (METRICS, INDEX))
    others = place.is_dir() and any(file.name != EXPERIMENT for file in place.iterdir())
    if not place.is_dir() or (others and not is_export):
        raise ConfigError(
            f"{place} holds something else than an export: choose another --out. "
            f"Nothing was replaced."
        )


def _replace(place: Path, partial: Path) -> None:
    """The experiment file that lies beside the best model stays."""
    old = place.with_name(f".{place.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if (place / EXPERIMENT).is_file():
        shutil.copy2(place / EXPERIMENT, partial / EXPERIMENT)
    if place.exists():
        place.rename(old)
    partial.rename(place)
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def hold(find: Callable[[], Sequence[TrainedTrial]], place: Path) -> Iterator[list[TrainedTrial]]:
    """What is found, with checkpoints that stay; of a running sweep, what has outdone it since.

    Args:
        find: Gives trials with a checkpoint each; asked again where one was deleted meanwhile.
        place: The checkpoints are held beside it.
    """
    with ExitStack() as stack:
        while True:
            try:
                trials = [stack.enter_context(_held(trained, place)) for trained in find()]
                break
            except FileNotFoundError:
                stack.close()
        yield trials


@contextmanager
def _held(trained: TrainedTrial, place: Path) -> Iterator[TrainedTrial]:
    assert trained.checkpoint is not None
    scratch = place.with_name(f".{place.name}.source-{trained.trial.number}")
    with held(trained.checkpoint, scratch) as checkpoint:
        yield replace(trained, checkpoint=checkpoint)
