"""Checkpoints come back as they were, or say which file is damaged."""

import json
import math

import pytest
import safetensors.torch
import torch

from models import CheckpointError, load_checkpoint, save_checkpoint
from models.training.checkpoint import STATE, TENSORS
from models.training.codec import decode, encode


def round_trip(tmp_path, state):
    return load_checkpoint(save_checkpoint(tmp_path / "c", state))


@pytest.mark.parametrize(
    "state",
    [
        {"a": [1, 2.5, "x", None, True], "b": {"c": {}}, "d": ()},
        {0: "int key", "1": "text key", ("a", 1): "tuple key"},
        {"$tensor": "looks like a tag"},
        {"betas": (0.9, 0.999), "nested": [(1, (2, [3]))]},
        [0.1, 1e-320, 2**80, -0.0, "é\u2028"],
    ],
)
def test_plain_values_come_back_equal_and_of_the_same_type(tmp_path, state):
    back = round_trip(tmp_path, state)
    assert back == state
    assert repr(back) == repr(state)


def test_non_finite_floats_are_strict_json(tmp_path):
    back = round_trip(tmp_path, {"loss": [math.nan, math.inf, -math.inf]})
    assert math.isnan(back["loss"][0])
    assert back["loss"][1:] == [math.inf, -math.inf]
    text = (tmp_path / "c" / STATE).read_text()
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def test_what_torchs_schedulers_and_optimizers_keep_comes_back(tmp_path):
    net = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(net.parameters())
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
    net(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    state = {"optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}
    back = round_trip(tmp_path, state)
    assert back["scheduler"] == state["scheduler"]
    assert back["scheduler"]["best"] == math.inf
    assert repr(back["optimizer"]) == repr(state["optimizer"])


@pytest.mark.parametrize(
    "tensor",
    [
        torch.randn(3, 4),
        torch.randn(4, 3).T,
        torch.randn(10)[2:5],
        torch.arange(10)[::2],
        torch.tensor(3.5),
        torch.empty(0, 4),
        torch.tensor([True, False]),
        torch.randn(5).bfloat16(),
        torch.tensor([math.nan, math.inf]),
        torch.get_rng_state(),
        torch.ones(1).expand(6),
    ],
)
def test_tensors_come_back_bit_for_bit(tmp_path, tensor):
    back = round_trip(tmp_path, {"t": tensor})["t"]
    assert back.dtype == tensor.dtype
    assert back.shape == tensor.shape
    assert (
        torch.equal(back.nan_to_num(7.0), tensor.nan_to_num(7.0))
        if tensor.dtype.is_floating_point
        else torch.equal(back, tensor)
    )


def test_a_tensor_in_two_places_is_stored_once(tmp_path):
    t = torch.randn(100)
    values, tensors = encode({"a": t, "b": [t]})
    assert len(tensors) == 1
    back = decode(values, tensors)
    assert torch.equal(back["a"], back["b"][0])


def test_different_views_of_one_storage_are_stored_apart(tmp_path):
    base = torch.arange(12.0)
    state = {"base": base, "shape": base.view(3, 4), "part": base[3:5], "row": base.view(3, 4)[1]}
    back = round_trip(tmp_path, state)
    for key, tensor in state.items():
        assert torch.equal(back[key], tensor), key


def test_gradients_are_left_behind(tmp_path):
    back = round_trip(tmp_path, torch.nn.Parameter(torch.ones(2)))
    assert not back.requires_grad


@pytest.mark.parametrize("thing", [object(), {1, 2}, lambda: 0, b"bytes", 1j])
def test_what_is_no_state_is_refused(tmp_path, thing):
    with pytest.raises(TypeError, match="cannot hold"):
        save_checkpoint(tmp_path / "c", {"x": thing})
    assert not (tmp_path / "c").exists()


def test_saving_again_replaces_and_leaves_nothing_beside(tmp_path):
    save_checkpoint(tmp_path / "c", 1)
    save_checkpoint(tmp_path / "c", 2)
    assert load_checkpoint(tmp_path / "c") == 2
    assert [p.name for p in tmp_path.iterdir()] == ["c"]


def test_a_half_written_neighbour_does_not_matter(tmp_path):
    (tmp_path / "c.partial").mkdir()
    (tmp_path / "c.partial" / "junk").write_text("x")
    assert round_trip(tmp_path, [1]) == [1]


@pytest.fixture
def checkpoint(tmp_path):
    return save_checkpoint(tmp_path / "c", {"w": torch.randn(50), "loss": math.nan, "epoch": 3})


@pytest.mark.parametrize("name", [TENSORS, STATE])
@pytest.mark.parametrize("keep", [0.0, 0.3, 0.99])
def test_a_truncated_file_is_named(checkpoint, name, keep):
    data = (checkpoint / name).read_bytes()
    (checkpoint / name).write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(CheckpointError, match=name):
        load_checkpoint(checkpoint)


@pytest.mark.parametrize("name", [TENSORS, STATE])
def test_any_changed_byte_is_noticed(checkpoint, name):
    data = (checkpoint / name).read_bytes()
    for at in range(0, len(data) - 1, 3):
        (checkpoint / name).write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(CheckpointError, match="c/"):
            load_checkpoint(checkpoint)


@pytest.mark.parametrize("name", [TENSORS, STATE])
def test_a_missing_file_is_named(checkpoint, name):
    (checkpoint / name).unlink()
    with pytest.raises(CheckpointError, match=name):
        load_checkpoint(checkpoint)


def test_another_format_is_refused_by_number(checkpoint):
    file = checkpoint / STATE
    file.write_text(file.read_text().replace('"format":1', '"format":9'))
    with pytest.raises(CheckpointError, match="format 9; this version reads 1"):
        load_checkpoint(checkpoint)


@pytest.mark.parametrize("values", [{"$nix": 1}, {"$tensor": "9"}, {"$float": "1.0"}, {"$dict": 3}])
def test_an_unknown_tag_is_an_error(values):
    with pytest.raises(ValueError, match=r"\$"):
        decode(values, {})


def test_the_tensors_are_plain_safetensors(checkpoint):
    assert [t.shape for t in safetensors.torch.load_file(checkpoint / TENSORS).values()] == [(50,)]
