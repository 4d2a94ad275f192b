"""Of a model card: what the model is for, what it learned from, and how others like it did."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from omegaconf import DictConfig, OmegaConf

from sweeps import render
from sweeps.export.markdown import table
from sweeps.export.signature import Signature
from sweeps.export.writing import Facts
from sweeps.retest.results import read_retest
from sweeps.storage.folder import SweepFolder

_SHOWN = 20


def task_section(signature: Signature) -> str:
    """What goes in, and what comes out."""
    text = [column for column in signature.columns if column.encoding != "number"]
    shape = ", ".join(("n", *map(str, signature.shape)))
    rows = [
        ("task", signature.task),
        ("input", f"raw numeric rows `[{shape}]`, {signature.dtype}"),
        ("features", _names(signature.features)),
        ("output", "probabilities" if signature.task == "classification" else "values"),
        ("classes" if signature.task == "classification" else "outputs", _names(signature.outputs)),
    ]
    if text:
        rows.append(("columns of text", _names([column.name for column in text])))
    if signature.missing is not None:
        rows.append(("missing values", signature.missing))
    scaling = (
        "Scaling is part of the model. `signature.json` has the whole of this table, and the "
        "categories of each column of text."
    )
    return f"## Task\n\n{table(('', ''), rows)}\n\n{scaling}"


def _names(names: Iterable[str]) -> str:
    every = list(names)
    more = f", ... ({len(every)})" if len(every) > _SHOWN else ""
    return ", ".join(f"`{name}`" for name in every[:_SHOWN]) + more


def data_section(config: DictConfig, facts: Facts) -> Iterator[str]:
    """The config's own words for the data, where it has a group of that name."""
    data = OmegaConf.to_container(config.data) if OmegaConf.is_dict(config.get("data")) else None
    if not isinstance(data, dict):
        return
    rows = [(f"`{key!s}`", f"`{value!s}`") for key, value in data.items() if _is_said(value)]
    for split, of in facts.intervals.items():
        for interval in list(of.values())[:1]:
            rows.append((f"{split} rows", str(interval.rows)))
    yield f"## Data\n\n{table(('', ''), rows)}"


def _is_said(value: Any) -> bool:
    return value is not None and value != []


def retest_section(folder: SweepFolder) -> Iterator[str]:
    """How the best configurations did with other seeds, where that was tried."""
    retest = read_retest(folder)
    if retest is None:
        return
    rows = [
        (
            str(of.trial),
            render.number(of.entry.value),
            render.number(of.mean),
            render.number(of.spread),
            "" if of.interval is None else " to ".join(map(render.number, of.interval)),
            "" if of.chance is None else f"{of.chance:.0%}",
            str(len(of.values)),
        )
        for of in retest.configurations
    ]
    header = ("trial", "in the sweep", "mean", "spread", "95%", "is the best", "seeds")
    yield (
        f"## Retest\n\nThe best configurations, trained again with other seeds "
        f"({retest.ended} of {retest.total} runs): {retest.objective.metric}.\n\n"
        f"{table(header, rows)}"
    )
