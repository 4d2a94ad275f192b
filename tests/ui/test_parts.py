"""What the page is made of, without a browser."""

from __future__ import annotations

import math
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest

from cluster.bucket import BucketError
from sweeps.cli import main
from sweeps.errors import ConfigError, SweepError
from sweeps.journal.status import Status
from sweeps.results import load_sweep
from sweeps.ui import dashboard
from sweeps.ui.address import check_address, choose_port, tunnel
from sweeps.ui.compare import curves, metric_names
from sweeps.ui.configs import side_by_side
from sweeps.ui.dashboard import JournalCopy, only_for
from sweeps.ui.exporting import Exports
from sweeps.ui.logs import tail
from sweeps.ui.tables import labels, selected, trials_table
from sweeps.ui.words import ago, plain, terminal_text

SPACE = {"model.lr": "tag(log, interval(0.001, 1))", "model.name": "mlp,convnet"}


@pytest.fixture
def made(make_sweep: Callable[..., Any]) -> Any:
    sweep = make_sweep(SPACE)
    for number in range(4):
        values = {"model.lr": 0.001 * (number + 1), "model.name": ("mlp", "convnet")[number % 2]}
        sweep.ask(number, **values)
        sweep.report(number, 1, 0.5 + number / 10, **{"val/loss": 1.0})
    sweep.end(0, Status.COMPLETE, 0.5)
    sweep.report(2, 2, math.nan)
    return sweep


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "192.168.1.7", "example.org", ""])
def test_an_address_that_others_reach_is_refused_with_the_tunnel_to_type(
    address: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["ui", str(tmp_path), "--address", address, "--port", "8600"]) == 2
    said = capsys.readouterr().err
    assert f"--address is {address!r}" in said
    assert "ssh -N -L 8600:127.0.0.1:8600" in said
    assert socket.gethostname() in said


@pytest.mark.parametrize(
    ("address", "taken"), [("127.0.0.1", "127.0.0.1"), ("localhost", "127.0.0.1"), ("::1", "::1")]
)
def test_loopback_is_taken(address: str, taken: str) -> None:
    assert check_address(address, port=8501) == taken


def test_a_port_in_use_is_said_in_a_line_and_passed_over_where_none_was_asked_for(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["ui", str(tmp_path), "--port", str(port)]) == 1
        said = capsys.readouterr().err
        assert f"--port is {port}" in said
        assert said.count("\n") == 1
        assert choose_port("127.0.0.1", None, default=port) > port


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--port", "0"], "'0' is no port"),
        (["--port", "http"], "'http' is no port"),
        (["{tmp}/swee"], "did you mean sweeps?"),
        (["ftp://x/y"], "FOLDER is 'ftp://x/y'"),
        (["{tmp}", "--optuna-dashboard", "x"], "--optuna-dashboard takes a SWEEP"),
        (["--optuna-dashboard", "no-such-sweep"], "no sweep 'no-such-sweep'"),
    ],
)
def test_wrong_usage_is_answered_in_words(
    arguments: list[str], said: str, tmp_path: Path, home: Path, capsys: Any, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sweeps").mkdir()
    given = [argument.replace("{tmp}", str(tmp_path)) for argument in arguments]
    try:
        code = main(["ui", *given])
    except SystemExit as ended:
        code = int(ended.code or 0)
    assert code == 2
    assert said in capsys.readouterr().err


def test_help_and_the_other_verbs_load_nothing_of_the_page() -> None:
    code = "import sys, sweeps.cli; sweeps.cli.main(['--help']); print('streamlit' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.rstrip().endswith("False")
    assert "\n  ui " in done.stdout


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a_b*c*", r"a\_b\*c\*"),
        ("![x](http://y)", r"\!\[x\]\(http\:\/\/y\)"),
        ("<b>\n # x", r"\<b\> \# x"),
        ("$x$ `y` :red[z]", r"\$x\$ \`y\` \:red\[z\]"),
    ],
)
def test_markdown_of_others_is_escaped(text: str, escaped: str) -> None:
    assert plain(text) == escaped


def test_an_output_is_shown_as_a_terminal_would() -> None:
    raw = "\x1b[1;31mred\x1b[0m\r\n10%\r50%\r100%\r\ndone \x1b]0;title\x07here\x1b[2K"
    assert terminal_text(raw) == "red\n100%\ndone here"


def test_times_are_told_from_now_on_backwards() -> None:
    import time

    now = time.time()
    assert (ago(None), ago(now)) == ("", "just now")
    assert ago(now - 125) == "2m 05s ago"
    assert ago(0.0).startswith("1970-01-01") or ago(0.0).startswith("1969-12-31")


def test_trials_are_filtered_and_ordered(made: Any) -> None:
    sweep = load_sweep(made.folder)
    table = trials_table(sweep)

    def numbers(condition: str = "", order: str = "by number", *statuses: str) -> list[int]:
        found = selected(
            table, statuses=statuses, condition=condition, metric="val_accuracy", order=order
        )
        listed: list[int] = found["number"].to_pylist()
        return listed

    assert numbers() == [0, 1, 2, 3]
    assert numbers(order="best first") == [3, 2, 1, 0]
    assert numbers(order="newest first") == [3, 2, 1, 0]
    assert numbers("lr<0.003 and name==mlp") == [0]
    assert numbers("val_accuracy>=0.7") == [2, 3]
    assert numbers("", "by number", "complete", "failed") == [0]
    with pytest.raises(ConfigError, match=r"^filter: there is no column 'width'"):
        numbers("width<3")
    assert list(labels(sweep).values())[-2:] == ["lr", "name"]


def test_configs_stand_side_by_side_with_secrets_masked(made: Any) -> None:
    for number in (0, 1):
        config = made.folder.job(number, 1) / ".hydra" / "config.yaml"
        config.parent.mkdir(parents=True)
        config.write_text(f"a: {{b: 1, c: {number}}}\napi_key: s3cret{number}\nlist: [1, 2]\n")
    sweep = load_sweep(made.folder)
    trials = [sweep.trials[0], sweep.trials[1]]
    both = side_by_side(sweep, trials, differences=False)
    assert list(both.index) == ["a.b", "a.c", "api_key", "list"]
    assert list(both.columns) == ["trial 0", "trial 1"]
    assert "s3cret" not in both.to_string()
    assert list(side_by_side(sweep, trials, differences=True).index) == ["a.c", "api_key"]
    without = side_by_side(sweep, [sweep.trials[2], sweep.trials[3]], differences=True)
    assert list(without.index) == ["model.lr", "model.name"]


def test_curves_are_of_the_metric_asked_for(made: Any) -> None:
    sweep = load_sweep(made.folder)
    assert metric_names(sweep) == ["val_accuracy", "val/loss"]
    figure = curves(sweep, list(sweep.trials)[:2], "val/loss")
    assert figure is not None
    assert [line.name for line in figure.data] == ["trial 0", "trial 1"]
    assert curves(sweep, [], "val/loss") is None


def test_the_end_of_a_trial_s_newest_output_is_shown(made: Any) -> None:
    assert tail(made.folder, 0, lines=5).text == ""
    output = made.folder.output(0, 1)
    output.parent.mkdir(parents=True)
    output.write_text("".join(f"line {i}\n" for i in range(100_000)))
    found = tail(made.folder, 0, lines=3)
    assert found.text == "line 99997\nline 99998\nline 99999"
    assert found.cut
    assert found.path == str(output)


def test_an_export_that_fails_says_why_and_its_exit_code(made: Any) -> None:
    exports = Exports()
    export = exports.start(made.folder.place)
    assert exports.start(made.folder.place) is export  # one at a time
    exports.wait(made.folder.place, 120)
    assert export.code == 1
    assert "reported no checkpoint" in " ".join(export.said)
    assert export.command == f"caviar export {made.folder.place}"
    assert exports.of(made.folder.place) is export


def test_a_copy_of_the_journal_is_a_study_of_optuna_s_and_follows_the_sweep(
    made: Any, tmp_path: Path
) -> None:
    before = made.folder.journal.read_bytes()
    copy = JournalCopy(made.folder, tmp_path / "copy.log")
    copy.update()
    storage = copy.storage()
    study = optuna.load_study(study_name="sweep", storage=storage)
    assert len(study.trials) == 4
    study.set_user_attr("note", "written to the copy alone")
    assert made.folder.journal.read_bytes() == before
    made.ask(4, **{"model.lr": 0.5, "model.name": "mlp"})
    copy.update()
    assert len(optuna.load_study(study_name="sweep", storage=storage).trials) == 5


def test_a_copy_goes_on_when_its_storage_is_back(
    made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(dashboard, "_FOLLOW_S", 0.01)
    copy = JournalCopy(made.folder, tmp_path / "copy.log")
    whole, tries, ended = copy.update, iter(range(4)), threading.Event()

    def away_twice() -> None:
        turn = next(tries)
        if turn < 2:
            raise BucketError("it is away")
        whole()
        ended.set()

    monkeypatch.setattr(copy, "update", away_twice)
    copy.follow(ended)
    assert len(optuna.load_study(study_name="sweep", storage=copy.storage()).trials) == 4
    assert [record.getMessage() for record in caplog.records].count(
        "the copy is not up to date: it is away; trying again"
    ) == 1


def test_a_sweep_that_never_began_has_no_copy(made: Any, tmp_path: Path) -> None:
    made.folder.journal.unlink()
    with pytest.raises(SweepError, match="never began"):
        JournalCopy(made.folder, tmp_path / "copy.log").update()


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8080", "200 OK"),
        ("localhost:9000", "200 OK"),
        ("evil.example:8080", "403 Forbidden"),
        ("127.0.0.1.evil.example", "403 Forbidden"),
        ("", "403 Forbidden"),
    ],
)
def test_a_name_that_leads_here_from_elsewhere_is_refused(host: str, status: str) -> None:
    said: list[str] = []

    def application(environ: dict[str, Any], start: Any) -> list[bytes]:
        start("200 OK", [])
        return [b"the study"]

    guarded = only_for({"127.0.0.1", "localhost"}, application)
    list(guarded({"HTTP_HOST": host}, lambda code, headers: said.append(code)))
    assert said == [status]


def test_the_tunnel_names_this_machine() -> None:
    assert tunnel(8501).startswith("ssh -N -L 8501:127.0.0.1:8501 ")
