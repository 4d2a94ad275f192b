"""The softmax head's loss, and probabilities that mean what they say."""

import math

import pytest
import torch
import torch.nn.functional as F

from models import (
    class_weights,
    cross_entropy,
    expected_calibration_error,
    fit_temperature,
    predict_proba,
)
from models.training.seeding import num_threads


@pytest.fixture(autouse=True)
def one_thread():
    with num_threads(1):
        yield


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def logits_and_labels(n=4000, classes=5, scale=2.0):
    """Labels drawn from softmax(logits): the logits are calibrated."""
    z = torch.randn(n, classes, generator=generator(), dtype=torch.float64) * scale
    return z, torch.multinomial(z.softmax(1), 1, generator=generator(1))[:, 0]


def test_the_gradient_is_prediction_minus_target():
    z, y = logits_and_labels(20)
    z.requires_grad_()
    cross_entropy(z, y).backward()
    torch.testing.assert_close(z.grad, (z.softmax(1) - F.one_hot(y, 5)).detach() / 20)


def test_with_label_smoothing_the_target_is_mixed_with_uniform():
    z, y = logits_and_labels(20)
    z.requires_grad_()
    cross_entropy(z, y, label_smoothing=0.1).backward()
    target = 0.9 * F.one_hot(y, 5) + 0.1 / 5
    torch.testing.assert_close(z.grad, (z.softmax(1) - target).detach() / 20)


def test_class_weights_weigh_rows_by_their_class():
    z, y = logits_and_labels(20)
    weights = torch.tensor([1.0, 0.5, 2.0, 0.0, 3.0]).double()
    rows = -z.log_softmax(1).gather(1, y[:, None])[:, 0]
    expected = (weights[y] * rows).sum() / weights[y].sum()
    torch.testing.assert_close(cross_entropy(z, y, class_weights=weights), expected)


def test_two_classes_are_logistic_regression():
    z, y = logits_and_labels(20, classes=2)
    logistic = F.binary_cross_entropy_with_logits(z[:, 1] - z[:, 0], y.double())
    torch.testing.assert_close(cross_entropy(z, y), logistic)


def test_huge_logits_do_not_overflow():
    z = torch.tensor([[1e4, 0.0], [0.0, 1e4], [-1e4, -1e4]], requires_grad=True)
    loss = cross_entropy(z, torch.tensor([1, 1, 0]))
    loss.backward()
    assert float(loss.detach()) == pytest.approx((1e4 + 0 + math.log(2)) / 3)
    assert z.grad.isfinite().all()


def test_balanced_weights_let_each_class_count_the_same():
    counts = torch.tensor([10, 40, 50])
    weights = class_weights("balanced", counts)
    torch.testing.assert_close(weights * counts, torch.full((3,), 100 / 3))
    assert class_weights("none", counts) is None


def test_a_class_without_rows_has_no_weight():
    weights = class_weights("balanced", torch.tensor([30, 0, 10]))
    assert weights.tolist() == pytest.approx([40 / 60, 0, 2])


def test_wrong_weights_name_their_key():
    with pytest.raises(ValueError, match=r"trainer\.class_weights is 'balance'; did you mean"):
        class_weights("balance", torch.tensor([1, 1]))


@pytest.mark.parametrize("overconfidence", [0.25, 1.0, 3.0, 20.0])
def test_the_temperature_undoes_an_overconfident_scale(overconfidence):
    z, y = logits_and_labels()
    assert fit_temperature(z * overconfidence, y) == pytest.approx(overconfidence, rel=0.05)


def test_the_temperature_is_where_the_likelihood_is_stationary():
    z, y = logits_and_labels(200)
    log_t = torch.tensor(math.log(fit_temperature(3 * z, y)), dtype=z.dtype, requires_grad=True)
    F.cross_entropy(3 * z / log_t.exp(), y).backward()
    assert abs(float(log_t.grad)) < 1e-12


def test_scaling_changes_no_class_and_lowers_the_calibration_error():
    z, y = logits_and_labels()
    confident = (3 * z).float()
    t = fit_temperature(confident, y)
    before, after = (
        confident.softmax(1),
        predict_proba(torch.nn.Identity(), confident, temperature=t),
    )
    assert torch.equal(before.argmax(1), after.argmax(1))
    assert expected_calibration_error(before, y) > 0.15
    assert expected_calibration_error(after, y) < 0.03


@pytest.mark.parametrize(("right", "limit"), [(True, 0.01), (False, 100)])
def test_the_temperature_is_bounded_where_there_is_no_best(right, limit):
    z = torch.eye(4)
    y = torch.arange(4) if right else torch.arange(4).roll(1)
    assert fit_temperature(z, y) == pytest.approx(limit, rel=1e-6)


def test_equal_logits_leave_any_temperature():
    assert 0.01 <= fit_temperature(torch.zeros(5, 3), torch.zeros(5, dtype=torch.long)) <= 100


@pytest.mark.parametrize("z", [torch.zeros(0, 3), torch.full((1, 3), math.nan)])
def test_a_temperature_needs_finite_rows(z):
    with pytest.raises(ValueError, match="finite logits"):
        fit_temperature(z, torch.zeros(len(z), dtype=torch.long))


def test_calibration_error_of_a_worked_example():
    """Two bins: (0, 0.5] has confidence 0.5 and accuracy 0, (0.5, 1] has 0.8 and 2 / 3."""
    p = torch.tensor([[0.5, 0.5], [0.9, 0.1], [0.2, 0.8], [0.7, 0.3]])
    y = torch.tensor([1, 0, 1, 1])
    expected = 1 / 4 * 0.5 + 3 / 4 * (0.8 - 2 / 3)
    assert expected_calibration_error(p, y, bins=2) == pytest.approx(expected)


def test_confident_and_right_is_calibrated():
    assert expected_calibration_error(torch.eye(3), torch.arange(3)) == 0
    assert expected_calibration_error(torch.eye(3), torch.tensor([1, 2, 0])) == 1


@pytest.mark.parametrize(("n", "bins"), [(0, 15), (3, 0)])
def test_calibration_needs_rows_and_bins(n, bins):
    with pytest.raises(ValueError, match="rows and bins"):
        expected_calibration_error(torch.ones(n, 1), torch.zeros(n, dtype=torch.long), bins=bins)
