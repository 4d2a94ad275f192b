"""What a sweep says at its end: the ten best, what it took, what failed, and how to go on."""

from __future__ import annotations

import os
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from cluster.bucket import is_url
from sweeps import render
from sweeps.core.bounds import by_name
from sweeps.core.budget import override_for_more
from sweeps.core.memory import ADVICE, OUT_OF_MEMORY
from sweeps.errors import headline
from sweeps.journal.status import BY_REQUEST, Status
from sweeps.journal.trials import Trial
from sweeps.results import SweepResults
from sweeps.results.effort import Trouble, effort, trouble

if TYPE_CHECKING:
    from sweeps.driver.incumbent import Again
    from sweeps.export import CombinedResult, ExportResult, TopResult

_TOP = 10
_FAILURES_SHOWN = 3


def final_report(
    sweep: SweepResults,
    *,
    console: Console,
    export: ExportResult | None = None,
    again: Again | None = None,
) -> None:
    """Print the summary of a sweep, over or interrupted.

    Args:
        sweep: What `load_sweep` read at the end.
        console: Where to; standard output, as `caviar results` prints there.
        export: What was exported, if anything was.
        again: What runs the best trial again, if that was made out.
    """
    if console.is_terminal:
        console.print()
    _print_table(sweep, _shown(sweep, _TOP), console)
    if failures := list(_failures(sweep)):
        console.print()
    for line in failures:
        console.print(render.hanging(line, console, indent=2))
    if len(sweep.trials):
        console.print()
    for line in _facts(sweep, export, again):
        console.print(render.hanging(line, console))
    for name, command in _commands(sweep, again):
        console.print(render.command(name, command, console))


def print_trials(
    sweep: SweepResults, *, top: int, console: Console, chosen: Sequence[Trial] | None = None
) -> None:
    """Print the first of the chosen trials, by default the best of all, and the totals."""
    shown = _shown(sweep, top) if chosen is None else chosen[:top]
    _print_table(sweep, shown, console)
    if shown:
        console.print()
    console.print(_totals(sweep))


def _shown(sweep: SweepResults, top: int) -> Sequence[Trial]:
    """The best trials; more where the Pareto front holds more."""
    return sweep.ranked()[: max(top, min(len(sweep.front), 2 * _TOP))]


def _print_table(sweep: SweepResults, shown: Sequence[Trial], console: Console) -> None:
    if shown:
        console.print(render.trials_table(sweep, shown, width=console.width))
    if sweep.front:
        front = f"{_trials(len(sweep.front))} on the Pareto front; "
        console.print(Text(f"\n{front}● is taken by {sweep.scalarization.name}", "dim"))


def print_export(export: ExportResult, *, console: Console) -> None:
    """Print what was exported, and how good it is."""
    for line in _export_facts(export):
        console.print(line)


def print_top(top: TopResult, *, console: Console) -> None:
    """What was exported of the best few trials."""
    console.print(render.fact("models", _short(top.shown)))
    for export in top.exports:
        console.print()
        for line in _export_facts(export):
            console.print(line)


def progress(sweep: SweepResults) -> Iterator[Text]:
    """How far a sweep is, in a few lines."""
    open_ = (Status.RUNNING, Status.PAUSED)
    done = sum(sweep.status(trial) not in open_ for trial in sweep.trials)
    yield render.fact("progress", Text(f"{done} of {sweep.num_samples} done  ") + _totals(sweep))
    if sweep.best is not None:
        yield render.fact("best", _best(sweep, sweep.best))
    yield render.fact("results", _results_command(sweep))


def _totals(sweep: SweepResults) -> Text:
    """All that was done, in a line."""
    several = f"{_trials(len(sweep.trials))}{': ' if len(sweep.trials) else ''}"
    counted = Text(several, "bold") + _counts(sweep)
    of_each = f", of each of {sweep.repeats} repeats" if sweep.repeats > 1 else ""
    spent = Text(f"{effort(sweep)}{of_each}" if sweep.trials.steps else "", "dim")
    elapsed = Text(render.duration(sweep.elapsed), "dim")
    return Text("  ").join(part for part in (counted, spent, elapsed, _ending(sweep)) if part)


def _counts(sweep: SweepResults) -> Text:
    return render.counts(Counter(map(sweep.status, sweep.trials)))


def _ending(sweep: SweepResults) -> Text:
    """How the sweep ended, unless it goes on, or is simply done."""
    closed, trials = sweep.trials.closed, list(sweep.trials)
    if closed is None:
        return Text()
    if not sweep.is_over:
        return Text(closed.reason, "yellow")
    if trials and all(trial.run < sweep.trials.run for trial in trials):
        return Text(f"nothing was left to do{_why_nothing(sweep)}", "yellow")
    if sweep.max_t is not None and sweep.trials.steps and all(t.step < sweep.max_t for t in trials):
        return Text(f"no trial was trained to max_t, {sweep.max_t}", "yellow")
    return Text()


def _why_nothing(sweep: SweepResults) -> str:
    """Of a sweep that got a larger `max_t`: why none of what was complete goes on."""
    factor, max_t = sweep.record.scheduler.get("reduction_factor"), sweep.max_t
    if factor is None or max_t is None:
        return ""
    short = [t for t in sweep.trials.with_status(Status.COMPLETE) if t.reports and t.step < max_t]
    if not short or len(short) >= factor:
        return ""
    return (
        f": one in {factor} goes on to step {max_t}, and {_trials(len(short))} came as far as that"
    )


def _failures(sweep: SweepResults) -> Iterator[Text]:
    failed = sweep.trials.with_status(Status.FAILED)
    for trial in failed[:_FAILURES_SHOWN]:
        where = _short(sweep.folder.job(trial.number, trial.run, life=trial.lives))
        reason = headline(trial.error) or trial.cause or "no reason given"
        tries = f" (tried {len(trial.failures) + 1} times)" if trial.failures else ""
        said = f"trial {trial.number} failed{tries}: {reason}"
        yield Text.assemble((said, "red"), (f"  {where}", "dim"))
    if len(failed) > _FAILURES_SHOWN:
        shown = f"{len(failed) - _FAILURES_SHOWN} more failed; their errors are in "
        yield Text(f"{shown}{_results_command(sweep)} --csv", "dim")
    causes = Counter(trial.cause for trial in sweep.trials)
    if causes[OUT_OF_MEMORY]:
        yield Text(f"out of memory in {_trials(causes[OUT_OF_MEMORY])}: {ADVICE}", "magenta")
    if causes["time_limit"]:
        ended = _trials(causes["time_limit"])
        yield Text(f"hydra.sweeper.trial_time_limit_s ended {ended}", "dim")
    if causes[BY_REQUEST]:
        yield Text(f"{_trials(causes[BY_REQUEST])} stopped by request", "dim")


def _trials(count: int) -> str:
    return f"{count} trial{'' if count == 1 else 's'}"


def _facts(sweep: SweepResults, export: ExportResult | None, again: Again | None) -> Iterator[Text]:
    elapsed = Text(f"in {render.duration(sweep.elapsed)}", "dim")
    counted = Text("  ").join([_counts(sweep), elapsed, *filter(None, [_ending(sweep)])])
    yield render.fact("trials", Text.assemble((f"{len(sweep.trials)}", "bold"), "  ", counted))
    if sweep.trials.steps:
        spent = effort(sweep)
        yield render.fact(spent.word, str(spent).replace(f" {spent.word}", "", 1))
    yield render.fact("failures", _trouble(trouble(sweep)))
    if sweep.best is not None:
        yield render.fact("best", _best(sweep, sweep.best))
    if export is not None:
        yield from _export_facts(export)
    if again is not None and again.failure is not None:
        yield render.fact("run again", Text(again.failure, "yellow"))
    if again is not None and again.secrets:
        keys = ", ".join(again.secrets)
        yield render.fact("secret", Text(f"{keys}: to be given when it is run again", "yellow"))


def _trouble(trouble: Trouble) -> Text:
    """`2 trials failed, 1 worker lost, preempted 3 times; most often ValueError: x`."""
    if not trouble.any:
        return Text("none, and no preemptions", "dim")
    said = Text(", ").join(
        Text(f"{count} {words[count > 1]}", style)
        for count, words, style in (
            (trouble.failed, ("trial failed", "trials failed"), "red"),
            (
                trouble.retried,
                ("try raised and was repeated", "tries raised and were repeated"),
                "",
            ),
            (trouble.lost, ("worker lost", "workers lost"), ""),
            (trouble.preempted, ("preemption", "preemptions"), ""),
        )
        if count
    )
    if trouble.cause is not None:
        said += Text(f"; most often {trouble.cause}", "dim")
    return said


def _commands(sweep: SweepResults, again: Again | None) -> Iterator[tuple[str, str]]:
    """What can be done next, each in one line to copy."""
    if again is not None and again.command is not None:
        yield "run again", again.command
    yield "results", _results_command(sweep)
    if not _is_whole_grid(sweep):
        yield "go on", _resume_command(sweep)


def _export_facts(export: ExportResult) -> Iterator[Text]:
    yield render.fact("model", _exported(export))
    if export.chosen is not None:
        yield render.fact("chosen", export.chosen)
    if export.combined is not None:
        yield from _combined_facts(export, export.combined)
        return
    if export.validation is not None:
        yield render.fact("validation", render.number(export.validation))
    if export.test:
        yield render.fact("test", _metrics(export.test))
    yield from _calibration_facts(export)
    yield from _format_facts(export)


def _format_facts(export: ExportResult) -> Iterator[Text]:
    """The files that hold the whole model, and the formats that there are none of."""
    for graph in export.graphs:
        apart = f"{graph.agreement.difference:.2g}"
        said = f"within {apart} of the network on {graph.agreement.rows} validation rows"
        yield render.fact(graph.format, Text.assemble(f"{graph.file}  ", (said, "dim")))
    for name, why in export.left_out.items():
        yield render.fact(name, Text.assemble(("not written: ", "yellow"), why))


def _combined_facts(export: ExportResult, combined: CombinedResult) -> Iterator[Text]:
    """What is in it, and its metrics beside those of the best trial alone."""
    several = "s" if len(combined.trials) > 1 else ""
    yield render.fact(combined.kind, f"of trial{several} {', '.join(map(str, combined.trials))}")
    for trial, reason in combined.left_out.items():
        yield render.fact("left out", f"trial {trial}: {reason}")
    alone = render.number(combined.single_validation)
    yield render.fact("validation", _beside(render.number(export.validation), alone, export))
    if export.test:
        alone = _metrics(combined.single_test or {})
        yield render.fact("test", _beside(_metrics(export.test), alone, export))
    yield from _calibration_facts(export)
    yield from _format_facts(export)
    if combined.worse:
        yield Text(f"trial {export.trial} alone is better: combine fewer trials", "yellow")


def _calibration_facts(export: ExportResult) -> Iterator[Text]:
    if export.calibration is None:
        return
    changes = [
        f"{split} ece {render.number(before)} -> {render.number(after)}"
        for split, (before, after) in export.calibration.ece.items()
    ]
    yield render.fact(
        "temperature", "  ".join([render.number(export.calibration.temperature), *changes])
    )
    if export.calibration.is_at_bound:
        said = "the fit ran to the end of its range: the probabilities tell next to nothing"
        yield render.fact("", Text(said, "yellow"))


def _beside(value: str, alone: str, export: ExportResult) -> Text:
    return Text.assemble(value, (f"   trial {export.trial} alone: {alone}", "dim"))


def _best(sweep: SweepResults, best: Trial) -> Text:
    others = zip(sweep.objective.others, best.values[1:], strict=False)
    return Text.assemble(
        f"{sweep.objective.metric} ",
        (render.number(best.value), "bold green"),
        *(f"  {objective.metric} {render.number(value)}" for objective, value in others),
        (f"  trial {best.number}" + (f", step {best.best.step}" if best.best else ""), "dim"),
        f"  {render.parameters(sweep.values(best))}",
    )


def _exported(export: ExportResult) -> Text:
    where = f"{_short(export.shown or export.folder)}  "
    if export.verified:
        return Text.assemble(where, ("verified", "green"))
    return Text.assemble(where, (f"not verified: {export.reason}", "yellow"))


def _metrics(metrics: dict[str, float]) -> str:
    return "  ".join(f"{name} {render.number(value)}" for name, value in metrics.items())


def _results_command(sweep: SweepResults) -> str:
    return f"caviar results {shlex.quote(_short(sweep.folder.place))}"


def _is_whole_grid(sweep: SweepResults) -> bool:
    """Whether every combination was tried, so that no further trial can be."""
    searcher = sweep.record.searcher
    if searcher["name"] != "grid" or not sweep.is_over:
        return False
    return len(sweep.trials) >= sweep.space.grid(searcher.get("levels")).total


def _resume_command(sweep: SweepResults) -> str:
    command = f"caviar resume {shlex.quote(_short(sweep.folder.place))}"
    closed = sweep.trials.closed
    if sweep.is_over:
        more: str | None = f"hydra.sweeper.num_samples={2 * max(1, len(sweep.trials))}"
    else:
        options = sweep.record.options
        budget = {**(options.get("budget") or {}), "time_budget_s": options.get("time_budget_s")}
        budget |= by_name(sweep.trials.steered.granted)
        more = override_for_more(closed.reason, budget) if closed else None
    return f"{command} {more}" if more else command


def _short(path: Path | str) -> str:
    """The path from here where that is shorter; a URL as it is."""
    if is_url(path):
        return str(path)
    try:
        return min(str(path), os.path.relpath(path), key=len)
    except ValueError:  # another drive
        return str(path)
