"""Search quality: whole sweeps on recorded problems, beside Optuna, Ray Tune and Syne Tune.

    python benchmarks/search_quality.py [--full] [--data DIR] [--resume]
        [--problems NAME ...] [--workers N ...] [--methods NAME ...]
    python benchmarks/search_quality.py --tables

Everything runs on one simulated clock over the same curves; what the tables' words mean stands in
`quality/__init__.py`. The data folder holds `nb301/` (learning curves of 98 epochs, through
onnxruntime) and `hpo_tables/` (final scores); it is `--data`, else $CAVIAR_DATA, else `shared/data`
beside the checkout. Without it there is nothing to run, and that is said. onnxruntime and syne-tune
come with the extra `bench`; whoever lacks what he needs is left out, with the reason.

Every run is kept in `outputs/search_quality/runs.jsonl`; `--tables` prints the tables again from
there, and `--resume` runs only what is missing. A full run takes hours.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from quality.figures import write_figures
from quality.plan import FULL, QUICK, Plan
from quality.problems import Missing, Problem, Stragglers, nb301, tables
from quality.report import show, write_csv
from quality.results import Case, Results, read, write
from rich.console import Console
from rich.progress import Progress

ROOT = Path(__file__).resolve().parents[1]
console = Console(width=None if sys.stdout.isatty() else 170)


def load_problems(data: Path) -> dict[str, Problem]:
    """Those whose data and libraries are here; for the others the reason is printed."""
    problems: dict[str, Problem] = {}
    for load in (lambda: [nb301(data)], lambda: tables(data)):
        try:
            problems |= {problem.name: problem for problem in load()}
        except Missing as reason:
            console.print(f"[yellow]left out:[/] {reason}")
    return problems


def run_all(
    plan: Plan,
    problems: dict[str, Problem],
    results: Results,
    path: Path,
    wanted: Callable[[Case, str], bool],
) -> None:
    """Run what the results lack, and keep each run."""
    lacking = set[str]()
    todo = [
        (problem, case, name, method, seed)
        for seed in range(plan.seeds)
        for problem in problems.values()
        for case in plan.cases(problem)
        for name, method in plan.methods(problem, case)
        if wanted(case, name) and seed >= results.count(case, name)
    ]
    with Progress(console=console) as progress:
        task = progress.add_task("", total=len(todo))
        for problem, case, name, method, seed in todo:
            progress.update(task, description=f"{case}: {name}")
            if name not in lacking:
                try:
                    method.check()
                    run = method.run(
                        problem,
                        workers=case.workers,
                        seconds=case.budget * problem.seconds,
                        stragglers=Stragglers(case.sigma, seed),
                        seed=seed,
                    )
                except Missing as reason:
                    progress.console.print(f"[yellow]left out:[/] {name}: {reason}")
                    lacking.add(name)
                else:
                    results.add(case, name, run)
                    write(path, case, name, run)
            progress.advance(task)


def _wanted(given: argparse.Namespace) -> Callable[[Case, str], bool]:
    def wanted(case: Case, method: str) -> bool:
        return (
            (not given.problems or case.problem in given.problems)
            and (not given.workers or case.workers in given.workers)
            and (not given.methods or method in given.methods)
        )

    return wanted


def main() -> None:
    """Run, print the tables, write them down."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="all workers, tables and seeds")
    parser.add_argument("--data", type=Path, help="the folder that holds nb301/ and hpo_tables/")
    parser.add_argument("--out", type=Path, default=ROOT / "outputs" / "search_quality")
    for what, kind in (("problems", str), ("workers", int), ("methods", str)):
        parser.add_argument(f"--{what}", nargs="+", type=kind, help=f"run these {what} alone")
    parser.add_argument("--resume", action="store_true", help="keep the runs there are")
    parser.add_argument("--tables", action="store_true", help="run nothing")
    given = parser.parse_args()
    data = given.data or Path(os.environ.get("CAVIAR_DATA") or ROOT.parent / "shared" / "data")
    problems = load_problems(data)
    if not problems:
        return
    path = given.out / "runs.jsonl"
    keep = given.resume or given.tables
    results = read(path) if keep and path.exists() else Results()
    if not given.tables:
        if not keep:
            path.unlink(missing_ok=True)
        run_all(FULL if given.full else QUICK, problems, results, path, _wanted(given))
    rows = show(results, problems, console)
    write_csv(rows, given.out / "tables.csv")
    write_figures(results, problems, given.out)
    console.print(f"runs, tables and figures are in {given.out}")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
