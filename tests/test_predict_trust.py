"""A tampered export is refused, or what was put into it does nothing."""

import json
import pickle
import shutil
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf
from onnx.external_data_helper import set_external_data

from models import Best
from sweeps.errors import ConfigError, SweepError
from sweeps.export.deploy import deploy
from sweeps.export.formats import WEIGHTS
from sweeps.export.signature import Column
from sweeps.export.source import hash_of
from sweeps.predict import predict_file
from sweeps.predict.trust import Parts, Trust

ROOT = Path(__file__).resolve().parents[1]


def seal(folder: Path) -> None:
    """The hashes of what is there now: who can change a file can change them too."""
    files = [file for file in folder.iterdir() if file.is_file() and file.name != "metrics.json"]
    text = json.dumps({"sha256": {file.name: hash_of(file) for file in files}})
    (folder / "metrics.json").write_text(text)


@pytest.fixture
def data(tmp_path):
    file = tmp_path / "rows.npy"
    np.save(file, np.zeros((3, 64)))
    return file


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """An export of weights alone: to use it, its network must be rebuilt."""
    folder = tmp_path_factory.mktemp("sound") / "weights"
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = compose("train", ["data=digits", "model=softmax", "trainer.device=cpu"])
    parts = instantiate(config, _convert_="all")
    trainer = parts["trainer"]
    net = trainer.build(parts)
    best = Best(net=net, epoch=0, metrics={}, preprocessing=trainer.preprocessing)
    trainer.export(best, folder)
    deploy(trainer, best, folder, WEIGHTS, say=lambda text: None)
    OmegaConf.save(config, folder / "config.yaml")
    seal(folder)
    return folder


@pytest.fixture
def weights(sound, tmp_path):
    """A copy of that, to tamper with."""
    return Path(shutil.copytree(sound, tmp_path / "weights"))


@pytest.fixture
def graph(make_export):
    """An export with an ONNX graph."""
    return make_export((Column(name="age"),), np.array([[1.0, 0.0]]), missing_is=None)


@pytest.fixture
def ages(tmp_path):
    (tmp_path / "d.csv").write_text("age\n1\n2\n")
    return tmp_path / "d.csv"


class Canary:
    """Unpickled, it writes a file."""

    def __init__(self, file):
        self.file = str(file)

    def __reduce__(self):
        return (Path.touch, (Path(self.file),))


def test_pickles_programs_and_source_in_an_export_are_never_touched(graph, ages, tmp_path):
    sung = tmp_path / "sung"
    for name in ("model.pkl", "weights.pt", "model.pt2", "model.joblib"):
        (graph / name).write_bytes(pickle.dumps(Canary(sung)))
    code = f"from pathlib import Path; Path({str(sung)!r}).touch()"
    for package in ("models", "onnxruntime", "source/models"):
        (graph / package).mkdir(parents=True)
        (graph / package / "__init__.py").write_text(code)
    (graph / "sitecustomize.py").write_text(code)
    (graph / "config.yaml").write_text("trainer: {_target_: os.system, command: touch sung}\n")
    assert predict_file(graph, ages, out=tmp_path / "p.csv").rows == 2
    assert not sung.exists()
    pickle.loads((graph / "model.pt2").read_bytes())  # it would have sung
    assert sung.exists()


def test_weights_are_used_by_the_installed_networks_without_a_word(weights, data, tmp_path):
    done = predict_file(weights, data, out=tmp_path / "p.csv")
    assert (done.rows, done.file) == (3, "weights.safetensors")


def test_weights_that_are_a_pickle_are_refused(weights, data, tmp_path):
    torch.save({"linear.weight": Canary(tmp_path / "sung")}, weights / "weights.safetensors")
    seal(weights)
    with pytest.raises(SweepError, match="cannot be loaded"):
        predict_file(weights, data, out=tmp_path / "p.csv")
    assert not (tmp_path / "sung").exists()


@pytest.mark.parametrize("name", ["weights.safetensors", "model.json", "config.yaml"])
def test_a_file_that_was_changed_since_it_was_verified_is_refused(weights, data, name):
    file = weights / name
    file.write_bytes(file.read_bytes() + b" ")
    with pytest.raises(SweepError, match=f"{name} is not the file that was verified"):
        predict_file(weights, data)


def test_a_graph_that_was_changed_since_it_was_verified_is_refused(graph, ages):
    (graph / "model.onnx").write_bytes((graph / "model.onnx").read_bytes()[:-1])
    with pytest.raises(SweepError, match=r"model\.onnx is not the file that was verified"):
        predict_file(graph, ages)


def tampered(weights, key, value):
    config = OmegaConf.load(weights / "config.yaml")
    OmegaConf.update(config, key, value, force_add=True)
    OmegaConf.save(config, weights / "config.yaml")
    seal(weights)


RUNS = {
    "of another package": "os.system",
    "of python itself": "builtins.eval",
    "of torch": "torch.load",
    "of sweeps": "sweeps.cli.main",
}
THROUGH = {
    "a module that ours imports": "models.training.files.shutil.rmtree",
    "a function of ours": "models.save_checkpoint",
    "torch within ours": "models.training.export.torch.load",
}


@pytest.mark.parametrize("target", RUNS.values(), ids=RUNS)
@pytest.mark.parametrize("key", ["trainer._target_", "model._target_", "trainer.epochs._target_"])
def test_a_target_out_of_the_models_package_is_refused_and_not_run(
    weights, data, key, target, monkeypatch
):
    called = []
    monkeypatch.setattr("os.system", called.append)
    tampered(weights, key, target)
    with pytest.raises(ConfigError, match=rf"would run '{target}': if you trust it, say so"):
        predict_file(weights, data)
    assert not called


@pytest.mark.parametrize("target", THROUGH.values(), ids=THROUGH)
def test_a_target_that_only_passes_through_the_models_package_is_refused(
    weights, data, target, tmp_path
):
    victim = tmp_path / "victim"
    victim.mkdir()
    tampered(weights, "model", {"_target_": target, "path": str(victim), "folder": str(victim)})
    with pytest.raises(ConfigError, match="is no class of models: nothing was run"):
        predict_file(weights, data)
    assert victim.is_dir()


def test_a_target_behind_an_interpolation_is_seen(weights, data, monkeypatch):
    monkeypatch.setenv("EVIL", "os.system")
    tampered(weights, "model._target_", "${oc.env:EVIL}")
    with pytest.raises(ConfigError, match=r"would run 'os\.system'"):
        predict_file(weights, data)


def test_parts_that_a_network_does_not_need_are_not_built(weights, data, tmp_path):
    tampered(weights, "optimizer", {"_target_": "os.system", "command": "false"})
    assert predict_file(weights, data, out=tmp_path / "p.csv").rows == 3


def test_a_package_within_the_export_is_not_trusted_even_by_name(tmp_path, monkeypatch):
    (tmp_path / "cuckoo").mkdir()
    (tmp_path / "cuckoo" / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=r"would run 'cuckoo\.Net'"):
        Trust(tmp_path, ["cuckoo"]).check({"_target_": "cuckoo.Net"})
    assert "cuckoo" not in sys.modules


def test_a_models_package_that_is_not_caviars_own_is_not_trusted_by_itself(tmp_path, monkeypatch):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "__init__.py").write_text("raise RuntimeError('imported')")
    for name in [name for name in sys.modules if name.partition(".")[0] == "models"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match="say so with --trust models"):
        Trust(tmp_path / "export", []).check({"_target_": "models.MLP"})


def test_a_package_that_the_user_trusts_may_use_functions(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text("def make(n):\n    return [n]\n")
    monkeypatch.syspath_prepend(tmp_path)
    node = {"model": {"_target_": "mine.make", "n": 2}}
    with pytest.raises(ConfigError, match="--trust mine"):
        Parts(node, Trust(tmp_path / "export", []))["model"]
    assert Parts(node, Trust(tmp_path / "export", ["mine"]))["model"] == [2]


def test_a_graph_that_points_at_another_file_is_refused(graph, ages):
    inside = onnx.load(graph / "model.onnx")
    tensor = inside.graph.initializer[0]
    set_external_data(tensor, "/etc/hostname")
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    (graph / "model.onnx").write_bytes(inside.SerializeToString())
    seal(graph)
    with pytest.raises(SweepError, match="External data path"):
        predict_file(graph, ages)


def test_a_graph_of_other_outputs_than_the_signature_says_is_refused(graph, ages):
    file = graph / "signature.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "classes": ["a", "b", "c"]}))
    seal(graph)
    with pytest.raises(SweepError, match=r"signature\.json names 3 outputs: the export is damaged"):
        predict_file(graph, ages)


@pytest.mark.parametrize("content", [b"", b"not a graph", b"\x80\x04"])
def test_a_graph_that_is_none_is_refused(graph, ages, content):
    (graph / "model.onnx").write_bytes(content)
    seal(graph)
    with pytest.raises(SweepError, match="cannot be read"):
        predict_file(graph, ages)


@pytest.mark.parametrize("text", ["{", "[]", '{"sha256": 3}', ""])
def test_damaged_metrics_are_told(graph, ages, text):
    (graph / "metrics.json").write_text(text)
    with pytest.raises(SweepError, match=r"is damaged|is not the file"):
        predict_file(graph, ages)
