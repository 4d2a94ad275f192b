"""Exports as torch.export programs and ONNX: compared, documented by lines that run, refused."""

import csv
import json
import os
import re
import subprocess
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import nn

import models
import sweeps.export.formats as formats_module
from models import Trainer
from models.data import preprocessing
from models.training.trained import TrainedModels
from sweeps.cli import main
from sweeps.errors import ConfigError, SweepError
from sweeps.export import ALL, WEIGHTS, Formats, export_best, export_top
from sweeps.export.compare import TOLERANCE, compare
from sweeps.export.deploy import deploy
from sweeps.export.formats import parse_formats
from sweeps.export.onnx_graph import OPSET
from sweeps.export.signature import ENCODINGS, Column, Signature
from sweeps.retest.looks import looks
from sweeps.storage.folder import SweepFolder

ROOT = Path(__file__).resolve().parents[1]
MLP = ["model=mlp", "model.depth=1", "model.width=8"]
CITIES = ["Kyoto", "Lima", "New York"]


def write_people(file: Path, n=200) -> None:
    """Rows of numbers, text, and times whose digits matter; some numbers are missing."""
    draw = np.random.default_rng(0)
    with file.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["id", "age", "city", "member", "stamp", "income"])
        for i in range(n):
            age, city = draw.integers(17, 90), CITIES[i % 3]
            stamp = 1.7e9 + draw.normal()
            high = age > 50 or (city == "Lima" and stamp > 1.7e9)
            shown = "" if i % 20 == 0 else age
            writer.writerow([i, shown, city, i % 2 == 0, stamp, "high" if high else "low"])


def train(made, *overrides, trials=1) -> None:
    """Train trials of the bundled app, each to one checkpoint."""
    for trial in range(trials):
        job = made.folder.job(trial, 1)
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            given = ["trainer.device=cpu", f"seed={trial}", *overrides]
            config = compose("train", given, return_hydra_config=True)
        hydra = OmegaConf.create({"hydra": config.hydra})
        OmegaConf.set_struct(config, False)
        del config["hydra"]
        (job / ".hydra").mkdir(parents=True)
        OmegaConf.save(config, job / ".hydra" / "config.yaml")
        OmegaConf.save(hydra, job / ".hydra" / "hydra.yaml")
        made.ask(trial, **{"optimizer.lr": 0.1})
        parts = instantiate(config, _convert_="all")

        def report(epoch, metrics, save, job=job, trial=trial):
            place = made.folder.relative(save(job / "checkpoints" / f"{epoch:06d}"))
            made.report(trial, epoch, metrics["val_accuracy"], checkpoint=place)

        parts["trainer"].fit(parts, on_epoch=report)


def begin(make, *place):
    app = {"sys_path": [str(ROOT)], "file": None, "module": "sweeps.train"}
    return make(*place, {"optimizer.lr": "tag(log, interval(0.001, 1))"}, app=app)


@dataclass
class Exported:
    """A table, a sweep over it, and its export in all formats."""

    folder: Path
    people: Path
    result: object


@pytest.fixture(scope="module")
def exported(make_sweep_in, tmp_path_factory):
    place = tmp_path_factory.mktemp("people")
    people = place / "people.csv"
    write_people(people)
    made = begin(make_sweep_in, place / "sweeps")
    table = ["data=table", f"data.path={people}", "data.target=income", "data.drop=[id]"]
    train(made, *table, *MLP, "trainer.epochs=8", "trainer.batch_size=16")
    result = export_best(made.folder, formats=ALL)
    return Exported(folder=result.folder, people=people, result=result)


def read(file):
    with file.open(newline="") as stream:
        return list(csv.DictReader(stream))


def source(folder):
    """What the app's own trainer says of raw rows, from the weights."""
    parts = instantiate(OmegaConf.load(folder / "config.yaml"), _convert_="all")
    best = parts["trainer"].load(folder, parts)
    return lambda rows: parts["trainer"].predict(best.net, rows).numpy()


def session(folder):
    return onnxruntime.InferenceSession(folder / "model.onnx")


def numeric_rows(n=7):
    draw = np.random.default_rng(1)
    rows = np.zeros((n, 6))
    rows[:, 0] = draw.integers(17, 90, n)
    rows[np.arange(n), 1 + np.arange(n) % 3] = 1
    rows[:, 4] = np.arange(n) % 2
    rows[:, 5] = 1.7e9 + draw.normal(size=n)
    rows[2, 0] = np.nan
    return rows


def test_a_raw_row_goes_into_each_graph_and_its_probabilities_come_out(exported):
    rows = numeric_rows()
    said = source(exported.folder)(rows)
    graph = session(exported.folder).run(None, {"rows": rows})[0]
    program = torch.export.load(exported.folder / "model.pt2").module()
    with torch.no_grad():
        np.testing.assert_allclose(program(torch.from_numpy(rows)).numpy(), said, atol=1e-6)
    np.testing.assert_allclose(graph, said, atol=1e-6)
    np.testing.assert_allclose(graph.sum(1), 1, atol=1e-6)
    assert np.ptp(graph[:, 0]) > 0.1


def test_the_temperature_is_in_the_graphs(exported):
    kept = json.loads((exported.folder / "model.json").read_text())["temperature"]
    assert kept == exported.result.calibration.temperature != 1
    parts = instantiate(OmegaConf.load(exported.folder / "config.yaml"), _convert_="all")
    best = parts["trainer"].load(exported.folder, parts)
    rows = numeric_rows()
    logits = best.net(best.preprocessing.transform(rows)).detach()
    graph = session(exported.folder).run(None, {"rows": rows})[0]
    np.testing.assert_allclose(graph, (logits / kept).softmax(1).numpy(), atol=1e-6)


@pytest.mark.parametrize("n", [1, 2, 33])
def test_graphs_take_any_number_of_rows(exported, n):
    assert session(exported.folder).run(
        None, {"rows": numeric_rows(n) if n > 2 else numeric_rows()[:n]}
    )[0].shape == (n, 2)


def test_both_graphs_carry_names_shape_and_type(exported):
    inside = onnx.load(exported.folder / "model.onnx")
    assert [opset.version for opset in inside.opset_import if not opset.domain] == [OPSET]
    props = {prop.key: json.loads(prop.value) for prop in inside.metadata_props}
    assert props["classes"] == ["high", "low"]
    cities = [f"city={city}" for city in CITIES]
    assert props["features"] == ["age", *cities, "member", "stamp"]
    assert (props["shape"], props["dtype"], props["task"]) == ([6], "float64", "classification")
    extra = {"metadata.json": ""}
    torch.export.load(exported.folder / "model.pt2", extra_files=extra)
    assert {k: json.loads(v) for k, v in json.loads(extra["metadata.json"]).items()} == props


def test_the_result_and_the_files_say_how_near_each_format_is(exported):
    metrics = json.loads((exported.folder / "metrics.json").read_text())
    for graph in exported.result.graphs:
        assert graph.agreement.difference <= TOLERANCE
        assert graph.agreement.changed == 0
        assert graph.agreement.rows > 40 * 2  # the validation rows, and again with holes
        assert metrics["formats"][graph.format]["agreement"]["rows"] == graph.agreement.rows
    card = (exported.folder / "README.md").read_text()
    assert "| `model.onnx`, opset 20 |" in card
    assert f"more than {TOLERANCE:g} apart would have refused it" in card


@pytest.mark.slow
def test_every_block_of_the_cards_code_runs(exported):
    card = (exported.folder / "README.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)
    assert [len(block.splitlines()) for block in blocks[:2]] == [3, 3]
    assert len(blocks) == 3
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(blocks)],
        cwd=exported.folder.parent,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "array" not in done.stdout
    assert "tensor" in done.stdout
    assert "Linear" in done.stdout


def test_the_cards_command_runs(exported, tmp_path, monkeypatch, capsys):
    card = (exported.folder / "README.md").read_text()
    (line,) = re.findall(r"```sh\n(.*?)\n```", card)
    words = line.replace("data.csv", str(exported.people)).split()
    words[words.index("predictions.csv")] = str(tmp_path / "predictions.csv")
    monkeypatch.chdir(exported.folder.parent)
    assert main(words[1:]) == 0
    assert "200 rows, predicted by model.onnx" in capsys.readouterr().err
    predicted = [row["prediction"] for row in read(tmp_path / "predictions.csv")]
    true = [row["income"] for row in read(exported.people)]
    right = np.mean([a == b for a, b in zip(predicted, true, strict=True)])
    assert right > 0.7


def test_weights_and_graph_predict_the_same_of_a_file(exported, tmp_path):
    without = tmp_path / "export"
    without.mkdir()
    for file in exported.folder.iterdir():
        if file.is_file() and file.suffix not in (".onnx", ".pt2"):
            (without / file.name).write_bytes(file.read_bytes())
    said = []
    for folder in (exported.folder, without):
        out = tmp_path / "out.csv"
        assert main(["predict", str(folder), str(exported.people), "-o", str(out)]) == 0
        said.append([float(row["probability.high"]) for row in read(out)])
    np.testing.assert_allclose(said[0], said[1], atol=1e-6)


def test_an_export_carries_its_networks_source_with_hashes(exported):
    place = exported.folder / "source"
    names = {file.relative_to(place).as_posix() for file in place.rglob("*.py")}
    assert {
        "models/networks/mlp.py",
        "models/layers/norm.py",
        "models/training/trainer.py",
    } <= names
    assert all(name.startswith("models/") for name in names)
    done = subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=place, check=False)
    assert done.returncode == 0


def test_the_card_tells_the_task_the_data_and_the_intervals(exported):
    card = (exported.folder / "README.md").read_text()
    assert "| classes | `high`, `low` |" in card
    assert "| input | raw numeric rows `[n, 6]`, float64 |" in card
    assert f"| `path` | `{exported.people}` |" in card
    assert "| validation rows | 40 |" in card
    found = json.loads((exported.folder / "metrics.json").read_text())
    interval = found["intervals"]["validation"]["accuracy"]
    assert interval["low"] < found["validation"]["accuracy"] < interval["high"]
    assert (interval["rows"], interval["method"]) == (40, "Wilson")
    assert found["intervals"]["test"]["loss"]["method"] == "bootstrap"
    assert "The test split was looked at once, last for the export of trial 0." in card
    bins = found["calibration"]["reliability"]["test"]
    assert sum(rows for rows, _, _ in bins) == 40


# Which formats


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("onnx", ("safetensors", "onnx")),
        ("pt2, onnx", ALL.names),
        ("safetensors", ("safetensors",)),
    ],
)
def test_formats_are_read_from_a_list_and_weights_are_always_among_them(text, names):
    assert parse_formats(text) == Formats(names=names)


@pytest.mark.parametrize(
    ("text", "message"),
    [("onx", "'onx' is none of safetensors, pt2, onnx; did you mean onnx"), ("", "none of safe")],
)
def test_an_unknown_format_is_named(text, message):
    with pytest.raises(ConfigError, match=message):
        parse_formats(text)


def without_onnx(monkeypatch):
    found = formats_module.find_spec
    monkeypatch.setattr(
        formats_module, "find_spec", lambda name: None if name == "onnxscript" else found(name)
    )


def test_onnx_that_is_asked_for_and_not_installed_is_refused_with_the_command(monkeypatch):
    without_onnx(monkeypatch)
    with pytest.raises(ConfigError, match=r"onnx needs onnxscript: pip install 'caviar\[onnx\]'"):
        parse_formats("onnx")


# Networks and trainers that cannot


class Rows(Trainer):
    """A trainer of a network that was never trained, on rows of its own."""

    def __init__(self, module, shape=(3,)):
        super().__init__(device="cpu")
        self.module = module
        self.shape = shape

    def deployable(self, stored):
        return SimpleNamespace(
            module=self.module.eval(),
            task="classification",
            columns=[SimpleNamespace(name=n, encoding="number", categories=()) for n in "abc"],
            shape=self.shape,
            dtype="float32",
            outputs=["no", "yes"],
            missing=None,
        )

    def raw_rows(self, net, split):
        yield torch.randn(5, *self.shape, generator=torch.Generator().manual_seed(0))

    def predict(self, net, rows):
        with torch.no_grad():
            return self.module(torch.as_tensor(rows))


class Branches(nn.Module):
    """What it does depends on the rows."""

    def forward(self, x):
        return x[:, :2] if bool(x.sum() > 0) else x[:, 1:]


class Eigenvalues(nn.Module):
    """An operator that ONNX lacks."""

    def forward(self, x):
        return torch.linalg.eigvalsh(x[:, :2, None] @ x[:, None, :2])


STORED = SimpleNamespace(net=nn.Identity(), epoch=1)
NOT_ASKED = Formats(names=("safetensors", "pt2"), asked=False)


def test_a_network_that_cannot_be_traced_is_left_out_in_one_line_where_nobody_asked(tmp_path):
    found = deploy(Rows(Branches()), STORED, tmp_path, NOT_ASKED, say=print)
    assert not found.graphs
    assert found.left_out["pt2"].startswith("torch.export cannot trace the network: ")
    assert "\n" not in found.left_out["pt2"]
    assert {file.name for file in tmp_path.iterdir()} == {"signature.json"}


def test_a_format_that_was_asked_for_and_cannot_be_refuses_the_export(tmp_path):
    with pytest.raises(SweepError, match=r"nothing was exported: pt2: torch\.export cannot"):
        deploy(Rows(Branches()), STORED, tmp_path, replace(NOT_ASKED, asked=True), say=print)


@pytest.mark.slow
def test_an_operator_that_onnx_lacks_is_named_and_the_program_is_written_all_the_same(tmp_path):
    found = deploy(Rows(Eigenvalues()), STORED, tmp_path, ALL, say=print)
    assert [graph.format for graph in found.graphs] == ["pt2"]
    assert "_linalg_eigh" in found.left_out["onnx"]
    assert "\n" not in found.left_out["onnx"]
    assert not (tmp_path / "model.onnx").exists()


def test_a_graph_that_says_something_else_refuses_the_export(tmp_path):
    class Wrong(Rows):
        def predict(self, net, rows):
            return super().predict(net, rows) + 2e-4

    with pytest.raises(SweepError, match=r"on 6 validation rows pt2 is up to 0\.0002 off"):
        deploy(Wrong(nn.Linear(3, 2)), STORED, tmp_path, NOT_ASKED, say=print)


def test_a_refused_export_leaves_the_old_one(exported, monkeypatch):
    before = (exported.folder / "README.md").read_text()
    said = TrainedModels.predict
    monkeypatch.setattr(TrainedModels, "predict", lambda *given: said(*given) * 0.9)
    with pytest.raises(SweepError, match="nothing was exported: on 81 validation rows pt2 is up"):
        export_best(SweepFolder(exported.folder.parent), formats=parse_formats("pt2"))
    assert (exported.folder / "README.md").read_text() == before
    assert not list(exported.folder.parent.glob(".best*"))


SIGNATURE = Signature(
    task="classification",
    columns=tuple(Column(name=name) for name in "ab"),
    shape=(2,),
    dtype="float64",
    outputs=("no", "yes"),
    missing="NaN counts as 0",
)


def test_missing_numbers_are_planted_where_they_are_allowed():
    asked = []

    def run(rows):
        asked.append(rows.copy())
        return np.nan_to_num(rows)

    batches = [np.ones((3, 2)), np.ones((2, 2))]
    found = compare(run, {"x": np.nan_to_num}, batches, SIGNATURE)["x"]
    assert (found.rows, found.difference, found.changed) == (3 + 1 + 3 + 2, 0.0, 0)
    assert [np.isnan(rows).sum() for rows in asked] == [0, 0, 3, 0]
    with pytest.raises(SweepError, match="off what the network says"):
        compare(run, {"x": lambda rows: rows}, batches, SIGNATURE)


def test_nothing_to_compare_on_refuses_the_export():
    with pytest.raises(SweepError, match="validation split has no rows"):
        compare(np.asarray, {"x": np.asarray}, [], SIGNATURE)


class Bare:
    """A trainer from before there were graphs."""

    def __init__(self, **options):
        own = Trainer(**options)
        self.load, self.evaluate, self.export = own.load, own.evaluate, own.export

    load = evaluate = export = None  # what an instance has, its class has too


def test_a_trainer_that_offers_no_graph_still_has_its_export_and_is_told(make_sweep, monkeypatch):
    made = begin(make_sweep)
    train(made, "data=digits", "model=softmax", "trainer.epochs=1")
    monkeypatch.setattr(models, "Trainer", Bare)
    result = export_best(made.folder, formats=ALL)
    assert result.verified
    why = "Bare does not offer deployable, raw_rows, predict"
    assert result.left_out == {"pt2": why, "onnx": why}
    assert not (result.folder / "signature.json").exists()
    with pytest.raises(SweepError, match="onnx: Bare does not offer deployable"):
        export_best(made.folder, formats=parse_formats("onnx"))


# The best few


def test_the_best_few_are_a_folder_each_with_an_index(make_sweep, capsys):
    made = begin(make_sweep)
    train(made, "data=digits", *MLP, "trainer.epochs=1", trials=3)
    assert main(["export", str(made.folder.path), "--top", "2", "--formats", "safetensors"]) == 0
    index = json.loads((made.folder.top / "index.json").read_text())
    trials = [line["trial"] for line in index["exports"]]
    assert len(trials) == 2
    values = [line["value"] for line in index["exports"]]
    assert values == sorted(values, reverse=True)
    for line in index["exports"]:
        inside = made.folder.top / line["folder"]
        assert json.loads((inside / "metrics.json").read_text())["trial"] == line["trial"]
        assert source(inside)(np.zeros((1, 64))).shape == (1, 10)
    assert f"({trials[0]}" not in capsys.readouterr().err
    readme = (made.folder.top / "README.md").read_text()
    assert f"[1-trial-{trials[0]}](1-trial-{trials[0]}/README.md)" in readme
    assert len(looks(made.folder)) == 1
    assert [line["test"] is None for line in index["exports"]] == [False, True]
    for line in index["exports"]:
        told = json.loads((made.folder.top / line["folder"] / "metrics.json").read_text())
        assert ("test" in told["calibration"]["ece"]) is (line["test"] is not None)


@pytest.mark.slow
def test_one_of_the_best_few_that_cannot_be_exported_leaves_all_as_it_was(make_sweep):
    made = begin(make_sweep)
    train(made, "data=digits", *MLP, "trainer.epochs=1", trials=2)
    export_top(made.folder, count=2, formats=WEIGHTS)
    before = sorted(file.stat().st_mtime_ns for file in made.folder.top.rglob("*"))
    for file in (made.folder.job(1, 1) / "checkpoints").rglob("*.safetensors"):
        file.write_bytes(b"damaged")
    with pytest.raises(SweepError, match="cannot be loaded"):
        export_top(made.folder, count=2, formats=WEIGHTS)
    assert sorted(file.stat().st_mtime_ns for file in made.folder.top.rglob("*")) == before
    with pytest.raises(SweepError, match="--top is 3; of 2 trials 2 have a value"):
        export_top(made.folder, count=3)


def test_a_signature_and_a_preprocessing_mean_the_same_by_a_column() -> None:
    """`sweeps` imports no `models`, so the one repeats the other."""
    for given in (
        {"name": "age"},
        {"name": "job", "encoding": "onehot", "categories": ("a", "b")},
        {"name": "job", "encoding": "integer", "categories": ("a", "b")},
    ):
        ours, theirs = Column(**given), preprocessing.Column(**given)
        assert asdict(ours) == asdict(theirs)
        assert ours.features == theirs.features
    assert get_args(preprocessing.Encoding) == ENCODINGS
