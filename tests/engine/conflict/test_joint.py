"""Joint conflict: chi-square calibration, and conflicts that no single quantity shows."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from engine.conflict.joint import joint_conflict
from engine.errors import InvalidInput
from engine.priors.distribution import Normal


def test_one_quantity_gives_the_recentred_factor() -> None:
    # conflict.md §14 id 1
    joint = joint_conflict([Normal(0.5, 0.1)], [0.25], [[0.0025]])
    assert math.sqrt(joint.d2) == pytest.approx(2.236068, abs=5e-7)
    assert joint.p == pytest.approx(0.0253473, abs=5e-8)
    assert math.exp(joint.log_bf_cal) == pytest.approx(12.18249, abs=5e-6)


def test_negative_correlation_hides_a_joint_conflict_from_the_margins() -> None:
    # conflict.md §8: both media a little too high, estimates that can only trade one for the other
    s = 0.1
    cov = s**2 * np.array([[1.0, -0.98], [-0.98, 1.0]])
    beliefs = [Normal(0.5, 0.04), Normal(0.45, 0.04)]
    joint = joint_conflict(beliefs, [0.36, 0.31], cov)
    single = [(0.14 / math.hypot(0.04, s)) ** 2] * 2
    assert joint.leave_one_out == pytest.approx(single, rel=1e-9)
    assert all(stats.chi2.sf(d2, 1) > 0.15 for d2 in single)
    assert joint.p < 1e-3
    assert joint.worst_direction == pytest.approx((-math.sqrt(0.5), -math.sqrt(0.5)), rel=1e-9)


def test_right_beliefs_exceed_ten_as_often_jointly_as_singly() -> None:
    # BF_cal has one null rate for every k (conflict.md §3 B: the raw exp(D²/2) has .466 at k = 5)
    rng = np.random.default_rng(3)
    k, n = 5, 3000
    beliefs = [Normal(0.0, 1.0)] * k
    cov = 0.5 * np.eye(k) + 0.5
    chol = np.linalg.cholesky(cov + np.eye(k))
    hits = [joint_conflict(beliefs, chol @ rng.normal(size=k), cov).log_bf_cal >= math.log(10.0) for _ in range(n)]
    assert np.mean(hits) == pytest.approx(0.0319, abs=4.0 * math.sqrt(0.0319 / n))


def test_a_hopeless_belief_has_a_finite_factor() -> None:
    joint = joint_conflict([Normal(0.0, 0.01)], [10.0], [[0.0001]])
    assert math.isfinite(joint.log_bf_cal)
    assert joint.p == 0.0


@pytest.mark.parametrize(
    ("field", "arguments"),
    [
        ("priors", ([], [], np.zeros((0, 0)))),
        ("means_u", ([Normal(0.0, 1.0)], [math.nan], [[1.0]])),
        ("cov_u", ([Normal(0.0, 1.0)] * 2, [0.0, 0.0], [[1.0, 0.5], [0.2, 1.0]])),
        ("cov_u", ([Normal(0.0, 1.0)] * 2, [0.0, 0.0], [[1.0, 2.0], [2.0, 1.0]])),
    ],
)
def test_bad_input_is_refused_by_name(field: str, arguments: tuple) -> None:
    with pytest.raises(InvalidInput) as caught:
        joint_conflict(*arguments)
    assert caught.value.field == field
