"""Conflicts whose cause is known, because the data were made for it: does the list of causes name it?"""

from __future__ import annotations

import csv
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import special, stats

from engine.conflict.analysis import BeliefConflict, analyse_belief
from engine.conflict.causes import Blame, Causes, CurveOf, explain, refit
from engine.conflict.curve import EvidenceCurve
from engine.distributions.distribution import Beta, Distribution, LogNormal, Normal
from engine.inference.batch import BatchedHmc
from engine.inference.fit import BatchFit, Seed
from engine.inference.log_evidence import log_evidence
from engine.inference.precision import enable_float64
from engine.models.additive_changes import MAX_COLUMNS
from engine.models.additive_mmm import (
    AdditiveMmm,
    AdditiveMmmSpec,
    Channel,
    Control,
    Saturation,
    Table,
    Window,
    prepare,
)
from engine.models.additive_outliers import DEGREES_OF_FREEDOM, student_errors
from engine.models.additive_simulator import adstock
from engine.models.protocol import CauseKind, Changeable

enable_float64()

SEED = Seed.of(77)
ROWS = 112
WEIGHTS = 4
SHARE = "share_of_outcome[tv]"
WINDOW = Window(24)
OUTLYING = 12
"""Weeks whose sales went unrecorded in part, in a world with outliers."""

SAME_PROGRAM = (CauseKind.OUTLIERS, CauseKind.CONTROL_DROPPED, CauseKind.COLUMN_ADDED, CauseKind.FIRST_YEAR_DROPPED)
"""Kinds of which the tests that are not slow ask: they run in the program of the base model."""


@dataclass(frozen=True)
class World:
    """Sales that TV brought with what else moved them, its true share in the last 104 weeks, dates of outliers."""

    table: Table
    share: float
    outliers: NDArray[np.datetime64]


def world(seed: int, *, outliers: bool = False) -> World:
    """112 weeks of sales 1000 + TV by Hill(.5) of adstock(.4) + controls + noise of sd 20.

    Sales fall with price, which rises with TV; in a world with outliers price does nothing.
    """
    rng = np.random.default_rng(seed)
    tv = rng.gamma(1.5, 1.0, ROWS) * (rng.random(ROWS) < 0.8)
    lags = np.stack([np.concatenate([np.zeros(lag), tv[: ROWS - lag]]) for lag in range(WEIGHTS)], axis=1)
    carried = adstock(lags / tv[tv > 0.0].mean(), 0.4)
    brought = 400.0 * carried / (carried + 0.5)
    price = stats.zscore(brought) + rng.normal(0.0, 0.7, ROWS)
    promo, holiday = rng.normal(size=(2, ROWS))
    sales = 1000.0 + brought + 40.0 * promo + 20.0 * holiday + rng.normal(0.0, 20.0, ROWS)
    closed = np.zeros(0, dtype=int)
    if outliers:
        # Shops close in weeks of little TV: what is missing then looks like what TV brings otherwise.
        closed = rng.choice(np.argsort(brought)[: ROWS // 3], OUTLYING, replace=False)
        sales[closed] -= 150.0
    else:
        sales = sales - 60.0 * price
    columns = {
        "sales": sales,
        "tv": tv,
        "price": price,
        "promo": promo,
        "holiday": holiday,
        "weather": rng.normal(size=ROWS),
        "flat": np.full(ROWS, 3.0),
    }
    dates = np.datetime64("2020-01-06") + 7 * np.arange(ROWS)
    inside = slice(WINDOW.first_row(dates), None)
    share = float(brought[inside].sum() / sales[inside].sum())
    return World(Table(dates, columns), share, dates[np.sort(closed)])


def spec(
    *controls: str, saturation: Saturation = Saturation.HILL, half_saturation: Distribution | None = None
) -> AdditiveMmmSpec:
    channel = Channel(
        "tv",
        "tv",
        Beta(1.0, 3.0),
        n_weights=WEIGHTS,
        saturation=saturation,
        half_saturation_prior=half_saturation,
    )
    return AdditiveMmmSpec("sales", (channel,), tuple(Control(name, name) for name in controls), fourier_pairs=1)


KNOWN_CURVE = spec("promo", "holiday", half_saturation=LogNormal(np.log(0.5), 0.1))
"""The curve is known from elsewhere: otherwise its shape takes part of the outliers in, and the share stays."""


def draws_curve(months: float) -> CurveOf:
    """The curve of a quantity whose prior has a closed form, for so many months of data behind the base model."""

    def curve(model: Changeable, fit: BatchFit, quantity: str) -> EvidenceCurve:
        draws = fit.draws[quantity][0]
        return EvidenceCurve.from_draws(draws, model.prior_of(quantity), months * model.rows_used, quantity=quantity)

    return curve


def examined(
    world: World, spec: AdditiveMmmSpec, belief: Distribution, kinds: Collection[CauseKind]
) -> tuple[AdditiveMmm, BeliefConflict, Causes]:
    """Model, conflict and causes of a belief about the share; of the kinds asked for."""
    model = prepare(world.table, spec, WINDOW)
    curve_of = draws_curve(24.0)
    fit = model.fit(model.observed[:, None], SEED, np.array([0]), BatchedHmc.single())
    found = analyse_belief(belief, curve_of(model, fit, SHARE))
    candidates = [each for each in model.alternatives(world.table, WINDOW, COLUMNS) if each.kind in kinds]
    return model, found, explain(found, belief, refit(model, candidates, SEED), curve_of)


COLUMNS = ("sales", "tv", "price", "promo", "holiday", "weather", "flat")


@pytest.mark.slow
def test_a_control_that_is_missing_is_named_first_and_resolves_the_conflict_of_a_right_belief() -> None:
    truth = world(1)
    _, found, causes = examined(truth, spec("promo", "holiday"), Normal(truth.share, 0.02), SAME_PROGRAM)
    assert found.conflict
    first = causes.ranked[0]
    assert (first.kind, first.subject) == (CauseKind.COLUMN_ADDED, "price")
    assert first.resolves
    assert abs(first.data_side.mean - truth.share) < 3.0 * first.data_side.sd
    assert causes.blame is Blame.MODEL
    assert not causes.failed


@pytest.mark.slow
def test_a_wrong_belief_under_the_right_model_is_the_beliefs_fault() -> None:
    truth = world(1)
    wrong = Normal(truth.share + 0.15, 0.02)
    _, found, causes = examined(truth, spec("promo", "holiday", "price"), wrong, SAME_PROGRAM)
    assert found.conflict
    assert causes.blame is Blame.PRIOR
    assert causes.ranked


def test_outlying_weeks_are_named_and_resolve_the_conflict_of_a_right_belief() -> None:
    # In this world the closed weeks happen to matter; in some others the share stays where it is.
    truth = world(5, outliers=True)
    _, found, causes = examined(truth, KNOWN_CURVE, Normal(truth.share, 0.01), SAME_PROGRAM)
    assert found.conflict
    first = causes.ranked[0]
    assert first.kind is CauseKind.OUTLIERS
    assert first.resolves
    assert causes.blame is Blame.OUTLIERS
    assert len(first.dates) == 5
    assert set(first.dates) <= set(truth.outliers)


def test_the_evidence_of_student_errors_is_that_of_importance_sampling() -> None:
    model = prepare(world(5, outliers=True).table, KNOWN_CURVE, WINDOW)
    found = student_errors(model)
    # With draws of the weighted posterior, m_t / m_w = E[p_t(y) / p_w(y)].
    fit = found.model.fit(model.observed[:, None], SEED, np.array([0]), BatchedHmc.single())
    every = slice(None, None, 8)
    parameters = {name: fit.draws[name][0].ravel()[every] for name in model.parameter_names}
    sd = model.design.kpi_sd * parameters["sigma"]
    gap = model.observed[:, None] - model.expected(parameters)
    log_t = stats.t.logpdf(gap, DEGREES_OF_FREEDOM, scale=sd).sum(axis=0)
    log_weighted = stats.norm.logpdf(gap, scale=sd / np.sqrt(found.weights)[:, None]).sum(axis=0)
    sampled = special.logsumexp(log_t - log_weighted) - np.log(log_t.size)
    by_laplace = found.log_evidence_gain - (evidence(found.model) - evidence(model))
    # The estimate's own error is about .1; what the exchange of the information leaves out may be a few tenths.
    assert by_laplace == pytest.approx(sampled, abs=0.5)


def evidence(model: AdditiveMmm) -> float:
    """Laplace's log evidence with the constants of the weights."""
    target = model.target
    return float(log_evidence(target, model.target_units(model.observed[:, None]))[0] + target.log_scale)


def test_student_weights_settle_at_a_mean_of_one_and_leave_normal_errors_alone() -> None:
    # Where EM ends the weights' mean is 1 (Lange, Little & Taylor 1989), but for what the linear part and priors take.
    clean = student_errors(prepare(world(1).table, spec("promo", "holiday", "price"), WINDOW))
    assert clean.weights.mean() == pytest.approx(1.0, abs=0.1)
    assert clean.weights.max() <= 1.25
    assert clean.log_evidence_gain < 2.0
    assert student_errors(prepare(world(5, outliers=True).table, KNOWN_CURVE, WINDOW)).log_evidence_gain > 5.0


def test_every_kind_of_change_is_tried_and_columns_without_news_are_not() -> None:
    truth = world(1)
    table = replace(truth.table, columns={**truth.table.columns, "weeks": np.arange(ROWS, dtype=float)})
    model = prepare(table, spec("promo", "holiday"), WINDOW)
    found = model.alternatives(table, WINDOW, (*COLUMNS, "weeks"))
    assert [(each.kind.name, each.subject) for each in found] == [
        ("OUTLIERS", ""),
        ("ADSTOCK_WINDOW", "8 weeks"),
        ("ADSTOCK_WINDOW", "2 weeks"),
        ("SATURATION", "all channels linear"),
        ("CONTROL_DROPPED", "promo"),
        ("CONTROL_DROPPED", "holiday"),
        ("COLUMN_ADDED", "price"),  # neither the constant column nor the one that repeats the trend
        ("COLUMN_ADDED", "weather"),
        ("FIRST_YEAR_DROPPED", "2020-03-02 to 2021-03-01"),
        ("LAST_YEAR_DROPPED", "2021-03-01 to 2022-02-21"),
    ]
    for each in found:
        assert each.model.prior_of(SHARE) == model.prior_of(SHARE)
        assert each.same_rows == (not each.kind.name.endswith("YEAR_DROPPED"))
    doubled, halved = (each.model.design for each in found[1:3])
    assert halved.exposure.shape == model.design.exposure.shape
    np.testing.assert_array_equal(halved.exposure[:, :, :2], model.design.exposure[:, :, :2])
    assert doubled.exposure.shape[2] == 2 * WEIGHTS


def test_of_many_columns_those_are_tried_that_go_best_with_the_kpi() -> None:
    truth, rng = world(1), np.random.default_rng(4)
    noise = {f"noise_{index}": rng.normal(size=ROWS) for index in range(MAX_COLUMNS)}
    table = replace(truth.table, columns={**truth.table.columns, **noise})
    found = prepare(table, spec("promo"), WINDOW).alternatives(table, WINDOW, (*noise, "holiday"))
    added = [each.subject for each in found if each.kind is CauseKind.COLUMN_ADDED]
    assert len(added) == MAX_COLUMNS
    assert "holiday" in added


@pytest.mark.slow
def test_a_window_of_one_year_is_not_cut() -> None:
    truth = world(1)
    model = prepare(truth.table, spec("promo"), Window(12))
    kinds = {each.kind for each in model.alternatives(truth.table, Window(12))}
    assert kinds.isdisjoint({CauseKind.FIRST_YEAR_DROPPED, CauseKind.LAST_YEAR_DROPPED})


@pytest.mark.slow
def test_a_linear_model_of_saturating_media_is_named_first() -> None:
    truth = world(1)
    linear = spec("promo", "holiday", "price", saturation=Saturation.LINEAR)
    _, found, causes = examined(truth, linear, Normal(truth.share, 0.02), CauseKind)
    assert found.conflict
    first = causes.ranked[0]
    assert (first.kind, first.subject) == (CauseKind.SATURATION, "Hill curves for all channels")
    assert first.resolves
    assert causes.blame is Blame.MODEL


EXAMPLE = Path(__file__).parents[3] / "examples" / "pymc_mmm_example.csv"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("saturation", "controls", "belief", "first", "blame"),
    [
        # Data README: simulated with logistic curves and two events; the share of x1 in the last 104 weeks is 26.6 %.
        (Saturation.LOGISTIC, ("event_2",), Beta(50.0, 50.0), None, Blame.PRIOR),
        (Saturation.LINEAR, ("event_2",), Normal(0.266, 0.02), "Hill curves for all channels", Blame.MODEL),
        (Saturation.LOGISTIC, (), Beta(50.0, 50.0), "event_2", Blame.PRIOR),
    ],
    ids=["wrong belief", "linear media", "no event and a wrong belief"],
)
def test_causes_on_the_example(
    saturation: Saturation,
    controls: tuple[str, ...],
    belief: Distribution,
    first: str | None,
    blame: Blame,
) -> None:
    with EXAMPLE.open() as file:
        rows = list(csv.DictReader(file))
    names = ("y", "x1", "x2", "event_1", "event_2", "dayofyear")
    dates = np.array([row["date_week"] for row in rows], dtype="datetime64[D]")
    table = Table(dates, {name: np.array([float(row[name]) for row in rows]) for name in names})
    channels = tuple(Channel(name, name, Beta(1.0, 3.0), saturation=saturation) for name in ("x1", "x2"))
    mmm = AdditiveMmmSpec("y", channels, tuple(Control(name, name) for name in controls))
    model = prepare(table, mmm, WINDOW)
    fit, curve_of = model.fit(model.observed[:, None], SEED, np.array([0]), BatchedHmc.single()), draws_curve(24.0)
    found = analyse_belief(belief, curve_of(model, fit, "share_of_outcome[x1]"))
    assert found.conflict
    causes = explain(found, belief, refit(model, model.alternatives(table, WINDOW, names), SEED), curve_of)
    assert causes.blame is blame
    if first is not None:
        gains = {cause.subject: cause.log_evidence_gain or 0.0 for cause in causes.ranked}
        assert max(gains, key=gains.__getitem__) == first
