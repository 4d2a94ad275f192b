"""The runs of a benchmark: made one by one, kept in a file, read back for the tables."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from quality.clock import Run


@dataclass(frozen=True, kw_only=True)
class Case:
    """What every method of a table is run on."""

    problem: str
    workers: int
    budget: float
    """T, in full trainings (R)."""
    sigma: float = 0.0
    """Of the noise on costs; see `Stragglers`."""

    def __str__(self) -> str:
        noise = f", stragglers {self.sigma:g}" if self.sigma else ""
        many = "workers" if self.workers > 1 else "worker"
        return f"{self.problem}, {self.workers} {many}, T = {self.budget:g} R{noise}"


@dataclass
class Results:
    """Runs by case and method, one for each seed in order."""

    runs: dict[Case, dict[str, list[Run]]] = field(default_factory=dict)

    def add(self, case: Case, method: str, run: Run) -> None:
        """Keep the next seed's run."""
        self.runs.setdefault(case, {}).setdefault(method, []).append(run)

    def of(self, case: Case) -> Mapping[str, Sequence[Run]]:
        """By method."""
        return self.runs.get(case, {})

    def count(self, case: Case, method: str) -> int:
        """How many seeds there are."""
        return len(self.of(case).get(method, ()))

    def cases(self, problem: str | None = None, *, sigma: float = 0.0) -> Iterator[Case]:
        """The cases, of one problem where it is named."""
        for case in self.runs:
            if problem in (None, case.problem) and case.sigma == sigma:
                yield case


def write(path: Path, case: Case, method: str, run: Run) -> None:
    """Append a run to a file of one JSON object a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps({"case": asdict(case), "method": method, "run": asdict(run)}) + "\n")


def read(path: Path) -> Results:
    """The runs of a file that `write` wrote."""
    results = Results()
    for line in path.read_text().splitlines():
        record = json.loads(line)
        results.add(Case(**record["case"]), record["method"], Run(**record["run"]))
    return results
