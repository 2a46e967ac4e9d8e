"""What is stored beside the draws of a fit, and what is computed from them."""

from __future__ import annotations

import numpy as np
import pytest
from liftos.bayes import half_life, marginal_roi, share_of_media, total_media_share_of_outcome

from engine.distributions.distribution import Beta
from engine.models.additive_mmm import AdditiveMmmSpec, Channel, Table, prepare
from persistence.tables import Fit
from server.worker.fitting.fits import StoredFit, _curve, _facts


def test_the_months_of_a_panel_are_those_of_its_dates() -> None:
    rng = np.random.default_rng(0)
    weeks = np.datetime64("2022-01-03") + np.timedelta64(7, "D") * np.arange(104)
    columns = {"y": rng.normal(10.0, 1.0, 312), "x": rng.gamma(2.0, 1.0, 312)}
    spec = AdditiveMmmSpec("y", (Channel("x", "x", Beta(1.0, 3.0), n_weights=4),))
    panel = _facts(prepare(Table(np.tile(weeks, 3), columns, np.repeat(["a", "b", "c"], 104)), spec))
    national = _facts(prepare(Table(weeks, {name: values[:104] for name, values in columns.items()}), spec))
    # 728 days
    assert panel["months"] == national["months"] == pytest.approx(728 / 30.4375)
    assert (panel["geos"], national["geos"]) == (3, 1)
    assert panel["edge_rows"] == national["edge_rows"] == 3


def test_draws_and_curves_of_derived_quantities_follow_from_those_of_the_parameters() -> None:
    rng = np.random.default_rng(0)
    weeks = np.datetime64("2022-01-03") + np.timedelta64(7, "D") * np.arange(60)
    columns = {name: rng.gamma(4.0, 1.0, 60) for name in ("y", "tv", "radio")}
    channels = tuple(Channel(name, name, Beta(1.0, 3.0), spend=name) for name in ("tv", "radio"))
    model = prepare(Table(weeks, columns), AdditiveMmmSpec("y", channels))
    # Draws from the prior stand in for those of a fit: the curve must then be flat, and L is 1 up to its own error.
    draws = {name: prior.sample(rng, (16, 400)) for name, prior in model.priors.items()}
    fit = StoredFit(Fit(fit_key="0123456789abcdef" * 4, facts={"months": 14.0}), model, draws)
    found = fit.draws_of("half_life[tv]")
    np.testing.assert_allclose(draws["retention[tv]"] ** found, 0.5, rtol=1e-9)
    assert fit.draws_of("sigma") is draws["sigma"]
    for about in (marginal_roi("tv"), half_life("tv"), share_of_media("tv"), total_media_share_of_outcome()):
        curve = _curve(fit, about)
        inside = (curve.grid > curve.supported[0]) & (curve.grid < curve.supported[1])
        flat = np.abs(curve.log_likelihood[inside])
        assert np.all(flat < 4.0 * curve.standard_error[inside] + 0.1), about
        assert curve.is_silent
    first, second = _curve(fit, marginal_roi("tv")), _curve(fit, marginal_roi("tv"))
    np.testing.assert_array_equal(first.log_likelihood, second.log_likelihood)
