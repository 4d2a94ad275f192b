"""Figures: mean regret over time, one SVG for each problem with curves and number of workers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np

from quality.clock import Run
from quality.measures import regrets
from quality.problems import Problem
from quality.results import Case, Results

_WIDTH, _HEIGHT, _LEFT, _TOP, _LEGEND = 620, 420, 60, 40, 190
_POINTS = 120
_COLORS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b", "#e377c2", "#17becf")
_DASHES = ("", "6 3", "2 2")


def write_figures(results: Results, problems: Mapping[str, Problem], folder: Path) -> None:
    """Write them all."""
    for case in results.cases():
        problem = problems[case.problem]
        if problem.max_t > 1:
            path = folder / f"regret_{case.problem}_{case.workers}.svg"
            path.write_text(_figure(case, results.of(case), problem))


def _figure(case: Case, by: Mapping[str, Sequence[Run]], problem: Problem) -> str:
    times = np.geomspace(0.03, 1.0, _POINTS)
    lines = {
        method: [
            float(np.mean(regrets(runs, problem, t * case.budget * problem.seconds))) for t in times
        ]
        for method, runs in by.items()
    }
    low = min(map(min, lines.values()))

    def x(t: float) -> float:
        return _LEFT + _WIDTH * float(np.log(t / times[0]) / np.log(1 / times[0]))

    def y(regret: float) -> float:
        return _TOP + _HEIGHT * (1 - regret) / (1 - low)

    parts = [_text(_LEFT, 22, f"{case}: mean regret of {len(next(iter(by.values())))} seeds", 15)]
    for t in (0.03, 0.1, 1 / 3, 1.0):
        parts.append(_line(x(t), _TOP, x(t), _TOP + _HEIGHT))
        parts.append(_text(x(t) - 14, _TOP + _HEIGHT + 18, f"{t * case.budget:.2g} R"))
    for regret in np.linspace(low, 1.0, 6):
        parts.append(_line(_LEFT, y(regret), _LEFT + _WIDTH, y(regret)))
        parts.append(_text(12, y(regret) + 4, f"{regret:.2f}"))
    ranked = sorted(lines.items(), key=lambda item: -item[1][-1])
    for i, (method, values) in enumerate(ranked):
        style = f'stroke="{_COLORS[i % 8]}" stroke-dasharray="{_DASHES[i // 8]}"'
        points = " ".join(f"{x(t):.1f},{y(v):.1f}" for t, v in zip(times, values, strict=True))
        parts.append(f'<polyline points="{points}" fill="none" stroke-width="1.8" {style}/>')
        beside, at = _LEFT + _WIDTH + 12, _TOP + 12 + 18 * i
        parts.append(f'<path d="M{beside} {at}h24" stroke-width="2" {style}/>')
        parts.append(_text(beside + 30, at + 4, method))
    size = f'width="{_LEFT + _WIDTH + _LEGEND}" height="{_TOP + _HEIGHT + 36}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif">',
            '<rect width="100%" height="100%" fill="white"/>',
            *parts,
            "</svg>\n",
        ]
    )


def _text(x: float, y: float, words: str, size: int = 12) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}">{escape(words)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<path d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}" stroke="#ddd"/>'
