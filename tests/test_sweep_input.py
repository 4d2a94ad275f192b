"""Mistakes in what a sweep is told: one message, before anything is started or written."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeps.journal.status import Status

LR = "optimizer.lr=interval(0,1)"
ASHA = "hydra/sweeper/scheduler=asha"


@pytest.mark.parametrize(
    ("app", "arguments", "said"),
    [
        (
            "grouped.py",
            ["lr=interval(0,1)"],
            ["lr is not in the app's config", "did you mean optimizer.lr?", "Use +lr to add it"],
        ),
        (
            "grouped.py",
            ["optimizer.lr=interval(1,0)"],
            ["optimizer.lr=interval(1,0)", "(0.0, 1.0)"],
        ),
        (
            "grouped.py",
            ["optimizer.lr=tag(log,interval(0,1))"],
            ["optimizer.lr=tag(log,interval(0,1))", "above 0, got 0"],
        ),
        (
            "grouped.py",
            [LR, "hydra/sweeper/searcher=grid"],
            ["grid needs a range or a choice", "optimizer.lr is interval(0.0, 1.0)"],
        ),
        ("grouped.py", ["optimizer.lr=0.1"], ["nothing to sweep", "lr='interval(0, 1)'"]),
        (
            "grouped.py",
            ["optimizer.lr=intervall(0,1)"],
            ["optimizer.lr=intervall(0,1)", "intervall", "interval"],
        ),
        (
            "grouped.py",
            ["model=good,broken"],
            ["model=broken: while parsing", "broken.yaml", "line 1, column 7"],
        ),
        ("grouped.py", ["model=good,goood"], ["model/goood", "choose from broken, good"]),
        (
            "grouped.py",
            [LR, "hydra.sweeper.metric=loss"],
            ["hydra.sweeper.metric is 'loss'", "hydra.sweeper.mode is not set", "min or max"],
        ),
        (
            "grouped.py",
            [LR, "hydra.sweeper.resume=atuo"],
            ["hydra.sweeper.resume is 'atuo'", "true, false or auto", "did you mean auto?"],
        ),
        (
            "grouped.py",
            [LR, "hydra.sweeper.metric=loss", "hydra.sweeper.mode=minimum"],
            ["hydra.sweeper.mode is 'minimum'", "choose min or max"],
        ),
        (
            "grouped.py",
            [LR, "hydra.sweeper.metric=loss", "hydra.sweeper.mode=mxa"],
            ["hydra.sweeper.mode is 'mxa'; choose min or max\n"],
        ),
        ("grouped.py", [LR, ASHA], ["hydra.sweeper.scheduler.max_t is not set", "asha needs it"]),
        (
            "grouped.py",
            [LR, ASHA, "hydra.sweeper.scheduler.max_t=0"],
            ["hydra.sweeper.scheduler (asha)", "max_t is 0", "at least grace_period, 1"],
        ),
        (
            "grouped.py",
            [LR, ASHA, "hydra.sweeper.scheduler.max_t=9", "hydra.sweeper.scheduler.grace=3"],
            ["hydra.sweeper.scheduler.grace", "did you mean"],
        ),
        (
            "grouped.py",
            [LR, "hydra/sweeper/scheduler=ahsa"],
            ["hydra/sweeper/scheduler/ahsa", "asha", "none", "did you mean asha?"],
        ),
        (
            "grouped.py",
            [LR, "hydra.sweeper.num_sample=3"],
            ["hydra.sweeper.num_sample", "did you mean hydra.sweeper.num_samples"],
        ),
        (
            "grouped.py",
            [LR, "hydra.sweeper.n_trials=3"],
            ["hydra.sweeper.n_trials", "hydra-optuna-sweeper", "hydra.sweeper.num_samples"],
        ),
        (
            "grouped.py",
            [LR, "hydra.sweeper.direction=maximize"],
            ["hydra.sweeper.direction", "hydra.sweeper.mode"],
        ),
        ("grouped.py", [LR, "hydra.sweeper.num_samples=0"], ["num_samples is 0", "1 or more"]),
        (
            "grouped.py",
            [LR, "hydra.sweeper.max_retries=-1"],
            ["hydra.sweeper.max_retries is -1", "0 or more"],
        ),
        (
            "grouped.py",
            [LR, "hydra.sweeper.max_retries=some"],
            ["hydra.sweeper.max_retries is 'some'; it must be a whole number\n"],
        ),
        (
            "grouped.py",
            [LR, "hydra.sweeper.num_samples=2.5"],
            ["hydra.sweeper.num_samples is 2.5", "a whole number or null", "did you mean 2?"],
        ),
        (
            "grouped.py",
            [LR, "hydra/sweeper/searcher=cmaes", "hydra.sweeper.searcher.population_size=many"],
            ["hydra.sweeper.searcher.population_size is 'many'", "a whole number or null"],
        ),
        (
            "grouped.py",
            [LR, ASHA, "hydra.sweeper.scheduler.max_t=long"],
            ["hydra.sweeper.scheduler.max_t is 'long'; it must be a whole number\n"],
        ),
        (
            "grouped.py",
            [LR, "hydra.sweeper.initial={optimizer.lr: 1}"],
            ["hydra.sweeper.initial is {'optimizer.lr': 1}; it must be a list, such as [{"],
        ),
        (
            "grouped.py",
            [LR, "hydra.sweeper.params=[optimizer.lr]"],
            ["hydra.sweeper.params is ['optimizer.lr']; it must be a mapping"],
        ),
        (
            "grouped.py",
            [
                *(LR, "hydra/sweeper/scheduler=pbt", "hydra.sweeper.scheduler.max_t=9"),
                "hydra.sweeper.scheduler.perturbation_interval=3",
                "hydra.sweeper.scheduler.hyperparam_mutations={optimizer.lr: null}",
            ],
            ["hyperparam_mutations is {'optimizer.lr': None}", "a list, such as [optimizer.lr]"],
        ),
        (
            "grouped.py",
            [LR, "hydra.sweeper.searcher=tpee"],
            ["hydra.sweeper.searcher is 'tpee'", "hydra/sweeper/searcher=NAME", "did you mean tpe"],
        ),
        (
            "grouped.py",
            [LR, "hydra.sweeper.retry_backoff_s=inf"],
            ["hydra.sweeper.retry_backoff_s is inf", "number of seconds, 0 or more"],
        ),
        (
            "grouped.py",
            [LR, "hydra.sweeper.trial_time_limit_s=0"],
            ["hydra.sweeper.trial_time_limit_s is 0", "seconds above 0, or null"],
        ),
        (
            "grouped.py",
            [LR, "hydra.sweeper.trial_time_limit_s=nan"],
            ["hydra.sweeper.trial_time_limit_s is nan", "seconds above 0, or null"],
        ),
        (
            "grouped.py",
            [LR, "hydra.sweeper.keep_checkpoints=0"],
            ["hydra.sweeper.keep_checkpoints is 0", "1 or more"],
        ),
        (
            "grouped.py",
            [LR, "hydra.sweeper.keep_checkpoint=3"],
            ["hydra.sweeper.keep_checkpoint", "did you mean hydra.sweeper.keep_checkpoints"],
        ),
        (
            "grouped.py",
            [LR, "hydra.sweeper.resources={cpu: 2}"],
            ["hydra.sweeper.resources.cpu is not an option", "did you mean cpus"],
        ),
        (
            "grouped.py",
            [LR, "hydra.sweeper.time_budget_s=0"],
            ["hydra.sweeper.time_budget_s is 0; it must be a number of seconds above 0, or null"],
        ),
        (
            "grouped.py",
            [LR, "hydra.sweeper.scalarization=first"],
            ["hydra.sweeper.scalarization is 'first', and it chooses among several objectives"],
        ),
        (
            "grouped.py",
            [LR, "hydra.sweeper.resume=true"],
            ["there is no sweep in", "to go on with"],
        ),
        (
            "launcher.py",
            ["+x=interval(0,1)", "hydra/launcher=joblib"],
            ["hydra/launcher is 'joblib'", "over Ray", "hydra.sweeper.max_concurrent_trials"],
        ),
        ("local.py", ["+x=interval(0,1)"], ["run.<locals>.main", "cannot import", "top level"]),
        ("no_such.py", ["+x=interval(0,1)"], ["no_such.py", "neither a file nor an override"]),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else None,
)
def test_a_mistake_is_answered_in_one_message_and_leaves_nothing(
    start, app: str, arguments: list[str], said: list[str]
) -> None:
    swept = start(app, *arguments)

    assert swept.code == 2
    for part in said:
        assert part in swept.err
    assert "Traceback" not in swept.err
    assert swept.out == ""
    assert not swept.folder.path.exists()


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("hydra.sweeper.num_samples=x", "hydra.sweeper.num_samples is 'x'; it must be a whole"),
        ("hydra.sweeper.num_sample=3", "is not an option; did you mean hydra.sweeper.num_samples?"),
    ],
)
def test_hydras_own_command_line_ends_with_the_same_message(
    start, override: str, said: str
) -> None:
    driver = start.drive("grouped.py", LR, override)

    assert driver.process.wait(timeout=60) == 2
    assert said in driver.output
    assert driver.output.count("\n") == 1


def test_a_name_that_is_taken_is_refused_and_overwrites_nothing(start) -> None:
    taken = start.storage / "s"
    taken.mkdir(parents=True)
    (taken / "sweep.yaml").write_text("kept")

    swept = start("grouped.py", LR)

    assert swept.code == 2
    assert "hydra.sweeper.name is 's', and that sweep exists" in swept.err
    assert f"caviar resume {taken}" in swept.err
    assert [path.name for path in taken.iterdir()] == ["sweep.yaml"]
    assert (taken / "sweep.yaml").read_text() == "kept"


def test_a_storage_path_that_cannot_be_written_is_refused(start, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    swept = start("grouped.py", LR, f"hydra.sweeper.storage_path={tmp_path / 'file' / 'sweeps'}")

    assert swept.code == 2
    assert f"hydra.sweeper.storage_path is '{tmp_path / 'file' / 'sweeps'}'" in swept.err
    assert "cannot be written: Not a directory" in swept.err


def test_a_dry_run_shows_the_space_and_three_trials_and_starts_nothing(start) -> None:
    swept = start(
        "grouped.py", LR, ASHA, "hydra.sweeper.scheduler.max_t=9", "hydra.sweeper.dry_run=true"
    )

    assert swept.code == 0
    assert "interval(0.0, 1.0)" in swept.out
    assert [f"trial {number}" in swept.out for number in range(4)] == [True, True, True, False]
    assert "name: good" in swept.out
    assert "steps 1, 3, 9" in swept.out
    assert not swept.folder.path.exists()


@pytest.mark.parametrize(
    ("scheduler", "said"),
    [
        (["none"], "20 trials, each to its end;"),
        (["asha", "max_t=9"], "compared at steps 1, 3, 9;"),
        (["median"], "each to its end, or stopped from step 1 on where it is worse than the median "
         "of 3 others or more;"),
        (["median", "max_t=9", "grace_period=3"], "each to step 9, or stopped from step 3 on"),
        (["learning_curve", "max_t=30"], "each to step 30, or stopped from step 8 on where its "
         "chance of beating the best is under 0.05;"),
        (["pbt", "max_t=30", "perturbation_interval=3", "hyperparam_mutations=[optimizer.lr]"],
         "each to step 30, the worst as copies every 3 steps;"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)  # fmt: skip
def test_a_dry_run_says_what_becomes_of_a_trial(start, scheduler: list[str], said: str) -> None:
    name, *given = scheduler
    options = [f"hydra.sweeper.scheduler.{option}" for option in given]
    swept = start(
        "grouped.py", LR, f"hydra/sweeper/scheduler={name}", *options, "hydra.sweeper.dry_run=true"
    )

    assert swept.code == 0, swept.err
    assert said in " ".join(swept.out.split())


KINDS = "optimizer.lr=choice(0.1,0.2,0.3,0.4)"
HYPERBAND = ["hydra/sweeper/scheduler=hyperband", "hydra.sweeper.scheduler.max_t=9"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            [KINDS, "hydra/sweeper/searcher=grid", "hydra.sweeper.num_samples=50"],
            ["4 trials, each to its end;", "the grid has 4 combinations, so 50 trials become"],
        ),
        (
            [KINDS, "hydra.sweeper.num_samples=50"],
            ["50 trials,", "the space has 4 combinations only"],
        ),
        (
            [LR, "hydra.sweeper.num_samples=1", "hydra.sweeper.initial=[{optimizer.lr: 0.1},{}]"],
            ["initial has 2 points and hydra.sweeper.num_samples is 1: the last 1 will not be"],
        ),
        (
            [LR, *HYPERBAND, "hydra.sweeper.num_samples=10"],
            [
                "in brackets (trials @ step) 9 @ 1 > 3 @ 3 > 1 @ 9; 3 @ 3 > 1 @ 9; 3 @ 9: "
                "a full round takes 15;",
                "num_samples is 10, and a full round of the brackets takes 15: bracket 2 of 3 gets "
                "1 of its 3",
            ],
        ),
        (
            [LR, *HYPERBAND, "hydra.sweeper.num_samples=12"],
            ["takes 15: it ends with bracket 2 of 3"],
        ),
    ],
)
def test_a_dry_run_says_what_may_not_be_as_it_seems(
    start, given: list[str], said: list[str]
) -> None:
    swept = start("grouped.py", *given, "hydra.sweeper.dry_run=true")
    assert swept.code == 0, swept.err
    for part in said:
        assert part in " ".join(swept.out.split())


def test_a_dry_run_of_whole_rounds_warns_of_nothing(start) -> None:
    swept = start(
        "grouped.py", LR, *HYPERBAND, "hydra.sweeper.num_samples=30", "hydra.sweeper.dry_run=true"
    )
    assert swept.out.rstrip().endswith("Nothing was started.")


@pytest.mark.parametrize(
    ("searcher", "space", "said"),
    [
        ("random", [LR], "warm_start changes nothing: the searcher random learns from no trial"),
        ("gp", [LR, "+momentum=interval(0,1)"], "none of its trials has all parameters of this"),
        ("gp", [LR], ""),
        ("tpe", [LR, "+momentum=interval(0,1)"], ""),
    ],
)
def test_a_warm_start_that_teaches_nothing_is_said(
    start, make_sweep, searcher: str, space: list[str], said: str
) -> None:
    earlier = make_sweep({"optimizer.lr": "interval(0, 1)"}, metric="loss", mode="min")
    for number in range(3):
        earlier.ask(number, **{"optimizer.lr": 0.1 * number})
        earlier.end(number, Status.COMPLETE, 1.0)
    swept = start(
        "grouped.py",
        *space,
        "hydra.sweeper.metric=loss",
        "hydra.sweeper.mode=min",
        f"hydra/sweeper/searcher={searcher}",
        f"hydra.sweeper.warm_start=[{earlier.folder.path}]",
        "hydra.sweeper.dry_run=true",
    )
    assert swept.code == 0, swept.err
    assert said in " ".join(swept.out.split())
    assert bool(said) is ("warm_start changes nothing" in swept.out)


@pytest.mark.slow
@pytest.mark.ray
def test_more_resources_than_there_are_leave_nothing_behind(sweep) -> None:
    swept = sweep("grouped.py", LR, "hydra.sweeper.resources={cpus: 3}")

    assert swept.code == 2
    assert "hydra.sweeper.resources.cpus is 3, and Ray has 2" in swept.err
    assert not swept.folder.path.exists()
