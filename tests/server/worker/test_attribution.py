"""Figures of an attribution that are made of several draws or fits."""

from __future__ import annotations

import numpy as np
import pytest
from liftos.bayes.v1 import attribution_pb2, common_pb2, sbc_pb2

from engine.distributions.distribution import Beta, Normal
from engine.inference.fit import Seed
from engine.models.additive_mmm import AdditiveMmm, AdditiveMmmSpec, Channel, Table
from engine.models.additive_mmm import prepare as prepare_mmm
from engine.models.conjugate_normal import ConjugateNormalSpec, prepare
from persistence.tables import Fit
from server.contract.wire import to_json
from server.worker.attribution import Sides, _provenance, attributed, needs_run, told_of, total_share
from server.worker.fitting.fits import StoredFit

MODEL = prepare(ConjugateNormalSpec("share_of_outcome[TV]", 0.25, 0.05, 24, Normal(0.5, 1.0)))


def test_the_total_share_is_the_sum_over_the_channels_and_a_single_channel_is_its_own_total() -> None:
    first, second = np.array([[0.1, 0.2]]), np.array([[0.3, 0.05]])
    draws = {"share_of_outcome[tv]": first, "share_of_outcome[radio]": second, "sigma": first}
    assert np.array_equal(total_share(draws, ["tv", "radio"]), first + second)
    assert np.array_equal(total_share(draws, ["tv"]), first)


@pytest.mark.parametrize(
    ("reference", "believed", "told"),
    [(0.0, None, None), (2.0, None, 2.0), (2.0, 0.0, 2.0), (2.0, 0.5, 2.5), (0.0, 0.5, 0.5), (0.0, 0.0, None)],
)
def test_the_provenance_counts_what_both_fits_compiled_and_nothing_where_none_did(
    reference: float, believed: float | None, told: float | None
) -> None:
    row = Fit(provenance=to_json(common_pb2.Provenance(model_id="mmm")))
    fits = [None if seconds is None else StoredFit(row, MODEL, {}, seconds) for seconds in (reference, believed)]
    assert fits[0] is not None
    message = _provenance(fits[0], fits[1])
    assert message.model_id == "mmm"
    assert (message.compile_seconds if message.HasField("compile_seconds") else None) == told


def fit_of(model: AdditiveMmm, chains: int = 4, length: int = 250) -> StoredFit:
    """A fit whose draws are those of the prior."""
    sample = model.sample_prior(Seed.of(3), np.arange(chains * length))
    row = Fit(
        fit_key="0123456789abcdef",
        facts={"total_outcome": model.design.total_outcome, "spend": {"tv": float(model.design.spend[0])}},
        diagnostics={},
        provenance={},
    )
    return StoredFit(row, model, {name: values.reshape(chains, length) for name, values in sample.quantities.items()})


def model_columns() -> dict[str, np.ndarray]:
    """Of two channels in three geos; TV has spend, but none in `c`, and more came back to `b` than was sold."""
    rng = np.random.default_rng(2)
    sales = 100.0 + 10.0 * rng.normal(size=60)
    sales[20:40] -= sales[20:40].mean() + 1.0
    tv, radio = rng.gamma(2.0, 1.0, 60), rng.gamma(2.0, 1.0, 60)
    spend = np.where(np.arange(60) < 40, 3.0 * tv, 0.0)
    return {"sales": sales, "tv": tv, "radio": radio, "spend": spend, "people": np.repeat([2.0, 1.0, 3.0], 20)}


def prepared(columns: dict[str, np.ndarray]) -> AdditiveMmm:
    weeks = np.datetime64("2024-01-01") + np.timedelta64(7, "D") * np.arange(20)
    channels = (Channel("tv", "tv", Beta(2.0, 8.0), spend="spend"), Channel("radio", "radio", Beta(2.0, 8.0)))
    table = Table(np.tile(weeks, 3), columns, np.repeat(["a", "b", "c"], 20))
    return prepare_mmm(table, AdditiveMmmSpec("sales", channels, fourier_pairs=0, population="people"))


def panel() -> AdditiveMmm:
    return prepared(model_columns())


def test_the_geos_add_up_and_show_no_ratio_to_what_is_not_above_zero() -> None:
    fit = fit_of(panel())
    found = attributed(fit.model, Sides(fit))
    assert [geo.geo for geo in found.geos] == ["a", "b", "c"]
    for index, channel in enumerate(found.channels):
        quantities = {q.quantity: q.data_side for q in channel.quantities}
        total = quantities[common_pb2.QUANTITY_INCREMENTAL_OUTCOME].mean
        assert sum(geo.channels[index].incremental_outcome.mean for geo in found.geos) == pytest.approx(
            total, rel=1e-12
        )
    a, b, c = found.geos
    assert a.baseline_share.mean == pytest.approx(1.0 - sum(one.share_of_outcome.mean for one in a.channels))
    assert a.channels[0].roi.median == pytest.approx(a.channels[0].incremental_outcome.median / a.channels[0].spend)
    assert not b.HasField("baseline_share")
    assert not b.channels[0].HasField("share_of_outcome")
    assert (c.channels[0].spend, c.channels[0].HasField("roi")) == (0.0, False)
    assert not a.channels[1].HasField("spend")


def test_baseline_and_media_share_the_outcome() -> None:
    model = panel()
    found = attributed(model, Sides(fit_of(model)))
    assert found.baseline_share.mean == pytest.approx(1.0 - found.total_media_share.mean)
    assert found.baseline_outcome.sd == pytest.approx(model.design.total_outcome * found.total_media_share.sd)


def test_the_prior_of_a_derived_quantity_is_what_the_models_priors_induce() -> None:
    # The draws of the fit are prior draws, so that prior and data side are two samples of one law.
    fit = fit_of(panel(), length=1000)
    found = attributed(fit.model, Sides(fit))
    shown = {q.quantity: q for q in found.channels[0].quantities}
    for quantity in (common_pb2.QUANTITY_MARGINAL_ROI, common_pb2.QUANTITY_SHARE_OF_MEDIA):
        prior, sample = shown[quantity].prior, shown[quantity].data_side
        assert prior.mean == pytest.approx(sample.mean, abs=4.0 * sample.sd / np.sqrt(4000))
        assert prior.sd == pytest.approx(sample.sd, rel=0.1)
    # In closed form: ROI is the share times total outcome over spend.
    ratio = found.total_outcome / found.channels[0].spend
    assert shown[common_pb2.QUANTITY_ROI].prior.mean == pytest.approx(0.2 * ratio)


def test_every_share_and_their_sum_go_through_the_gate_and_channels_that_are_one_are_told() -> None:
    model = panel()
    fit = fit_of(model)
    fit.row.facts["months"] = 4.6
    fit.row.diagnostics = to_json(common_pb2.FitDiagnostics(converged=True))
    told = told_of(model, Sides(fit))
    # The draws are those of the prior.
    assert set(told.shares) == {"tv", "radio"}
    assert all(standing.silent for standing in (*told.shares.values(), told.total))
    assert told.believed is None
    assert told.collinear == {}
    columns = {**model_columns(), "radio": model_columns()["tv"]}
    twins = prepared(columns)
    fit.row.diagnostics = to_json(common_pb2.FitDiagnostics(max_r_hat=1.02))
    twice = told_of(twins, Sides(StoredFit(fit.row, twins, fit.draws), fit))
    assert all("did not meet" in standing.refusals[0] for standing in (*twice.shares.values(), twice.total))
    assert twice.believed == common_pb2.FitDiagnostics(max_r_hat=1.02)
    assert twice.collinear == pytest.approx({"tv": 1.0, "radio": 1.0})


def test_with_beliefs_the_prior_of_a_derived_quantity_is_what_they_induce() -> None:
    model = panel()
    believed = model.with_priors(
        {"share_of_outcome[tv]": Beta(80.0, 20.0), "share_of_outcome[radio]": Beta(10.0, 90.0)}
    )
    found = attributed(model, Sides(fit_of(model), fit_of(believed)))
    media = next(q for q in found.channels[0].quantities if q.quantity == common_pb2.QUANTITY_SHARE_OF_MEDIA)
    assert media.prior.mean == pytest.approx(0.8 / 0.9, abs=0.01)
    assert media.data_side.mean == pytest.approx(0.5, abs=0.05)
    assert media.client_posterior.mean == pytest.approx(media.prior.mean, abs=0.01)
    marginal = next(q for q in found.channels[0].quantities if q.quantity == common_pb2.QUANTITY_MARGINAL_ROI)
    assert marginal.prior.mean > 2.0 * marginal.data_side.mean


def test_without_a_law_of_it_a_quantity_has_no_prior() -> None:
    # A share of media is a ratio of what may be negative.
    free = panel().with_priors({"share_of_outcome[tv]": Normal(0.2, 0.1)})
    found = attributed(free, Sides(fit_of(free)))
    shown = {q.quantity: q.HasField("prior") for q in found.channels[0].quantities}
    assert shown[common_pb2.QUANTITY_SHARE_OF_OUTCOME]
    assert not shown[common_pb2.QUANTITY_SHARE_OF_MEDIA]
    assert not shown[common_pb2.QUANTITY_MARGINAL_ROI]


@pytest.mark.parametrize(
    ("decision", "evidence", "passed", "needed"),
    [
        (sbc_pb2.NECESSITY_DECISION_ESSENTIAL, [], "", True),
        (sbc_pb2.NECESSITY_DECISION_ESSENTIAL, [], "run", False),
        (sbc_pb2.NECESSITY_DECISION_UNDETERMINED, [], "", False),
        (sbc_pb2.NECESSITY_DECISION_UNDETERMINED, ["STANDING_FAIL"], "", True),
        (sbc_pb2.NECESSITY_DECISION_NOT_REQUIRED_BY_POLICY, [], "", False),
    ],
)
def test_a_run_is_needed_where_it_is_essential_or_one_has_failed_and_none_has_passed(
    decision: int, evidence: list[str], passed: str, needed: bool
) -> None:
    necessity = sbc_pb2.SbcNecessity(decision=decision, evidence=evidence, satisfied_by_run_id=passed)
    assert needs_run(attribution_pb2.BayesianValidation(sbc_necessity=necessity)) == needed
