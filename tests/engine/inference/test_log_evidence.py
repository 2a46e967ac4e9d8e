"""Laplace's marginal likelihood where it has a closed form."""

import numpy as np
from scipy import stats

from engine.inference.log_evidence import log_evidence
from engine.inference.precision import enable_float64
from tests.engine.inference.test_reference import regression

enable_float64()


def test_the_evidence_of_a_linear_normal_model_is_exact() -> None:
    target, y = regression()
    found = log_evidence(target, y)
    x = np.asarray(target.x)
    marginal = stats.multivariate_normal(np.zeros(20), np.eye(20) + x @ x.T)
    # The target leaves the constant of the unit noise out.
    np.testing.assert_allclose(found - 10.0 * np.log(2.0 * np.pi), marginal.logpdf(y.T), rtol=1e-10)
