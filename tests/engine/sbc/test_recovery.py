"""Recovery of a fixed truth, beside what the normal model says in closed form."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from scipy import integrate, stats

from engine.distributions.distribution import Normal
from engine.errors import InvalidInput
from engine.inference.batch import BatchedHmc
from engine.inference.fit import Seed
from engine.models.conjugate_normal import ConjugateNormal, ConjugateNormalSpec
from engine.rules.sbc_presets import Part
from engine.sbc.judgement import PartRecord, judge
from engine.sbc.ledger import Status, concatenate
from engine.sbc.ranked_quantities import recovered_quantities
from engine.sbc.recovery import recovery
from engine.sbc.shard import run_shard

PRIOR_MEAN, PRIOR_SD, ERROR = 1.0, 0.3, 0.2
MODEL = ConjugateNormal(ConjugateNormalSpec("roi[tv]", 1.0, ERROR, 24, Normal(PRIOR_MEAN, PRIOR_SD)))
SETTINGS = BatchedHmc.simulation()
SIMULATIONS = 2000
KEEPS = PRIOR_SD**2 / (PRIOR_SD**2 + ERROR**2)
"""The weight of the data: the posterior mean is KEEPS · estimate + (1 - KEEPS) · prior mean."""
POSTERIOR_SD = math.sqrt(KEEPS) * ERROR


def ledger(truth: float, ids: np.ndarray | None = None):  # type: ignore[no-untyped-def]
    ids = np.arange(SIMULATIONS) if ids is None else ids
    names = recovered_quantities(MODEL, ["roi[tv] * roi[tv]"])
    return run_shard(MODEL, Seed.of(3), ids, SETTINGS, quantities=names, part=Part.RECOVERY, truth={"roi[tv]": truth})


def expected_coverage(truth: float, width: float, draws: int = 99) -> float:
    """The probability that the rank of a fixed truth among so many draws is one of the central ones.

    Given the estimate, each draw lies below the truth with a known probability, so the rank is binomial; the estimate
    is normal around the truth.
    """
    size = round((draws + 1) * width)
    first = (draws + 1 - size) // 2

    def given(estimate: float) -> float:
        below = stats.norm.cdf(truth, KEEPS * estimate + (1 - KEEPS) * PRIOR_MEAN, POSTERIOR_SD)
        inside = stats.binom.cdf(first + size - 1, draws, below) - stats.binom.cdf(first - 1, draws, below)
        return float(inside * stats.norm.pdf(estimate, truth, ERROR))

    return float(integrate.quad(given, truth - 8 * ERROR, truth + 8 * ERROR, limit=200)[0])


@pytest.mark.parametrize("sds_away", [0.0, 1.0, 2.5])
def test_coverage_and_bias_are_those_of_shrinkage(sds_away: float) -> None:
    truth = PRIOR_MEAN + sds_away * PRIOR_SD
    found = recovery(ledger(truth))
    assert (found.done, found.failed) == (SIMULATIONS, 0)
    roi, square = found.quantities
    assert (roi.quantity, roi.truth, roi.n) == ("roi[tv]", truth, SIMULATIONS)
    assert (square.quantity, square.truth) == ("roi[tv] * roi[tv]", pytest.approx(truth**2))
    # Four Monte Carlo standard errors; a wrong formula is off by far more (a bias by 45 of them at 2.5 sds).
    bias = (1 - KEEPS) * (PRIOR_MEAN - truth)
    error = KEEPS * ERROR / math.sqrt(SIMULATIONS)
    assert roi.bias is not None
    assert roi.z is not None
    assert roi.sd is not None
    assert roi.bias.value == pytest.approx(bias, abs=4 * error)
    assert roi.bias.error == pytest.approx(error, rel=0.1)
    # The sd of a fit is estimated from its draws, which moves z by a thousandth.
    assert roi.z.value == pytest.approx(bias / POSTERIOR_SD, abs=5 * error / POSTERIOR_SD)
    assert roi.sd == pytest.approx(POSTERIOR_SD, rel=0.01)
    for width, seen in zip((0.5, 0.8, 0.95), roi.coverage, strict=True):
        expected = expected_coverage(truth, width)
        assert seen.represented == pytest.approx(width)
        assert seen.observed == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / SIMULATIONS))
        assert seen.lower < seen.observed < seen.upper


def test_a_bayesian_interval_covers_too_much_near_the_prior_mean_and_too_little_far_from_it() -> None:
    assert expected_coverage(PRIOR_MEAN, 0.8) > 0.86
    assert expected_coverage(PRIOR_MEAN + 2.5 * PRIOR_SD, 0.8) < 0.60
    near, far = (recovery(ledger(PRIOR_MEAN + away)).quantities[0].coverage[1] for away in (0.0, 2.5 * PRIOR_SD))
    assert near.lower > 0.8
    assert far.upper < 0.8


def test_rows_depend_on_neither_the_shard_nor_other_runs_of_the_seed() -> None:
    whole = ledger(1.2, np.arange(6))
    parts = concatenate([ledger(1.2, np.arange(3, 6)), ledger(1.2, np.arange(3))])
    assert np.array_equal(whole.u, parts.u)
    # The noise is not that of the calibration run with the same seed.
    prior = run_shard(MODEL, Seed.of(3), np.arange(6), SETTINGS, quantities=("roi[tv]",))
    between = np.corrcoef(whole.mean[:, 0], prior.mean[:, 0] - KEEPS * prior.truth[:, 0])
    assert abs(between[0, 1]) < 0.99


def test_failed_fits_are_counted_and_in_no_figure() -> None:
    rows = ledger(1.0, np.arange(20))
    status = rows.status.copy()
    status[:5] = Status.NOT_CONVERGED
    mean = rows.mean.copy()
    mean[:5] = 1e9
    found = recovery(dataclasses.replace(rows, status=status, mean=mean))
    assert (found.done, found.failed, found.quantities[0].n) == (20, 5, 15)
    assert found.quantities[0].bias is not None
    assert abs(found.quantities[0].bias.value) < 1.0
    none = recovery(dataclasses.replace(rows, status=np.full(20, Status.DIVERGENT, dtype=np.uint8)))
    assert (none.failed, none.quantities[0].coverage, none.quantities[0].bias) == (20, (), None)
    assert none.quantities[0].truth == 1.0


def test_a_fixed_truth_is_of_recovery_alone_and_recovery_is_no_verdict() -> None:
    with pytest.raises(InvalidInput, match="RECOVERY"):
        run_shard(MODEL, Seed.of(1), [0], SETTINGS, truth={"roi[tv]": 1.0})
    with pytest.raises(InvalidInput, match="RECOVERY"):
        run_shard(MODEL, Seed.of(1), [0], SETTINGS, part=Part.RECOVERY)
    rows = ledger(1.0, np.arange(100))
    for parts in ([Part.RECOVERY], [Part.RECOVERY, Part.PRIOR]):
        records = [PartRecord(part, rows, (100,)) for part in parts]
        with pytest.raises(InvalidInput):
            judge(records)


def test_log_densities_are_nothing_to_recover() -> None:
    assert recovered_quantities(MODEL) == ("roi[tv]",)
    for name in ("log_likelihood", "roi[tv] * log_prior", "log_joint"):
        with pytest.raises(InvalidInput, match="no figure to recover") as caught:
            recovered_quantities(MODEL, ["roi[tv] + roi[tv]", name])
        assert caught.value.field == "further_quantities[1]"
    with pytest.raises(InvalidInput, match="neither"):
        recovered_quantities(MODEL, ["roi[radio]"])
