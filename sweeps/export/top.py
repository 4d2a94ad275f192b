"""The best few trials of a sweep, a folder each, with an index."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sweeps import render
from sweeps.export.best import write_trial
from sweeps.export.formats import WEIGHTS, Formats
from sweeps.export.markdown import table
from sweeps.export.place import INDEX, hold, replacing
from sweeps.export.ranking import best_trials
from sweeps.export.result import ExportResult
from sweeps.export.trained import TrainedTrial
from sweeps.export.writing import Say
from sweeps.storage.folder import SweepFolder


@dataclass(frozen=True, kw_only=True)
class TopResult:
    """What was exported, best first."""

    folder: Path
    shown: str
    """Where a user finds it."""
    exports: tuple[ExportResult, ...]


def export_top(
    folder: SweepFolder,
    *,
    count: int,
    out: Path | None = None,
    formats: Formats = WEIGHTS,
    say: Say = lambda text: None,
) -> TopResult:
    """Export the best `count` trials, each as `export_best` does, and an index of them.

    Of the first alone the test metrics are told: whoever chose among several by them would have no
    test data left. An export of one trial tells its own.

    Args:
        folder: The sweep.
        count: How many of the best trials.
        out: The folder to write; `top/` of the sweep where it is not given.
        formats: What to write beside the weights.
        say: Told what is being done.

    Raises:
        ConfigError: `out` holds something else than exports.
        SweepError: Fewer trials have a value or a checkpoint, or one of them cannot be exported.
            Nothing was replaced.
    """
    place = (out or folder.top).resolve()

    def find() -> list[TrainedTrial]:
        return best_trials(folder, count, flag="--top")

    with replacing(place) as partial, hold(find, place) as top:
        partial.mkdir(parents=True)
        exports = []
        for rank, trained in enumerate(top, start=1):
            name = f"{rank}-trial-{trained.trial.number}"
            of_all = _counted(say, rank, count)
            written = write_trial(
                trained,
                partial / name,
                place / name,
                formats=formats,
                say=of_all,
                is_tested=rank == 1,
            )
            exports.append(replace(written, shown=folder.shown(written.folder)))
        _write_index(partial, top, exports)
    folder.push_folder(place, last=INDEX)
    return TopResult(folder=place, shown=folder.shown(place), exports=tuple(exports))


def _counted(say: Say, rank: int, count: int) -> Say:
    return lambda text: say(f"{rank} of {count}: {text}")


def _write_index(
    folder: Path, top: Sequence[TrainedTrial], exports: Sequence[ExportResult]
) -> None:
    """Write README.md and index.json."""
    sweep = top[0].sweep
    metric = sweep.objective.metric
    lines = [
        {"folder": result.folder.name, **_line(trained, result)}
        for trained, result in zip(top, exports, strict=True)
    ]
    rows = [
        (
            f"[{line['folder']}]({line['folder']}/README.md)",
            render.number(line["value"]),
            *(f"`{name}={value}`" for name, value in line["parameters"].items()),
        )
        for line in lines
    ]
    header = ("export", metric, *([""] * (max(map(len, rows)) - 2)))
    text = f"# {sweep.record.name}, the {len(top)} best trials\n\n{table(header, rows)}\n"
    (folder / "README.md").write_text(text, encoding="utf-8")
    about = {"sweep": sweep.record.name, "metric": metric, "mode": sweep.objective.mode}
    index = json.dumps({**about, "exports": lines}, indent=2, allow_nan=False)
    (folder / INDEX).write_text(f"{index}\n", encoding="utf-8")


def _line(trained: TrainedTrial, result: ExportResult) -> dict[str, Any]:
    return {
        "trial": result.trial,
        "value": trained.trial.value,
        "verified": result.verified,
        "parameters": trained.sweep.values(trained.trial),
        "test": result.test,
    }
