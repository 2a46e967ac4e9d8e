"""The additive MMM: definitions, the collapsed linear part, recovery on the example, batch independence."""

import csv
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from engine.distributions.distribution import Beta, LogNormal, Mixture, Normal
from engine.errors import InvalidInput, UnsupportedQuantity
from engine.inference.batch import BatchedHmc
from engine.inference.fit import Seed
from engine.inference.precision import enable_float64
from engine.models.additive_mmm import (
    AdditiveMmm,
    AdditiveMmmSpec,
    Channel,
    Control,
    Parameterisation,
    Saturation,
    Table,
    Window,
    prepare,
)
from engine.models.conformance import check

enable_float64()

EXAMPLE = Path(__file__).parents[3] / "examples" / "pymc_mmm_example.csv"
SEED = Seed.of(20240501)


def example_table() -> Table:
    with EXAMPLE.open() as file:
        rows = list(csv.DictReader(file))
    names = ("y", "x1", "x2", "event_1", "event_2")
    dates = np.array([row["date_week"] for row in rows], dtype="datetime64[D]")
    return Table(dates, {name: np.array([float(row[name]) for row in rows]) for name in names})


def example_spec(saturation: Saturation = Saturation.LOGISTIC) -> AdditiveMmmSpec:
    # The file was simulated with logistic saturation (data README).
    channels = tuple(Channel(name, name, Beta(1.0, 3.0), saturation=saturation) for name in ("x1", "x2"))
    return AdditiveMmmSpec("y", channels, (Control("event_1", "event_1"), Control("event_2", "event_2")))


def small_table(rows: int = 60) -> Table:
    rng = np.random.default_rng(3)
    dates = np.datetime64("2020-01-06") + np.timedelta64(7, "D") * np.arange(rows)
    tv = np.where(rng.random(rows) < 0.6, 0.0, rng.gamma(2.0, 50.0, rows))
    return Table(
        dates,
        {
            "sales": rng.normal(1000.0, 100.0, rows),
            "tv": tv,
            "tv_spend": 3.0 * tv,
            "search": rng.gamma(3.0, 10.0, rows),
            "price": rng.normal(size=rows),
            "margin": rng.uniform(1.0, 3.0, rows),
            "zero": np.zeros(rows),
        },
    )


def small_model(**changes: object) -> AdditiveMmm:
    roi = Parameterisation.ROI
    channels = (
        Channel("tv", "tv", LogNormal(0.0, 0.5), spend="tv_spend", parameterise_by=roi, n_weights=4),
        Channel("search", "search", Beta(2.0, 8.0), n_weights=3, saturation=Saturation.LOGISTIC),
    )
    spec = AdditiveMmmSpec("sales", channels, (Control("price", "price"),), fourier_pairs=1)
    return prepare(small_table(), replace(spec, **changes))


def linear_model() -> AdditiveMmm:
    """The small model with its first channel linear."""
    tv, search = small_model().spec.channels
    linear = replace(tv, saturation=Saturation.LINEAR, half_saturation_prior=None)
    return small_model(channels=(linear, search))


UNEQUAL = np.random.default_rng(8).gamma(2.0, 0.5, 60) * (np.arange(60) % 7 > 0)
"""Weights of the small model's rows, some of them 0."""


def used(model: AdditiveMmm) -> np.ndarray:
    """Which rows enter the likelihood: all but the first, whose media history nobody knows."""
    assert model.row_weights is not None
    return model.row_weights > 0.0


def filled(model: AdditiveMmm, rows: np.ndarray) -> np.ndarray:
    """Rows [N, ...] with zeros after them, as the compiled target takes them."""
    missing = model.target.real_rows.size - len(rows)
    return np.pad(rows, [(0, missing)] + [(0, 0)] * (rows.ndim - 1))


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(small_model(), marks=pytest.mark.slow),
        pytest.param(small_model(revenue_per_kpi="margin", trend=False, fourier_pairs=0), marks=pytest.mark.slow),
        pytest.param(prepare(example_table(), example_spec()), marks=pytest.mark.slow),
        pytest.param(small_model().weighted(UNEQUAL), marks=pytest.mark.slow),
        pytest.param(linear_model(), marks=pytest.mark.slow),
    ],
    ids=["mixed", "revenue", "example", "weighted", "linear"],
)
def test_the_family_passes_the_conformance_test(model: AdditiveMmm) -> None:
    # A panel with both parametrisations, a control and seasons does so by default: test_additive_mmm_geo.py.
    report = check(model, simulations=100)
    assert report.ok, report.failures


def test_there_are_3c_plus_k_plus_2f_plus_3_parameters() -> None:
    # methods/mmm.md §4: C = 2, K = 2, F = 2
    model = prepare(example_table(), example_spec())
    assert len(model.parameter_names) == 3 * 2 + 2 + 2 * 2 + 3 == 15


def test_the_marginal_likelihood_is_that_of_the_joint_normal() -> None:
    model = small_model()
    target, rng = model.target, np.random.default_rng(0)
    z = jnp.asarray(rng.normal(size=(target.dimension, 5)))
    y = rng.normal(size=(model.n_observations, 5))
    theta = target.prior_map.parameters(z)
    media = np.asarray(target.media_mean(theta))[: model.n_observations]
    sd = np.array([model.priors[name].sd for name in model.design.block_names])
    rows = used(model)
    scaled = (model.design.block * sd)[rows]
    value = np.asarray(jax.jit(target.log_likelihood)(z, filled(model, y * rows[:, None])))
    for lane in range(5):
        covariance = float(theta[-1, lane]) ** 2 * np.eye(rows.sum()) + scaled @ scaled.T
        exact = stats.multivariate_normal(media[rows, lane], covariance).logpdf(y[rows, lane])
        constant = -0.5 * rows.sum() * np.log(2 * np.pi)
        assert value[lane] + constant == pytest.approx(exact, abs=1e-8)


def test_the_block_draws_have_the_conditional_mean_and_covariance() -> None:
    model = small_model().with_priors({"intercept": Normal(0.4, 0.7)})
    target, rng = model.target, np.random.default_rng(0)
    lanes = 40_000
    z = jnp.asarray(np.tile(rng.normal(size=(target.dimension, 1)), (1, lanes)))
    y = np.tile(rng.normal(size=(model.n_observations, 1)) * used(model)[:, None], (1, lanes))
    noise = rng.standard_normal((target.noise_dimension, lanes))
    rows = dict(
        zip(target.quantity_names, np.asarray(jax.jit(target.quantities)(z, filled(model, y), noise)), strict=True)
    )
    draws = np.stack([rows[name] for name in model.design.block_names])
    mean0 = np.array([model.priors[name].mean for name in model.design.block_names])
    sd0 = np.array([model.priors[name].sd for name in model.design.block_names])
    theta = np.asarray(target.prior_map.parameters(z))[:, 0]
    media = np.asarray(target.media_mean(jnp.asarray(theta[:, None])))[: model.n_observations, 0]
    residual = y[:, 0] - media
    design = model.design.block * used(model)[:, None]
    covariance = np.linalg.inv(design.T @ design / theta[-1] ** 2 + np.diag(sd0**-2))
    mean = covariance @ (design.T @ residual / theta[-1] ** 2 + mean0 / sd0**2)
    error = np.sqrt(np.diag(covariance) / lanes)
    np.testing.assert_array_less(np.abs(draws.mean(axis=1) - mean), 4.5 * error)
    np.testing.assert_allclose(np.cov(draws), covariance, atol=0.03 * np.diag(covariance).max())


def test_the_gradient_agrees_with_finite_differences() -> None:
    model, rng = small_model(), np.random.default_rng(0)
    target = model.target
    z = rng.normal(size=(target.dimension, 3))
    y = jnp.asarray(filled(model, rng.normal(size=(60, 3))))
    value = jax.jit(target.log_likelihood)
    gradient = np.asarray(jax.jit(jax.grad(lambda p: jnp.sum(target.log_likelihood(p, y))))(jnp.asarray(z)))
    for row in range(target.dimension):
        step = np.zeros_like(z)
        step[row] = 1e-5
        up, down = (np.asarray(value(jnp.asarray(z + s), y)) for s in (step, -step))
        np.testing.assert_allclose(gradient[row], (up - down) / 2e-5, rtol=1e-5, atol=1e-5)


def test_the_curvature_is_the_variance_of_the_score() -> None:
    model, rng = small_model(), np.random.default_rng(0)
    target = model.target
    lanes = 30_000
    z = jnp.asarray(np.tile(rng.normal(size=(target.dimension, 1)) * 0.5, (1, lanes)))
    theta = target.prior_map.parameters(z[:, :1])
    block = target.block
    spread = np.asarray(block.basis * np.sqrt(block.eigenvalues)) @ rng.standard_normal((len(block.eigenvalues), lanes))
    errors = rng.standard_normal((60, lanes)) * used(model)[:, None]
    noise = spread + float(theta[-1, 0]) * filled(model, errors)
    y = jnp.asarray(np.asarray(target.media_mean(theta) + block.design_mean[:, None]) + noise)
    score = np.asarray(jax.jit(jax.grad(lambda p: jnp.sum(target.log_likelihood(p, y))))(z))
    fisher = np.asarray(jax.jit(target.curvature)(z[:, :1], y[:, :1]))[0]
    scale = np.sqrt(np.diag(fisher) + 1e-12)
    np.testing.assert_allclose(np.cov(score) / np.outer(scale, scale), fisher / np.outer(scale, scale), atol=0.05)


def test_share_and_roi_follow_their_definitions() -> None:
    # ROI = incremental outcome / spend and share = incremental outcome / observed total (methods/mmm.md §3.3)
    model = small_model(revenue_per_kpi="margin")
    table = small_table()
    sample = model.sample_prior(SEED, np.arange(3))
    removed = dict(sample.parameters)
    removed["roi[tv]"] = np.full(3, 1e-300)
    change = model.expected(sample.parameters) - model.expected(removed)
    # Media enter around their mean effect, so a removed channel keeps the KPI's mean: its own curve gives the rest.
    curve = change - change.min(axis=0)
    assert np.allclose(change.mean(axis=0), 0.0, atol=1e-9)
    total = float(table.columns["margin"] @ table.columns["sales"])
    spend = float(table.columns["tv_spend"].sum())
    q = sample.quantities
    np.testing.assert_allclose(q["incremental_outcome[tv]"], q["roi[tv]"] * spend)
    np.testing.assert_allclose(q["share_of_outcome[tv]"] * total, q["incremental_outcome[tv]"])
    assert np.all(table.columns["margin"] @ curve <= q["incremental_outcome[tv]"] + 1e-6)
    np.testing.assert_allclose(q["share_of_media[tv]"] + q["share_of_media[search]"], 1.0)


def test_a_linked_prior_is_the_multiple_of_the_parameter() -> None:
    model = small_model()
    spend, total = model.scalers["spend[tv]"], model.scalers["total_outcome"]
    prior = model.prior_of("share_of_outcome[tv]")
    np.testing.assert_allclose(prior.mean, LogNormal(0.0, 0.5).mean * spend / total)
    changed = model.with_priors({"share_of_outcome[tv]": LogNormal(-2.0, 0.3)})
    np.testing.assert_allclose(changed.priors["roi[tv]"].mean, LogNormal(-2.0, 0.3).mean * total / spend)
    np.testing.assert_allclose(changed.prior_of("share_of_outcome[tv]").mean, LogNormal(-2.0, 0.3).mean)
    assert model.prior_of("sigma") == model.priors["sigma"]


def test_a_linear_channel_has_no_half_saturation() -> None:
    model = linear_model()
    assert len(model.parameter_names) == len(small_model().parameter_names) - 1
    assert not any(name == "half_saturation[tv]" for name in model.quantity_names)
    assert model.target.dimension == 3 * 2  # two media quantities, two retentions, one half-saturation, sigma
    for ask in (model.prior_of, lambda name: model.with_priors({name: LogNormal(0.0, 1.0)})):
        with pytest.raises(UnsupportedQuantity, match="linearly"):
            ask("half_saturation[tv]")
    with pytest.raises(InvalidInput) as error:
        Channel("tv", "tv", Beta(1, 3), saturation=Saturation.LINEAR, half_saturation_prior=LogNormal(0.0, 1.0))
    assert error.value.field == "channels[tv].half_saturation_prior"


def test_doubling_a_linear_channels_exposure_doubles_its_part_everywhere() -> None:
    model, table = linear_model(), small_table()
    parameters = {name: np.array([prior.mean]) for name, prior in model.priors.items()} | {"retention[tv]": [1e-12]}
    parameters = {name: np.asarray(value, dtype=float) for name, value in parameters.items()}
    none = model.expected(parameters | {"roi[tv]": np.zeros(1)})
    part = (model.expected(parameters) - none)[:, 0]
    # Without carry-over the part of a linear channel is ROI · spend, around its mean.
    brought = parameters["roi[tv]"] * table.columns["tv_spend"]
    np.testing.assert_allclose(part, brought - brought.mean(), atol=1e-6)


def test_simulator_and_density_have_one_mean_of_linear_and_saturating_media() -> None:
    model, sample = linear_model(), linear_model().sample_prior(SEED, np.arange(4))
    target = model.target
    media = np.asarray(
        target.media_mean(target.prior_map.parameters(jnp.asarray(model.coordinates(sample.parameters))))
    )
    block = model.design.block @ np.stack([sample.parameters[name] for name in model.design.block_names])
    expected = (model.expected(sample.parameters) - model.design.kpi_mean) / model.design.kpi_sd
    rows = used(model)
    np.testing.assert_allclose((media[:60] + block)[rows], expected[rows], rtol=1e-7, atol=1e-7)


def test_hill_media_with_a_distant_half_saturation_are_linear() -> None:
    # x / (x + k) over its weighted sum tends to x over its own as k grows, with an error of the order of x / k.
    hill, linear = small_model(), linear_model()
    y = hill.observed[:, None]
    far = {name: np.array([prior.mean]) for name, prior in hill.priors.items()} | {
        "half_saturation[tv]": np.full(1, 1e9)
    }
    near = {name: value for name, value in far.items() if name in linear.priors}
    np.testing.assert_allclose(
        hill.evaluate(far, y)["log_likelihood"], linear.evaluate(near, y)["log_likelihood"], rtol=1e-7
    )


def test_the_marginal_likelihood_of_weighted_rows_is_that_of_unequal_variances() -> None:
    model = small_model().weighted(UNEQUAL)
    target, rng = model.target, np.random.default_rng(0)
    z = jnp.asarray(rng.normal(size=(target.dimension, 3)))
    kpi = model.observed[:, None] + 50.0 * rng.normal(size=(60, 3))
    theta = target.prior_map.parameters(z)
    media = np.asarray(small_model().target.media_mean(theta))[:60]
    kept = used(model)
    scaled = (model.design.block * [model.priors[name].sd for name in model.design.block_names])[kept]
    plain = small_model().target_units(kpi)[:60]
    value = np.asarray(jax.jit(target.log_likelihood)(z, jnp.asarray(model.target_units(kpi))))
    for lane in range(3):
        covariance = float(theta[-1, lane]) ** 2 * np.diag(1.0 / UNEQUAL[kept]) + scaled @ scaled.T
        exact = stats.multivariate_normal(media[kept, lane], covariance).logpdf(plain[kept, lane])
        constant = float(target.log_scale) - 0.5 * kept.sum() * np.log(2 * np.pi)
        assert value[lane] + constant == pytest.approx(exact, abs=1e-8)


def test_weights_run_in_the_program_of_the_model_without_them() -> None:
    one, other = (jax.tree.flatten(model.target) for model in (small_model(), small_model().weighted(UNEQUAL)))
    assert one[1] == other[1]
    assert [leaf.shape for leaf in one[0]] == [leaf.shape for leaf in other[0]]


def test_weights_of_one_and_nought_are_a_restriction() -> None:
    model, rows = small_model(), np.arange(60) >= 20
    for one, other in zip(
        *(jax.tree.leaves(each.target) for each in (model.restricted(rows), model.weighted(rows.astype(float)))),
        strict=True,
    ):
        assert np.array_equal(one, other)
    again = model.weighted(UNEQUAL).restricted(rows)
    assert np.array_equal(again.row_weights, UNEQUAL * rows * used(model))


@pytest.mark.parametrize("weights", [np.ones(3), np.full(60, -1.0), np.full(60, np.nan)])
def test_weights_that_are_none_are_refused(weights: np.ndarray) -> None:
    with pytest.raises(InvalidInput):
        small_model().weighted(weights)


@pytest.mark.parametrize("quantity", ["share_of_media[tv]", "total_media_share_of_outcome", "roi[search]", "nonsense"])
def test_other_quantities_have_no_prior_in_closed_form(quantity: str) -> None:
    with pytest.raises(UnsupportedQuantity):
        small_model().prior_of(quantity)


def test_models_of_one_shape_are_one_structure_to_the_compiler() -> None:
    def shape(**changes: object) -> tuple[object, list[tuple[int, ...]]]:
        leaves, structure = jax.tree.flatten(small_model(**changes).target)
        return structure, [leaf.shape for leaf in leaves]

    tv, search = small_model().spec.channels
    same = [
        {"controls": ()},  # with intercept, trend and a Fourier pair four columns instead of five are another bucket
        {"controls": (Control("price", "price"), Control("margin", "margin"))},
        {"channels": (tv, replace(search, spend="tv_spend"))},
        {"channels": (replace(tv, parameterise_by=Parameterisation.SHARE_OF_OUTCOME, name="radio"), search)},
        {"channels": (replace(tv, prior=Beta(2.0, 2.0), retention_prior=Beta(1.0, 1.0)), search)},
        {"revenue_per_kpi": "margin"},
    ]
    assert [shape(**changes) == shape() for changes in same] == [False, True, True, True, True, True]
    assert shape(channels=(tv, replace(search, saturation=Saturation.HILL))) != shape()


def test_a_row_that_only_fills_up_is_unnamed_and_a_copy_of_sigma() -> None:
    model = small_model()
    target = model.target
    rng = np.random.default_rng(5)
    z = jnp.asarray(rng.normal(size=(target.dimension, 3)))
    y = jnp.asarray(model.target_units(model.observed[:, None]).repeat(3, axis=1))
    rows = np.asarray(target.quantities(z, y, jnp.asarray(rng.normal(size=(target.noise_dimension, 3)))))
    parameters = target.parameter_names
    assert tuple(filter(None, parameters)) == model.parameter_names
    assert parameters.count("") == 3  # five columns fill eight
    for name, row in zip(parameters, rows, strict=False):
        if not name:
            assert np.array_equal(row, rows[parameters.index("sigma")])
    assert tuple(filter(None, target.quantity_names)) == model.quantity_names
    assert rows.shape[0] == len(target.quantity_names)
    assert np.all(np.isfinite(rows))


def test_the_linear_part_takes_normal_priors_only() -> None:
    with pytest.raises(InvalidInput, match="must be Normal"):
        small_model().with_priors({"trend": LogNormal(0.0, 1.0)})


def test_a_channel_cannot_be_given_two_priors() -> None:
    with pytest.raises(InvalidInput, match="twice"):
        small_model().with_priors({"roi[tv]": LogNormal(0.0, 1.0), "share_of_outcome[tv]": LogNormal(0.0, 1.0)})


def test_24_months_of_weeks_are_104_rows_with_lead_in_for_the_adstock() -> None:
    model = prepare(example_table(), example_spec(), Window(24))
    report = model.window
    assert (report.rows, report.lead_in_rows, report.edge_affected_rows) == (104, 7, 0)
    assert report.constant_controls == ("event_1",)  # its only week is 2019-05-13
    assert str(report.first_date) == "2019-09-09"
    whole = prepare(example_table(), example_spec()).window
    assert (whole.rows, whole.lead_in_rows, whole.edge_affected_rows) == (179, 0, 7)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"kpi": "absent"}, "kpi"),
        ({"kpi": "zero"}, "kpi"),
        ({"channels": (Channel("z", "zero", Beta(1, 3)),)}, "channels[z].exposure"),
        ({"channels": (Channel("p", "price", Beta(1, 3)),)}, "channels[p].exposure"),
        ({"controls": (Control("c", "absent"),)}, "controls[c].column"),
    ],
)
def test_unusable_columns_are_refused_with_their_field(changes: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidInput) as error:
        small_model(**changes)
    assert error.value.field == field


@pytest.mark.slow  # of the sampler by default: inference/test_reference.py
def test_a_fit_does_not_depend_on_the_batch() -> None:
    model, settings = small_model(), replace(BatchedHmc.simulation(), last=None)
    ids = np.arange(8)
    y = model.sample_prior(SEED, ids).y
    together = model.fit(y, SEED, ids, settings)
    halves = [model.fit(y[:, part], SEED, ids[part], settings) for part in (slice(0, 4), slice(4, 8))]
    backwards = model.fit(y[:, ::-1], SEED, ids[::-1], settings)
    for name, draws in together.draws.items():
        apart = np.concatenate([half.draws[name] for half in halves])
        # Lanes are independent; where a lane lies in the batch decides only how XLA rounds (4e-9 seen on jax 0.12).
        np.testing.assert_allclose(apart, draws, rtol=1e-6, err_msg=name)
        np.testing.assert_allclose(backwards.draws[name][::-1], draws, rtol=1e-6, err_msg=name)


@pytest.mark.slow  # of the first share by default: end_to_end/test_main_flow.py
def test_the_posterior_covers_the_true_shares_of_the_example() -> None:
    # Data README: true shares of the KPI over all 179 weeks are 29.05 % and 6.97 %.
    model = prepare(example_table(), example_spec())
    fit = model.fit(model.observed[:, None], SEED, np.array([0]), BatchedHmc.single())
    assert fit.diagnostics.ok[0]
    for name, truth, widest in (("share_of_outcome[x1]", 0.2905, 0.03), ("share_of_outcome[x2]", 0.0697, 0.006)):
        draws = fit.draws[name].ravel()
        low, high = np.quantile(draws, [0.025, 0.975])
        assert low < truth < high
        assert draws.std() < widest


@pytest.mark.slow
def test_a_mixture_prior_needs_no_code_of_its_own() -> None:
    prior = Mixture((0.5, 0.5), (Beta(30.0, 70.0), Beta(60.0, 40.0)))
    model = prepare(example_table(), example_spec()).with_priors({"share_of_outcome[x1]": prior})
    fit = model.fit(model.observed[:, None], SEED, np.array([0]), BatchedHmc.single())
    # Data at 29 % choose the component at 30 %.
    assert fit.draws["share_of_outcome[x1]"].mean() == pytest.approx(0.297, abs=0.02)
