"""The temperature of an export: fitted, kept, and used where probabilities are asked for."""

import json
import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F

import models
from models import Digits, Trainer, expected_calibration_error
from models.networks.predict import predict_logits

ROWS = torch.randint(0, 17, (50, 1, 8, 8), generator=torch.Generator().manual_seed(0))


def trainer():
    return Trainer(device="cpu", epochs=15, batch_size=64)


def parts(**data):
    return {
        "seed": 0,
        "model": partial(models.MLP, width=64, norm="none"),
        "data": Digits(**data),
        "optimizer": partial(models.SGD, lr=0.1, momentum=0.9),
        "lr_schedule": models.Constant,
    }


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return trainer().fit(parts()).save(tmp_path_factory.mktemp("fit") / "checkpoint")


@pytest.fixture
def exported(checkpoint, tmp_path):
    """A calibrated model, and its export."""
    t = trainer()
    found = t.calibrate(t.load(checkpoint, parts()))
    return found, t.export(found.best, tmp_path / "export")


def validation(net):
    x, y = Digits().load().validation
    return predict_logits(net, x), y


def test_an_overconfident_networks_temperature_makes_its_validation_rows_likelier(exported):
    found, _ = exported
    logits, y = validation(found.best.net)
    assert found.temperature > 1.1
    assert F.cross_entropy(logits / found.temperature, y) < 0.99 * F.cross_entropy(logits, y)


def test_the_calibration_error_is_told_before_and_after_on_both_splits(exported):
    found, _ = exported
    logits, y = validation(found.best.net)
    expected = [
        expected_calibration_error((logits / t).softmax(1), y) for t in (1, found.temperature)
    ]
    assert found.ece["validation"] == pytest.approx(expected)
    assert set(found.ece) == {"validation", "test"}


def test_a_loaded_export_predicts_with_its_temperature(exported):
    found, folder = exported
    t = trainer()
    best = t.load(folder, parts())
    assert best.temperature == found.temperature
    raw = predict_logits(best.net, t.preprocessing.transform(ROWS))
    p = t.predict(best.net, ROWS)
    torch.testing.assert_close(p, (raw / found.temperature).softmax(1))
    assert torch.equal(p.argmax(1), raw.argmax(1))


def test_metrics_are_those_of_the_logits_as_they_are(exported, checkpoint):
    _, folder = exported
    before, after = trainer(), trainer()
    assert after.evaluate(after.load(folder, parts()).net, "validation") == before.evaluate(
        before.load(checkpoint, parts()).net, "validation"
    )


def test_evaluate_reports_the_calibration_error(checkpoint):
    t = trainer()
    best = t.load(checkpoint, parts())
    logits, y = validation(best.net)
    metrics = t.evaluate(best.net, "validation")
    assert list(metrics) == ["accuracy", "loss", "ece"]
    assert metrics["ece"] == pytest.approx(expected_calibration_error(logits.softmax(1), y))


def test_an_export_without_a_temperature_predicts_as_it_always_did(exported):
    _, folder = exported
    file = folder / "model.json"
    model = json.loads(file.read_text())
    del model["temperature"]
    file.write_text(json.dumps(model))
    t = trainer()
    best = t.load(folder, parts())
    raw = predict_logits(best.net, t.preprocessing.transform(ROWS))
    assert torch.equal(t.predict(best.net, ROWS), raw.softmax(1))


def test_each_network_of_a_trainer_has_its_own_temperature(exported, checkpoint):
    found, folder = exported
    t = trainer()
    nets = [t.load(folder, parts()).net, t.load(checkpoint, parts()).net, t.build(parts()).eval()]
    for net, temperature in zip(nets, (found.temperature, 1, 1), strict=True):
        raw = predict_logits(net, t.preprocessing.transform(ROWS))
        torch.testing.assert_close(t.predict(net, ROWS), (raw / temperature).softmax(1))


def test_without_a_test_split_validation_rows_do(checkpoint):
    t = trainer()
    found = t.calibrate(t.load(checkpoint, parts(test=0)))
    assert set(found.ece) == {"validation"}


def test_logits_that_are_no_numbers_have_no_temperature(checkpoint):
    t = trainer()
    best = t.load(checkpoint, parts())
    torch.nn.init.constant_(best.net.head.bias, math.nan)
    with pytest.raises(ValueError, match="finite logits"):
        t.calibrate(best)
