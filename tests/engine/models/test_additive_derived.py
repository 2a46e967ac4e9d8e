"""Quantities that no fit returns: their definitions written out by hand, and what beliefs about them may be."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pytest

from engine.distributions.distribution import Beta, LogNormal, Normal, TruncatedNormal
from engine.errors import InvalidInput, UnsupportedQuantity
from engine.inference.precision import enable_float64
from engine.models.additive_mmm import AdditiveMmm, AdditiveMmmSpec, Channel, Control, Saturation, prepare
from engine.models.additive_spec import Parameterisation
from engine.models.saturation import FORMS
from tests.engine.models.test_additive_mmm import SEED, small_model, small_table
from tests.oracle import CURVES

enable_float64()

WEIGHTS = 4


def model(form: Saturation = Saturation.HILL) -> AdditiveMmm:
    """Two channels, revenue per KPI, a control; tv sampled as ROI with the given saturation."""
    channels = (
        Channel(
            "tv",
            "tv",
            LogNormal(0.0, 0.5),
            spend="tv_spend",
            parameterise_by=Parameterisation.ROI,
            n_weights=WEIGHTS,
            saturation=form,
        ),
        Channel("search", "search", Beta(2.0, 8.0), n_weights=WEIGHTS),
    )
    spec = AdditiveMmmSpec("sales", channels, (Control("price", "price"),), 1, revenue_per_kpi="margin")
    return prepare(small_table(), spec)


@pytest.fixture(scope="module")
def truths() -> Mapping[str, np.ndarray]:
    return model(Saturation.HILL_SLOPE).sample_prior(SEED, np.arange(6)).parameters


def curve(
    form: Saturation, exposures: list[float], retention: float, half: float, slope: float, scale: float
) -> list[float]:
    """Saturated adstock of every week, by loops; before the first week stands their mean over the first."""
    before = sum(exposures[:WEIGHTS]) / WEIGHTS
    powers = [retention**lag for lag in range(WEIGHTS)]
    values = []
    for week in range(len(exposures)):
        lagged = (exposures[week - lag] if week >= lag else before for lag in range(WEIGHTS))
        adstocked = sum(power * exposure / scale for power, exposure in zip(powers, lagged, strict=True))
        x = adstocked / sum(powers)
        values.append(CURVES[form](x / half if FORMS[form].has_half_saturation else x, slope))
    return values


@pytest.mark.parametrize("form", list(Saturation))
def test_marginal_roi_and_coefficient_are_those_of_the_written_out_response(
    form: Saturation, truths: Mapping[str, np.ndarray]
) -> None:
    # methods/mmm.md §3.3: [IO at 1.01x - IO at x] / (.01 spend), every week's exposure scaled alike
    made, columns = model(form), small_table().columns
    exposures, margin, spend = columns["tv"].tolist(), columns["margin"].tolist(), float(columns["tv_spend"].sum())
    scale = float(columns["tv"][columns["tv"] > 0.0].mean())
    coefficients, marginal = made.derive("coefficient[tv]", truths), made.derive("marginal_roi[tv]", truths)
    for draw in range(6):
        shape = [float(truths[f"{kind}[tv]"][draw]) for kind in ("retention", "half_saturation", "slope")]
        now = curve(form, exposures, *shape, scale)
        more = curve(form, [1.01 * x for x in exposures], *shape, scale)
        outcome = float(truths["roi[tv]"][draw]) * spend
        coefficient = outcome / sum(u * h for u, h in zip(margin, now, strict=True))
        assert coefficients[draw] == pytest.approx(coefficient, rel=1e-10)
        gained = coefficient * sum(u * h for u, h in zip(margin, more, strict=True)) - outcome
        assert marginal[draw] == pytest.approx(gained / (0.01 * spend), rel=1e-8)


def test_a_channel_s_coefficient_is_its_kpi_per_week_far_beyond_saturation(truths: Mapping[str, np.ndarray]) -> None:
    # With hardly any half-saturation and no carry-over the weeks with media are at the maximum, the others at 0.
    made = model()
    steep = dict(truths) | {"half_saturation[tv]": np.full(6, 1e-9), "retention[tv]": np.zeros(6)}
    on = small_table().columns["margin"][small_table().columns["tv"] > 0.0].sum()
    expected = truths["roi[tv]"] * made.scalers["spend[tv]"] / on
    np.testing.assert_allclose(made.derive("coefficient[tv]", steep), expected, rtol=1e-6)


def test_the_marginal_roi_stays_above_zero_where_a_difference_of_sums_would_cancel() -> None:
    made = model(Saturation.LOGISTIC)
    saturated = {"roi[tv]": 1.0, "share_of_outcome[search]": 0.1, "retention[tv]": 0.5, "half_saturation[tv]": 1e-3}
    value = made.derive("marginal_roi[tv]", {name: np.array([v]) for name, v in saturated.items()})
    assert 0.0 < float(value[0]) < 1e-3


def test_the_half_life_is_the_number_of_weeks_until_half_is_left(truths: Mapping[str, np.ndarray]) -> None:
    weeks = model().derive("half_life[tv]", truths)
    np.testing.assert_allclose(truths["retention[tv]"] ** weeks, 0.5, rtol=1e-12)


def test_a_control_s_coefficient_is_the_change_of_the_kpi_per_unit_of_its_column(
    truths: Mapping[str, np.ndarray],
) -> None:
    made = model()
    control = made.design.block[:, made.design.block_names.index("control[price]")]
    raw = small_table().columns["price"]
    # Between two weeks, the KPI moves by kpi_sd · theta · (change of the scaled column).
    per_unit = made.design.kpi_sd * truths["control[price]"] * (control[1] - control[0]) / (raw[1] - raw[0])
    np.testing.assert_allclose(made.derive("coefficient[price]", truths), per_unit, rtol=1e-10)
    factor = made.design.kpi_sd / raw.std()
    assert made.prior_of("coefficient[price]").sd == pytest.approx(factor, rel=1e-10)
    changed = made.with_priors({"coefficient[price]": Normal(-2.0 * factor, 0.5 * factor)})
    assert changed.priors["control[price]"].mean == pytest.approx(-2.0)
    assert changed.priors["control[price]"].sd == pytest.approx(0.5)


def test_many_draws_at_once_give_what_few_give() -> None:
    # 40 000 draws of 60 weeks are computed in three parts.
    made, rng = model(), np.random.default_rng(1)
    many = {name: prior.sample(rng, 40_000) for name, prior in made.priors.items()}
    few = {name: values[-3:] for name, values in many.items()}
    for name in ("marginal_roi[tv]", "coefficient[search]"):
        np.testing.assert_allclose(made.derive(name, many)[-3:], made.derive(name, few), rtol=1e-12)


def test_draws_of_what_a_fit_returns_are_those_of_evaluate(truths: Mapping[str, np.ndarray]) -> None:
    made = model()
    values = made.evaluate(truths, made.simulate(truths, SEED, np.arange(6)))
    for name in (*made.estimand_names, *made.parameter_names):
        np.testing.assert_allclose(made.derive(name, truths), values[name], rtol=1e-12, err_msg=name)


def test_a_prior_of_the_half_life_is_one_of_the_retention_and_comes_back() -> None:
    belief = LogNormal(math.log(2.0), 0.4)
    changed = model().with_priors({"half_life[tv]": belief})
    q = np.array([0.01, 0.1, 0.5, 0.9, 0.99])
    np.testing.assert_allclose(changed.priors["retention[tv]"].ppf(q), 0.5 ** (1.0 / belief.ppf(q)), rtol=1e-6)
    np.testing.assert_allclose(changed.prior_of("half_life[tv]").ppf(q), belief.ppf(q), rtol=1e-6)
    with pytest.raises(InvalidInput, match="positive numbers"):
        model().with_priors({"half_life[tv]": Normal(2.0, 0.5)})
    with pytest.raises(InvalidInput, match="twice"):
        model().with_priors({"half_life[tv]": belief, "retention[tv]": Beta(2.0, 2.0)})


@pytest.mark.parametrize(
    "quantity",
    ["marginal_roi[tv]", "coefficient[tv]", "share_of_media[tv]", "total_media_share_of_outcome"],
)
def test_what_depends_on_several_parameters_is_derived_but_has_no_prior_in_closed_form(quantity: str) -> None:
    made = model()
    assert quantity in made.derived_names
    with pytest.raises(UnsupportedQuantity, match="several parameters"):
        made.prior_of(quantity)
    with pytest.raises(UnsupportedQuantity):
        made.with_priors({quantity: Beta(2.0, 2.0)})


def test_there_is_no_marginal_roi_without_spend_and_nothing_of_an_unknown_channel(
    truths: Mapping[str, np.ndarray],
) -> None:
    for name in ("marginal_roi[search]", "half_life[radio]", "coefficient[radio]", "roi[search]", "nonsense"):
        assert name not in model().derived_names
        with pytest.raises(UnsupportedQuantity):
            model().derive(name, truths)


def test_one_channel_has_no_share_of_media_and_a_media_prior_below_zero_no_positive_quantities() -> None:
    single = prepare(small_table(), AdditiveMmmSpec("sales", (Channel("tv", "tv", Beta(1.0, 3.0), spend="tv_spend"),)))
    assert single.derived_names == ("half_life[tv]", "coefficient[tv]", "marginal_roi[tv]")
    signed = small_model().with_priors({"roi[tv]": Normal(0.0, 1.0)})
    assert set(signed.derived_names) == {
        "half_life[tv]",
        "half_life[search]",
        "coefficient[price]",
        "coefficient[search]",
    }
    truncated = small_model().with_priors({"roi[tv]": TruncatedNormal(0.5, 1.0, 0.0, math.inf)})
    assert "marginal_roi[tv]" in truncated.derived_names
