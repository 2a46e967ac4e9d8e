"""The production sampler against NumPyro's NUTS on the un-collapsed model: every parameter's mean, sd and tails."""

import numpy as np
import pytest

from tests.agreement import differences, threshold
from tests.bench.accuracy import DATA_SETS, FORMS, Comparison, File, Form, Simulated, compare

PAIRS = [(data_set, form) for data_set in DATA_SETS for form in FORMS]


def limit(comparison: Comparison) -> float:
    """Family-wise over the parameters, the statistics and all pairs of data set and model."""
    return threshold(comparison.differences.size * len(PAIRS))


@pytest.mark.slow
@pytest.mark.parametrize(("data_set", "form"), PAIRS, ids=lambda part: part.name)
def test_posteriors_agree_within_monte_carlo_error(data_set: File | Simulated, form: Form) -> None:
    if data_set.missing:
        pytest.skip(data_set.missing)
    found = compare(data_set, form, warmup=500, draws=1000)
    for side in (found.ours, found.theirs):
        assert side.quality["r_hat"] < 1.01
        assert side.divergences == 0
    worst = {name: z.round(1) for name, z in zip(found.names, found.differences, strict=True)}
    assert np.all(np.abs(found.differences) < limit(found)), worst

    ours, theirs = found.ours.draws, found.theirs.draws
    mean, sd = ours.mean(axis=(1, 2), keepdims=True), ours.std(axis=(1, 2), keepdims=True)
    for wrong in (mean + 1.1 * (ours - mean), ours + 0.15 * sd):
        assert np.any(np.abs(differences(wrong, theirs)) > limit(found)), "the comparison would miss an error"
