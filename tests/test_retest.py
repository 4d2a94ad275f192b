"""What a retest tells, of rosters and journals put down by hand; test_sweep_retest runs some."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from rich.console import Console

from sweeps.commands.retest import RETEST
from sweeps.errors import ConfigError, SweepError
from sweeps.export.retested import best_retested
from sweeps.journal.events import Started
from sweeps.journal.status import Status
from sweeps.results import load_sweep
from sweeps.retest import show
from sweeps.retest.choose import best_entries, new_seeds, space_of
from sweeps.retest.looks import record_look
from sweeps.retest.luck import warnings
from sweeps.retest.results import Retest, read_retest
from sweeps.retest.roster import Entry, Roster
from sweeps.space.space import Space
from sweeps.storage.folder import SweepFolder, list_sweeps

Retested = Callable[..., Retest]


@pytest.fixture
def retested(make_sweep, make_sweep_in) -> Retested:
    """A sweep whose trial n had value n of `swept`, retested: a row of values for each."""

    def make(
        swept: Sequence[float],
        rows: Sequence[Sequence[float | Status]],
        *,
        mode: str = "max",
        metric: str | list[str] = "val_accuracy",
        paired: bool = True,
    ) -> Retest:
        made = make_sweep(mode=mode)
        entries = [
            Entry(trial=n, params={"lr": 0.1 / (n + 1)}, value=value, step=9)
            for n, value in enumerate(swept)
        ]
        roster = Roster(
            sweep="sweep", seed_key="seed" if paired else None, entries=(), seeds=(), runs=()
        ).grown(entries, range(100, 100 + len(rows[0])))
        roster.write(made.folder.retests)
        inner = make_sweep_in(
            made.folder.path,
            {"lr": "interval(0, 1)", "seed": "int(interval(0, 1000))"},
            name="retest",
            mode=mode,
            scheduler={"name": "asha_stop", "max_t": 9, "grace_period": 9},
        )
        for number, (entry, seed) in enumerate(roster.runs):
            outcome = rows[entry][seed]
            inner.ask(number, lr=entries[entry].params["lr"], seed=roster.seeds[seed])
            if outcome is Status.RUNNING:
                continue
            if isinstance(outcome, Status):
                inner.end(number, outcome, error="it failed")
            else:
                inner.report(number, 9, outcome)
                inner.end(number, Status.COMPLETE, outcome)
        found = read_retest(made.folder)
        assert found is not None
        return found

    return make


def shown(retest: Retest, *, width: int = 200) -> str:
    console = Console(file=io.StringIO(), width=width)
    show.show(retest, retest.folder, console=console)
    return console.file.getvalue()


# A tie


def test_of_equal_means_the_better_in_the_sweep_is_the_best_and_the_tie_is_told(retested) -> None:
    """The same values in another order: their sums would differ in the last bit."""
    rows = [(0.3, 0.1, 0.7, 0.4), (0.7, 0.4, 0.3, 0.1), (0.1, 0.1, 0.1, 0.1)]
    found = retested([0.8, 0.9, 0.7], rows)

    assert [c.trial for c in found.configurations] == [1, 0, 2]
    assert found.best is found.winner
    assert "trial 0 has the same mean" in " ".join(shown(found).split())


def test_what_differs_is_no_tie(retested) -> None:
    assert retested([0.8, 0.9], [(0.3, 0.1), (0.7, 0.4)]).tied == []


# What is trained again


def test_the_best_that_are_over_are_taken_and_fewer_where_there_are_no_more(make_sweep) -> None:
    made = make_sweep()
    for trial, (status, value) in enumerate(
        [
            (Status.COMPLETE, 0.7),
            (Status.STOPPED, 0.9),
            (Status.FAILED, None),
            (Status.DIVERGED, 0.99),
            (Status.COMPLETE, math.nan),
        ]
    ):
        made.ask(trial, lr=0.1 / (trial + 1))
        made.end(trial, status, value)
    made.ask(5, lr=0.5)
    made.report(5, 1, 0.95)
    sweep = load_sweep(made.folder)

    assert [entry.trial for entry in best_entries(sweep, 5, seed_key="seed")] == [1, 0]
    assert [entry.trial for entry in best_entries(sweep, 1, seed_key="seed")] == [1]


def test_configurations_that_differ_in_the_seed_alone_are_one(make_sweep) -> None:
    made = make_sweep(space={"lr": "choice(0.1, 0.2)", "seed": "range(0, 3)"})
    for trial, (lr, seed, value) in enumerate([(0.1, 0, 0.7), (0.1, 1, 0.9), (0.2, 0, 0.8)]):
        made.ask(trial, lr=lr, seed=seed)
        made.end(trial, Status.COMPLETE, value)

    entries = best_entries(load_sweep(made.folder), 5, seed_key="seed")
    assert [(entry.trial, entry.params) for entry in entries] == [
        (1, {"lr": 0.1}),
        (2, {"lr": 0.2}),
    ]


def test_nothing_to_retest_is_said(make_sweep) -> None:
    made = make_sweep()
    made.ask(0, lr=0.1)
    made.end(0, Status.FAILED, error="no")

    with pytest.raises(SweepError, match=r"no trial of .* is over and has a finite val_accuracy"):
        best_entries(load_sweep(made.folder), 5, seed_key="seed")


def test_a_schedule_of_population_based_training_is_refused_with_the_reason(make_sweep) -> None:
    made = make_sweep(space={"lr": "choice(0.1, 0.2)"}, scheduler={"name": "pbt", "max_t": 4})
    for trial, lr in enumerate((0.1, 0.2)):
        made.ask(trial, lr=lr)
        made.report(trial, 2, 0.5 + lr, checkpoint=f"trials/{trial}/1/checkpoints/2")
    made.add(
        Started,
        trial=0,
        run=1,
        reason="exploit",
        checkpoint="trials/0/1.1/checkpoints/2",
        source=1,
        params={"lr": 0.1},
        step=2,
    )
    made.report(0, 4, 0.9, checkpoint="trials/0/1.1/checkpoints/4")
    made.end(0, Status.COMPLETE, 0.9)

    with pytest.raises(SweepError, match=r"trial 0 was trained with a schedule: .* another schedu"):
        best_entries(load_sweep(made.folder), 5, seed_key="seed")


def test_seeds_are_new_and_the_same_each_time_and_more_begin_with_fewer() -> None:
    assert new_seeds(7, 5) == new_seeds(7, 8)[:5]
    assert len({*new_seeds(7, 8), *new_seeds(8, 8)}) == 16
    assert all(0 <= seed < 2**31 for seed in new_seeds(7, 100))


def roster(*entries: dict[str, Any], seeds: int = 2, key: str | None = "seed") -> Roster:
    empty = Roster(sweep="s", seed_key=key, entries=(), seeds=(), runs=())
    made = [Entry(trial=n, params=p, value=0.1, step=1) for n, p in enumerate(entries)]
    return empty.grown(made, range(seeds))


def test_seeds_go_round_over_all_configurations() -> None:
    assert roster({"x": 1}, {"x": 2}, {"x": 3}).points() == [
        *({"x": x, "seed": 0} for x in (1, 2, 3)),
        *({"x": x, "seed": 1} for x in (1, 2, 3)),
    ]


def test_a_longer_roster_keeps_the_numbers_of_what_was_there() -> None:
    short = roster({"x": 1}, {"x": 2})
    third = Entry(trial=7, params={"x": 3}, value=0.1, step=1)
    long = short.grown([short.entries[1], third], range(3))

    assert long.runs[: len(short.runs)] == short.runs
    assert sorted(long.runs) == [(c, s) for c in range(3) for s in range(3)]
    assert short.grown(short.entries, [0]) == short


def test_a_roster_is_read_back_as_it_was_written(make_sweep) -> None:
    folder = make_sweep().folder.retests
    assert Roster.read(folder) is None
    made = roster({"x": 0.1, "model": "small", "sizes": [1, 2], "off": None}, {"x": 1e-30})
    made.write(folder)

    assert Roster.read(folder) == made


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("format: 2", "newer caviar"),
        ("seeds: [", "cannot be read"),
        ("[]", "cannot be read"),
        ("null", "cannot be read"),
        ("format: 1\nentries: [{}]\nseeds: []\nruns: []", "cannot be read"),
    ],
)
def test_a_roster_that_cannot_be_read_is_said(make_sweep, text: str, said: str) -> None:
    made = make_sweep()
    made.folder.retests.path.mkdir()
    made.folder.retests.roster.write_text(text)

    with pytest.raises(SweepError, match=said):
        read_retest(made.folder)


CONDITIONAL = {"model": "choice(a, b)", "b.x": "interval(0, 1)", "b.y": "tag(log, interval(1, 9))"}
WHEN = {"b.x": {"model": "b"}, "b.y": {"model": "b"}}


def test_every_point_is_a_configuration_of_the_space_with_conditions_too(make_sweep) -> None:
    from sweeps.space.space import parse_space

    made = make_sweep()
    space, _ = parse_space(CONDITIONAL, [], when=WHEN)
    sweep = load_sweep(made.folder)
    sweep.trials.spaces[:] = [space]
    points = roster({"model": "a"}, {"model": "b", "b.x": 0.1 + 0.2, "b.y": 3.0})

    searched = space_of(sweep, points)
    assert [searched.values(searched.optuna_params(p)) for p in points.points()] == points.points()
    assert Space.from_json(searched.to_json()) == searched


def test_configurations_of_spaces_that_do_not_fit_together_are_refused(make_sweep) -> None:
    sweep = load_sweep(make_sweep().folder)

    with pytest.raises(ConfigError, match=r"trial 1 cannot be trained beside .* space was changed"):
        space_of(sweep, roster({"lr": 0.1}, {}))


# What it tells


def test_mean_spread_interval_and_chance_of_each_best_mean_first(retested: Retested) -> None:
    found = retested([0.9, 0.8], [[0.70, 0.72, 0.74], [0.80, 0.81, 0.82]])
    best, other = found.configurations

    assert (best.trial, other.trial) == (1, 0)
    assert best.mean == pytest.approx(0.81)
    assert best.spread == pytest.approx(0.01)
    assert best.interval == (0.80, 0.82)
    assert best.chance > 0.9
    assert best.chance + other.chance == pytest.approx(1)
    assert other.behind == pytest.approx(0.09)
    assert other.behind_interval == pytest.approx((0.08, 0.10))
    assert best.behind is None
    assert found.best is best
    assert found.winner is other
    assert found.is_done


def test_where_less_is_better_the_least_mean_is_best(retested: Retested) -> None:
    found = retested([0.2, 0.3], [[0.5, 0.6], [0.3, 0.35]], mode="min")

    assert found.best.trial == 1
    assert found.winner.trial == 0
    assert found.best.chance > 0.5
    assert found.configurations[1].behind == pytest.approx(0.225)


def test_a_winner_that_had_luck_is_warned_of(retested: Retested) -> None:
    found = retested([0.9, 0.85], [[0.80, 0.81, 0.82, 0.8, 0.81], [0.86, 0.84, 0.85, 0.86, 0.85]])
    lucky, likelier = warnings(found)

    assert "trial 0, the sweep's best, had luck: its val_accuracy was 0.9, and with other" in lucky
    assert "its mean is 0.808" in lucky
    assert "trial 1 is likelier the best than the sweep's trial 0" in likelier


@pytest.mark.parametrize(("mode", "turn"), [("max", 0), ("min", 1)])
def test_a_winner_that_holds_is_not(retested: Retested, mode: str, turn: float) -> None:
    rows = [[0.90, 0.91, 0.92, 0.9, 0.91], [0.86, 0.84, 0.85, 0.86, 0.85]]
    turned = [[abs(turn - value) for value in row] for row in rows]

    assert warnings(retested([abs(turn - 0.905), abs(turn - 0.85)], turned, mode=mode)) == []


def test_luck_is_luck_where_less_is_better_too(retested: Retested) -> None:
    rows = [[0.2, 0.21, 0.22, 0.2, 0.21], [0.86, 0.84, 0.85, 0.86, 0.85]]

    assert (
        "trial 0, the sweep's best, had luck" in warnings(retested([0.1, 0.8], rows, mode="min"))[0]
    )


def test_a_value_of_fewer_steps_than_the_retest_had_is_no_luck(retested: Retested) -> None:
    found = retested([0.95, 0.85], [[0.90, 0.91, 0.92, 0.9, 0.91], [0.8] * 5])
    early = [Entry(**{**vars(c.entry), "step": 3}) for c in found.configurations]
    object.__setattr__(found.configurations[0], "entry", early[0])

    assert warnings(found) == []


def test_one_seed_tells_a_value_and_says_what_it_does_not_tell(retested: Retested) -> None:
    found = retested([0.9, 0.8], [[0.7], [0.75]])

    assert [c.mean for c in found.configurations] == [0.75, 0.7]
    assert all(c.spread is c.interval is c.chance is None for c in found.configurations)
    assert warnings(found) == [
        "one seed each tells no spread, interval or chance: retest with --seeds 5"
    ]
    assert "0.75" in shown(found)


def test_few_seeds_say_how_little_their_intervals_hold(retested: Retested) -> None:
    found = retested([0.72, 0.6], [[0.70, 0.72, 0.74], [0.60, 0.61, 0.62]])

    assert any(
        "with 3 seeds an interval holds the true mean in at most 75%" in w for w in warnings(found)
    )


def test_runs_that_failed_or_diverged_are_told_and_count_for_nothing(retested: Retested) -> None:
    found = retested(
        [0.9, 0.8], [[0.9, Status.DIVERGED, 0.91, Status.FAILED, 0.9], [0.8, 0.81, 0.8, 0.8, 0.82]]
    )

    assert found.best.mean == pytest.approx(0.9033, abs=1e-4)
    assert found.is_done
    told = [w for w in warnings(found) if "trial 0" in w]
    assert told == [
        "of 5 runs of trial 0 1 failed and 1 diverged: its mean is of the others alone, and better "
        "than what one can expect of it"
    ]
    assert "3 1 diverged 1 failed" in shown(found)


def test_a_configuration_of_which_no_run_gave_a_value_comes_last(retested: Retested) -> None:
    found = retested([0.9, 0.8, 0.7], [[Status.FAILED] * 2, [0.7, 0.71], [0.6, 0.61]])

    assert [c.trial for c in found.configurations] == [1, 2, 0]
    assert found.configurations[-1].chance is None
    assert sum(c.chance for c in found.configurations[:2]) == pytest.approx(1)
    assert "2 failed" in shown(found)


def test_nothing_but_failures_has_no_best(retested: Retested) -> None:
    found = retested([0.9], [[Status.FAILED, Status.FAILED]])

    assert found.best is None
    assert json.dumps(show.as_json(found, found.folder), allow_nan=False)
    assert "0 of" not in shown(found)


def test_what_still_runs_is_told_and_does_not_count(retested: Retested) -> None:
    found = retested([0.9, 0.8], [[0.9, Status.RUNNING], [0.8, 0.81]])

    assert not found.is_done
    assert (found.ended, found.total) == (3, 4)
    assert warnings(found)[0].startswith("3 of 4 runs have ended")
    assert found.configurations[0].values == [0.9]


def test_seeds_that_change_nothing_are_found_out(retested: Retested) -> None:
    found = retested([0.9, 0.8], [[0.9] * 5, [0.8] * 5], paired=False)

    assert any("all runs of a configuration gave the same value" in w for w in warnings(found))


def test_without_shared_seeds_nothing_is_paired(retested: Retested) -> None:
    found = retested([0.9, 0.8], [[0.9, 0.91], [0.8, 0.81]], paired=False)

    assert not found.is_paired
    assert all(c.behind is None for c in found.configurations)
    assert "another for each run" in shown(found)


# How it is shown


def test_the_table_has_a_plot_of_the_intervals(retested: Retested) -> None:
    found = retested([0.9, 0.8], [[0.80, 0.81, 0.82], [0.70, 0.71, 0.72]])
    lines = shown(found).splitlines()
    (row,) = [line for line in lines if line.lstrip().startswith("● 0")]

    plot = row[row.index("%") + 1 :]
    assert plot.index("●") < plot.index("◆")
    assert "─" in plot or "·" in plot
    assert "0.7" in lines[0]


@pytest.mark.parametrize("width", [80, 110, 200])
def test_the_table_fits_the_screen(retested: Retested, width: int) -> None:
    rows = [[0.80123, 0.81456, 0.82789], [0.70001, 0.71234, 0.72999]]
    table = shown(retested([0.91234, 0.80007], rows), width=width).split("● mean")[0]

    assert max(map(len, table.splitlines())) <= width
    assert "…" not in table
    assert ("behind" in table) == (width == 200)
    assert ("0.80123 to 0.82789" in table) == (width > 80)


def test_equal_values_are_drawn_without_dividing_by_nothing(retested: Retested) -> None:
    assert "●" in shown(retested([0.5], [[0.5, 0.5]]))


def test_the_looks_at_test_data_are_told(retested: Retested, make_sweep) -> None:
    found = retested([0.9], [[0.8, 0.9]])
    assert "The test split was not looked at." in shown(found)
    record_look(found.folder, "export of trial 0")

    assert "looked at once, last for the export of trial 0" in shown(found)
    (look,) = show.as_json(found, found.folder)["test_looks"]
    assert look["what"] == "export of trial 0"


def test_json_and_csv_hold_the_same(retested: Retested, capsys: pytest.CaptureFixture[str]) -> None:
    found = retested([0.9, 0.8], [[0.80, 0.81, 0.82], [0.70, 0.71, Status.FAILED]])
    sweep = str(found.folder.path.parent)

    assert RETEST.run(RETEST.parser("retest"), [sweep, "--show", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert RETEST.run(RETEST.parser("retest"), [sweep, "--show", "--csv"]) == 0
    header, first, second = capsys.readouterr().out.splitlines()

    assert [row["trial"] for row in data["configurations"]] == [0, 1]
    assert data["configurations"][0]["mean"] == pytest.approx(0.81)
    assert [run["value"] for run in data["configurations"][1]["runs"]] == [0.70, 0.71, None]
    columns = header.replace('"', "").split(",")
    assert float(first.split(",")[columns.index("mean")]) == data["configurations"][0]["mean"]
    assert float(second.split(",")[columns.index("params.lr")]) == 0.05


def test_it_is_written_to_a_file(retested: Retested, tmp_path) -> None:
    found = retested([0.9], [[0.80, 0.81]])
    where = tmp_path / "r.json"
    given = [str(found.folder.path.parent), "--show", "--json", "-o", str(where)]

    assert RETEST.run(RETEST.parser("retest"), given) == 0
    assert json.loads(where.read_text())["best"] == 0


def test_a_sweep_without_a_retest_has_none_to_show(make_sweep) -> None:
    made = make_sweep()

    assert read_retest(made.folder) is None
    with pytest.raises(ConfigError, match="was not retested yet"):
        RETEST.run(RETEST.parser("retest"), [str(made.folder.path), "--show"])


def test_a_retest_is_no_sweep_of_the_storage(retested: Retested) -> None:
    found = retested([0.9], [[0.8]])

    assert list_sweeps(found.folder.path.parent.parent) == ["sweep"]
    assert load_sweep(found.folder.path).trials[0].value == 0.8


def test_a_retest_is_not_retested_itself(retested: Retested) -> None:
    found = retested([0.9], [[0.8]])

    with pytest.raises(ConfigError, match=r"is itself a retest: .* caviar retest .*/sweep with"):
        RETEST.run(RETEST.parser("retest"), [str(found.folder.path)])


@pytest.mark.parametrize(
    "given", [["--top", "0"], ["--seeds", "x"], ["--gpus", "-1"], ["--cpus", "nan"], ["-o", "f"]]
)
def test_wrong_flags_are_wrong_usage(given: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        RETEST.run(RETEST.parser("retest"), ["s", *given])
    assert ended.value.code == 2


# What the export makes of it


def test_a_retest_that_is_not_over_is_not_exported_from(retested: Retested) -> None:
    found = retested([0.9, 0.8], [[0.9, Status.RUNNING], [0.8, 0.81]])

    with pytest.raises(SweepError, match="3 of 4 runs of the retest have ended"):
        best_retested(SweepFolder(found.folder.path.parent))


def test_runs_without_a_checkpoint_leave_nothing_to_export(retested: Retested) -> None:
    found = retested([0.9, 0.8], [[0.9, 0.95], [0.8, 0.81]])

    with pytest.raises(SweepError, match=r"run 2 of .*retest left no checkpoint"):
        best_retested(SweepFolder(found.folder.path.parent))


def test_a_sweep_that_was_not_retested_is_not_exported_by_it(make_sweep) -> None:
    with pytest.raises(ConfigError, match=r"--by retest, and .* was not retested: caviar retest"):
        best_retested(make_sweep().folder)


def test_nothing_but_failures_leaves_nothing_to_export(retested: Retested) -> None:
    found = retested([0.9], [[Status.FAILED, Status.FAILED]])

    with pytest.raises(SweepError, match="gave a finite val_accuracy"):
        best_retested(SweepFolder(found.folder.path.parent))
