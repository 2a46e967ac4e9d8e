"""The production sampler against NumPyro's NUTS on the un-collapsed model: means, sds and tails of every quantity."""

import numpy as np
import pytest

from engine.inference.precision import enable_float64
from tests.agreement import inflated, shifted
from tests.bench.accuracy import DATA_SETS, FORMS, PRESETS, Comparison, File, Form, Simulated, compare, limit

enable_float64()


def check(found: Comparison) -> None:
    for side in (found.ours, found.theirs):
        assert side.quality["r_hat"] < 1.01, found.row
    assert found.theirs.divergences == 0
    worst = {name: z.round(1) for name, z in zip(found.names, found.differences, strict=True)}
    assert np.all(np.abs(found.differences) < limit(found.differences.size)), (found.preset, worst)
    for spoil in (inflated, shifted):
        assert np.any(found.noticed(spoil)), (
            f"{found.preset}: the comparison would miss draws that are {spoil.__name__}"
        )


def test_posterior_of_five_parameters_agrees_within_monte_carlo_error() -> None:
    (found,) = compare(Simulated(5), FORMS[0], PRESETS[:1], warmup=500, draws=1000)
    check(found)


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
@pytest.mark.parametrize("data_set", DATA_SETS, ids=lambda data_set: data_set.name)
def test_posteriors_agree_within_monte_carlo_error(data_set: File | Simulated, form: Form) -> None:
    if data_set.missing:
        pytest.skip(data_set.missing)
    for found in compare(data_set, form, warmup=500, draws=1500):
        check(found)
