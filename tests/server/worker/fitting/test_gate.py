"""The gate before every sentence about a fit."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from liftos.bayes import marginal_roi, share_of_outcome, total_media_share_of_outcome
from liftos.bayes.v1 import common_pb2

from engine.arrays import Floats
from engine.distributions.distribution import Beta
from engine.models.additive_mmm import AdditiveMmm, AdditiveMmmSpec, Channel, Table, prepare
from persistence.tables import Fit
from server.contract.wire import to_json
from server.worker.fitting.fits import StoredFit
from server.worker.fitting.gate import Gate

PRIOR = Beta(2.0, 8.0)
MET = common_pb2.FitDiagnostics(converged=True)
SHAPE = (16, 400)
RNG = np.random.default_rng(5)


def model() -> AdditiveMmm:
    weeks = np.datetime64("2024-01-01") + np.timedelta64(7, "D") * np.arange(60)
    columns = {name: RNG.gamma(4.0, 1.0, 60) for name in ("y", "tv", "radio")}
    channels = tuple(Channel(name, name, PRIOR, spend=name) for name in ("tv", "radio"))
    return prepare(Table(weeks, columns), AdditiveMmmSpec("y", channels))


MODEL = model()


def gate(tv: Floats, diagnostics: common_pb2.FitDiagnostics = MET) -> Gate:
    """Of a fit with these draws of the share of TV; all others are draws from the prior."""
    draws = {name: prior.sample(RNG, SHAPE) for name, prior in MODEL.priors.items()}
    draws |= {"share_of_outcome[tv]": tv, "total_media_share_of_outcome": tv + draws["share_of_outcome[radio]"]}
    row = Fit(fit_key="0123456789abcdef" * 4, facts={"months": 14.0}, diagnostics=to_json(diagnostics))
    return Gate(StoredFit(row, MODEL, draws))


def tempered_upwards() -> Floats:
    """Draws of a posterior whose likelihood rises without end: e^(20 psi) times the prior."""
    x = PRIOR.sample(RNG, 400_000)
    weights = np.exp(20.0 * (x - 1.0))
    return RNG.choice(x, size=SHAPE, p=weights / weights.sum())


def informed() -> Floats:
    return RNG.beta(40.0, 160.0, SHAPE)


def test_what_the_data_settle_is_a_finding() -> None:
    assert gate(informed()).standing(share_of_outcome("tv")) == gate(informed()).standing(share_of_outcome("tv"))
    standing = gate(informed()).standing(share_of_outcome("tv"))
    assert (standing.refusals, standing.held_back, standing.silent) == ((), False, False)


def test_what_the_reference_prior_holds_back_is_none() -> None:
    standing = gate(tempered_upwards()).standing(share_of_outcome("tv"))
    assert standing.held_back
    assert "the reference prior holds the fit back" in standing.refusals[0]


def test_what_the_data_left_where_it_was_is_told_as_silent() -> None:
    standing = gate(informed()).standing(share_of_outcome("radio"))
    assert (standing.refusals, standing.silent) == ((), True)


@pytest.mark.parametrize(
    ("draws", "reason"),
    [
        # Chains that do not mix: each stays about a place of its own.
        (lambda: np.clip(informed() + 0.05 * RNG.normal(size=(16, 1)), 0.01, 0.9), "R-hat"),
        (lambda: np.where(np.arange(400) == 7, np.nan, informed()), "not finite"),
    ],
)
def test_draws_that_do_not_hold_what_they_show_give_no_finding(draws: Callable[[], Floats], reason: str) -> None:
    assert any(reason in refusal for refusal in gate(draws()).standing(share_of_outcome("tv")).refusals)


def test_nothing_is_a_finding_in_a_fit_that_missed_its_thresholds_however_its_draws_look() -> None:
    missed = gate(informed(), common_pb2.FitDiagnostics(max_r_hat=1.016, min_ess_bulk=900, min_ess_tail=800))
    for about in (
        share_of_outcome("tv"),
        share_of_outcome("radio"),
        total_media_share_of_outcome(),
        marginal_roi("tv"),
    ):
        standing = missed.standing(about)
        assert standing.refusals == missed.refusals
        assert "did not meet its thresholds (R-hat 1.0160, 800 effective draws)" in standing.refusals[0]


def test_a_quantity_whose_prior_has_no_closed_form_goes_through_the_gate_as_well() -> None:
    assert gate(informed()).standing(total_media_share_of_outcome()).silent is False
    assert gate(PRIOR.sample(RNG, SHAPE)).standing(total_media_share_of_outcome()).silent
