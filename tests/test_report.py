"""The report as a page: what it says of which sweep, what it hides, what it leaves out."""

from __future__ import annotations

import base64
import gzip
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from sweeps.journal.events import Asked, Event, Lost, Reported
from sweeps.journal.file import Journal
from sweeps.journal.objective import Objective
from sweeps.journal.status import Decision, Status
from sweeps.reports.page import page
from sweeps.results import SweepResults, load_sweep
from sweeps.retest.looks import record_look
from sweeps.retest.roster import Entry, Roster
from sweeps.simulate import Setup, simulate
from sweeps.space.space import Space, parse_space
from sweeps.storage.folder import Record, SweepFolder

NASTY = "<script>alert(1)</script>"


class Reader(HTMLParser):
    """What a browser shows of a page, and how many it has of each tag."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.texts: list[str] = []
        self._in = ""

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags[tag] += 1
        self._in = tag

    def handle_endtag(self, tag: str) -> None:
        self._in = ""

    def handle_data(self, data: str) -> None:
        if self._in not in ("script", "style", "title"):
            self.texts.append(data)


class Page:
    """What a report says, and the figures in it."""

    def __init__(self, sweep: SweepResults) -> None:
        self.text = page(sweep)
        reader = Reader()
        reader.feed(self.text)
        self.tags = reader.tags
        self.shown = " ".join(" ".join(reader.texts).split())
        self.figures: dict[str, Any] = json.loads(self.packed("data"))["figures"]

    def packed(self, key: str) -> str:
        found = re.search(rf'id="packed-{key}">([^<]+)<', self.text)
        assert found is not None
        return gzip.decompress(base64.b64decode(found[1])).decode()


def report(folder: SweepFolder) -> Page:
    return Page(load_sweep(folder))


def simulated(
    place: Path,
    space: Space,
    curve: Callable[[Mapping[str, Any], int], Iterable[tuple[dict[str, float], float]]],
    *,
    trials: int = 14,
    objective: Objective | None = None,
    scheduler: Mapping[str, Any] | None = None,
    **record: Any,
) -> SweepFolder:
    """A sweep's folder as a simulation leaves it."""
    objective = objective or Objective(metric="loss")
    scheduler = scheduler or {"name": "none"}
    setup = Setup(
        space=space,
        num_samples=trials,
        objective=objective,
        searcher={"name": "random"},
        scheduler=scheduler,
        workers=4,
    )
    several = bool(objective.others)
    folder = SweepFolder(place / "simulated")
    folder.begin()
    fields: dict[str, Any] = {
        "name": "simulated",
        "app": {"file": "app.py", "module": None, "argv": []},
        "overrides": [],
        "space": space.to_json(),
        "metric": [o.metric for o in objective.all] if several else objective.metric,
        "mode": [o.mode for o in objective.all] if several else objective.mode,
        "searcher": {"name": "random"},
        "scheduler": scheduler,
        "num_samples": trials,
        "seed": 0,
        "options": {},
        "environment": {},
    }
    Record(**{**fields, **record}).write(folder)
    Journal(folder.journal).append(*simulate(curve, setup).events)
    return folder


def curve(values: Mapping[str, Any], trial: int) -> Iterable[tuple[dict[str, float], float]]:
    for epoch in range(1, 10):
        yield {"loss": (math.log10(values["lr"]) + 2) ** 2 + 1 / epoch, "time": epoch}, 1.0


def test_a_sweep_without_a_trial_says_so(make_sweep):
    said = report(make_sweep().folder)
    assert "There is no trial yet." in said.shown
    assert "none yet" in said.shown
    assert said.figures == {}


def test_a_trial_that_has_reported_nothing_leaves_no_empty_plot(make_sweep):
    made = make_sweep()
    made.ask(0, lr=0.1)
    said = report(made.folder)
    assert "No trial has a value yet." in said.shown
    assert "1 running" in said.shown
    assert said.figures == {}


def test_a_sweep_of_which_no_trial_is_finished_shows_how_it_stands(make_sweep):
    made = make_sweep()
    made.ask(0, lr=0.1)
    made.report(0, 1, 0.5)
    made.report(0, 2, 0.6)
    said = report(made.folder)
    assert set(said.figures) == {"progress-0", "progress-1", "curves-0", "budget-0", "budget-1"}
    assert "One trial has a value; a comparison needs two." in said.shown
    assert "unfinished" in said.shown


def test_one_complete_trial_is_the_best(make_sweep):
    made = make_sweep()
    made.ask(0, lr=0.1)
    made.end(0, Status.COMPLETE, 0.75)
    made.close()
    said = report(made.folder)
    assert "finished" in said.shown
    assert "0.75" in said.shown
    assert "lr=0.1" in said.shown
    assert "returned its value at its end" in said.shown
    assert "One trial has a value, 0.75: no distribution yet." in said.shown
    assert "1 trial has a value; to tell what matters takes at least 10." in said.shown


def test_a_sweep_of_which_all_failed_says_why_and_for_which(make_sweep):
    made = make_sweep()
    for trial in range(4):
        made.ask(trial, lr=0.1)
        error = f'Traceback\n  File "x.py", line 1\nValueError: no row {trial}\n'
        made.end(trial, Status.FAILED, error=error if trial < 3 else "KeyError: 'x'")
    made.close()
    said = report(made.folder)
    assert "No trial came out with a value: see the failures." in said.shown
    assert "3 failed ValueError: no row 0 0-2" in said.shown
    assert "1 failed KeyError: 'x' 3" in said.shown
    assert said.figures == {}


def test_values_that_are_not_finite_are_drawn_nowhere(make_sweep):
    made = make_sweep()
    for trial in range(3):
        made.ask(trial, lr=0.1 + trial / 10)
        made.report(trial, 1, math.nan if trial else 0.5)
        made.report(trial, 2, math.inf)
        made.end(trial, Status.DIVERGED)
    made.close()
    said = report(made.folder)
    assert "3 diverged" in said.shown
    assert "No trial came out with a value" in said.shown
    assert set(said.figures) == {"curves-0", "budget-0", "budget-1"}
    assert "NaN" not in json.dumps(said.figures)


def test_parameters_of_one_value_are_not_compared(make_sweep):
    made = make_sweep({"lr": "interval(0, 1)", "model": "mlp,convnet"})
    for trial in range(12):
        made.ask(trial, lr=0.5, model="mlp")
        made.end(trial, Status.COMPLETE, trial / 10)
    made.close()
    said = report(made.folder)
    assert (
        "Every parameter has one value in all trials, so there is nothing to compare." in said.shown
    )
    assert "Every parameter has one value in all trials, so none can matter." in said.shown


def test_values_that_are_all_the_same_make_nothing_important(make_sweep):
    made = make_sweep({"lr": "interval(0, 1)"})
    for trial in range(12):
        made.ask(trial, lr=trial / 12)
        made.end(trial, Status.COMPLETE, 0.5)
    said = report(made.folder)
    assert "Every trial has the same value, so no parameter made a difference." in said.shown


def test_a_parameter_that_some_trials_have_is_said_to_be_conditional(tmp_path):
    space, _ = parse_space(
        {"lr": "tag(log, interval(1e-4, 1))", "model": "a,b", "dropout": "interval(0, 1)"},
        [],
        when={"dropout": {"model": "a"}},
    )
    said = report(simulated(tmp_path, space, curve, trials=20))
    assert re.search(r"\d+ of 20 trials have it: it is conditional", said.shown)
    assert "fANOVA leaves out what only some trials have: dropout." in said.shown
    assert "absent" in json.dumps(said.figures["parallel-0"])


def test_axes_are_log_where_the_space_is(tmp_path):
    space, _ = parse_space(
        {
            "lr": "tag(log, interval(1e-4, 1))",
            "momentum": "tag(one_minus_log, interval(0.5, 0.999))",
        },
        [],
    )
    figures = report(simulated(tmp_path, space, curve)).figures
    axes = [figures[key]["layout"]["xaxis"] for key in ("slices-0", "slices-1")]
    assert [axis["type"] for axis in axes] == ["log", "log"]
    (ours,) = [axis for axis in axes if axis["title"]["text"].startswith("momentum")]
    assert set(ours["ticktext"]) >= {"0.9", "0.99"}
    assert ours["range"][0] > ours["range"][1]  # momentum grows to the right
    assert figures["contours-0"]["layout"]["yaxis"]["type"] == "log"


def test_many_choices_keep_readable_ticks(make_sweep):
    names = [f"a-rather-long-name-of-a-model-{i}" for i in range(60)]
    made = make_sweep({"model": ",".join(names), "lr": "interval(0, 1)"})
    for trial, name in enumerate(names):
        made.ask(trial, lr=trial / 60, model=name)
        made.end(trial, Status.COMPLETE, trial / 10)
    figures = report(made.folder).figures
    ticks = figures["parallel-0"]["layout"]["annotations"]
    assert sum(tick["x"] == 2 for tick in ticks) <= 10
    assert all(len(tick["text"]) <= 30 for tick in ticks)


def test_rungs_and_what_became_of_trials_are_marked(make_sweep):
    made = make_sweep(scheduler={"name": "asha", "max_t": 9})
    for trial in range(3):
        made.ask(trial, lr=0.1 * (trial + 1))
        made.report(trial, 1, trial / 10, Decision.PAUSE)
    made.promote(2)
    made.report(2, 2, 0.4)
    made.report(2, 3, 0.5, Decision.PAUSE)
    figures = report(made.folder).figures
    curves = figures["curves-0"]
    assert [shape["x0"] for shape in curves["layout"]["shapes"]] == [1, 3, 9]
    names = {trace["name"] for trace in curves["data"]}
    assert {"promoted here (1)", "paused here (3)"} <= names
    assert figures["budget-0"]["data"][0]["text"] == ["3", "1"]
    made.close()
    names = {trace["name"] for trace in report(made.folder).figures["curves-0"]["data"]}
    assert {"promoted here (1)", "stopped here (3)"} <= names


def test_several_objectives_have_a_front_a_distribution_each_and_their_names(tmp_path):
    space, _ = parse_space({"lr": "tag(log, interval(1e-4, 1))"}, [])
    objective = Objective(metric="loss", others=(Objective(metric="a/b", mode="max"),))

    def both(values: Mapping[str, Any], trial: int) -> Iterable[tuple[dict[str, float], float]]:
        yield {"loss": values["lr"], "a/b": math.sqrt(values["lr"])}, 1.0

    said = report(simulated(tmp_path, space, both, objective=objective))
    front = said.figures["pareto-0"]
    assert front["layout"]["yaxis"]["title"]["text"] == "a/b (higher is better)"
    assert "14 of 14 trials are on the front." in said.shown
    assert {"distribution-0", "distribution-1"} <= set(said.figures)
    parallel = said.figures["parallel-0"]
    assert parallel["layout"]["xaxis"]["ticktext"] == ["loss", "a/b", "lr"]
    best = load_sweep(SweepFolder(tmp_path / "simulated")).best
    assert best is not None
    strongest = parallel["data"][-1]
    assert strongest["line"]["width"] == 3
    assert strongest["hovertemplate"].startswith(f"trial {best.number}, {best.value:.5g}<br>")


def test_what_users_name_is_text_and_never_markup(make_sweep):
    made = make_sweep({"lr": "interval(0, 1)", "model": f"'{NASTY}',b"}, metric=NASTY)
    for trial in range(12):
        made.ask(trial, lr=trial / 12, model=NASTY if trial % 2 else "b")
        made.report(trial, 1, trial / 10, metric=NASTY)
        made.end(trial, Status.COMPLETE, trial / 10)
    made.ask(12, lr=0.1, model="b")
    made.end(12, Status.FAILED, error=f"ValueError: {NASTY}\x1b[31m\x00 red")
    said = report(made.folder)
    assert NASTY not in said.text
    assert "ValueError: &lt;script&gt;alert(1)&lt;/script&gt; red" in said.text
    assert NASTY not in json.dumps(said.figures)
    assert said.tags["script"] == 3


def test_secrets_are_masked(make_sweep):
    app = {"argv": ["-m", "db.password=hunter2", "x=1"]}
    made = make_sweep({"api_key": "hunter2,hunter3", "lr": "interval(0, 1)"}, app=app)
    for trial in range(2):
        made.ask(trial, api_key="hunter2", lr=trial / 2)
        made.end(trial, Status.COMPLETE, trial / 2)
    said = report(made.folder)
    assert "hunter" not in said.text
    assert "hunter" not in json.dumps(said.figures)
    assert "db.password=***" in said.shown.replace("'", "")


def test_nothing_is_loaded_from_elsewhere(make_sweep):
    said = report(make_sweep().folder)
    assert re.findall(r'(?:src|href)="([^"#][^"]*)"', said.text) == ["data:,"]
    assert "@import" not in said.text
    assert "url(" not in said.text
    assert "default-src 'none'" in said.text
    assert said.packed("plotly").startswith("/**\n* plotly.js")


def test_a_running_sweep_says_that_it_runs(make_sweep, monkeypatch):
    made = make_sweep()
    made.ask(0, lr=0.1)
    monkeypatch.setattr("sweeps.reports.header.seems_driven", lambda place: True)
    assert "The sweep still runs: this is how it stood." in report(made.folder).shown


def test_a_large_sweep_is_thinned_and_says_so_and_keeps_its_best(make_sweep):
    made = make_sweep({"lr": "interval(0, 1)"})
    events: list[Event] = []
    best = 333
    for trial in range(420):
        made.now += 1
        params = made.space.optuna_params({"lr": trial / 420})
        events.append(
            Asked(
                trial=trial,
                run=1,
                params=params,
                distributions=made.space.distributions(),
                time=made.now,
            )
        )
        for step in range(1, 4):
            value = 1.0 if trial == best and step == 2 else step / 100
            events.append(
                Reported(
                    trial=trial,
                    run=1,
                    step=step,
                    metrics={"val_accuracy": value},
                    value=value,
                    checkpoint=None,
                    decision=Decision.CONTINUE,
                    time=made.now + step / 100,
                )
            )
    Journal(made.folder.journal).append(*events)
    said = report(made.folder)
    assert "150 of 420 curves are shown" in said.shown
    assert "400 of 420 points are shown" in said.shown
    assert "100 of 420 lines are shown" in said.shown
    assert "best: trial 333" in json.dumps(said.figures["curves-0"])
    assert "trial 333" in json.dumps(said.figures["parallel-0"])
    assert len(said.text) < 3e6


def test_a_failure_that_was_got_over_is_told_apart(make_sweep):
    made = make_sweep()
    made.ask(0, lr=0.1)
    made.add(Lost, trial=0, reason="Traceback", cause="error")
    made.add(Lost, trial=0, reason="killed", cause="lost")
    made.end(0, Status.COMPLETE, 0.5)
    said = report(made.folder)
    assert "No trial failed or diverged." in said.shown
    assert "Tasks raised once and were tried again." in said.shown
    assert "Processes or nodes died once under a trial" in said.shown


def test_a_retest_says_whose_lead_was_luck_and_how_often_test_data_was_seen(
    make_sweep, make_sweep_in
):
    made = make_sweep()
    for trial, value in enumerate((0.9, 0.8)):
        made.ask(trial, lr=0.1 * (trial + 1))
        made.end(trial, Status.COMPLETE, value)
    assert "The test split was not looked at." in report(made.folder).shown
    record_look(made.folder, "export of trial 0")
    entries = [
        Entry(trial=n, params={"lr": 0.1 * (n + 1)}, value=0.9 - n / 10, step=0) for n in (0, 1)
    ]
    empty = Roster(sweep="sweep", seed_key="seed", entries=(), seeds=(), runs=())
    roster = empty.grown(entries, range(6))
    roster.write(made.folder.retests)
    space = {"lr": "interval(0, 1)", "seed": "int(interval(0, 9))"}
    inner = make_sweep_in(made.folder.path, space, name="retest")
    for number, (entry, seed) in enumerate(roster.runs):
        inner.ask(number, lr=entries[entry].params["lr"], seed=seed)
        inner.end(number, Status.COMPLETE, (0.6, 0.79)[entry] + seed / 100)
    said = report(made.folder)
    assert "Trial 0, the sweep's best, had luck" in said.shown
    assert "The test split was looked at once, last for the export of trial 0." in said.shown
    assert len(said.figures["retest-0"]["data"]) == 5
    made.folder.retests.sweep_yaml.write_text("{")
    assert "The retest cannot be read" in report(made.folder).shown


def test_a_few_bad_values_do_not_hide_the_differences_of_the_good(make_sweep):
    made = make_sweep({"lr": "interval(0, 1)"}, metric="loss", mode="min")
    for trial in range(20):
        made.ask(trial, lr=trial / 20)
        made.end(trial, Status.COMPLETE, 1e9 if trial == 3 else trial / 100)
    said = report(made.folder)
    assert said.figures["progress-0"]["layout"]["yaxis"]["range"][1] < 1
    assert said.figures["slices-0"]["layout"]["yaxis"]["range"][1] < 1
    assert "1 value lies beyond the axis: a double click shows all." in said.shown


def test_a_report_at_step_0_is_on_the_axis(make_sweep):
    made = make_sweep(scheduler={"name": "asha", "max_t": 27})
    made.ask(0, lr=0.1)
    for step in range(4):
        made.report(0, step, step / 10)
    axis = report(made.folder).figures["curves-0"]["layout"]["xaxis"]
    assert "type" not in axis


def test_values_that_lie_close_are_all_on_the_axis(make_sweep):
    made = make_sweep({"lr": "interval(0, 1)"})
    for trial in range(20):
        made.ask(trial, lr=trial / 20)
        made.end(trial, Status.COMPLETE, trial / 20)
    said = report(made.folder)
    assert "range" not in said.figures["progress-0"]["layout"]["yaxis"]
    assert "beyond the axis" not in said.shown
