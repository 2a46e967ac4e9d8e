"""Ranking, attribution and advice from refits, with exact curves in the place of fits."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from engine.conflict.analysis import BeliefConflict, ConflictRule, analyse_belief
from engine.conflict.causes import Blame, Causes, Refit, explain, remedy
from engine.conflict.curve import EvidenceCurve
from engine.distributions.distribution import Normal, Uniform
from engine.distributions.support import REAL_LINE
from engine.errors import UnsupportedQuantity
from engine.inference.fit import BatchFit, FitDiagnostics
from engine.models.protocol import Alternative, CauseKind, Changeable
from engine.rules.reasons import Remedy
from tests.engine.models.test_additive_mmm import small_model

MODEL = small_model()
TV = Normal(0.5, 0.1)
COLUMN, SATURATION, YEAR = CauseKind.COLUMN_ADDED, CauseKind.SATURATION, CauseKind.LAST_YEAR_DROPPED


def curve(estimate: float, error: float = 0.05) -> EvidenceCurve:
    return EvidenceCurve.normal(estimate, error, Uniform(0.0, 1.0), 24.0, quantity="share", support=REAL_LINE)


def tv(confidence: float | None = None) -> BeliefConflict:
    """Belief .5 ± .1 against data .25 ± .05: z = 2.236, recentred factor 12.18 (methods/conflict.md §14 id 1)."""
    return analyse_belief(TV, curve(0.25), ConflictRule(confidence_threshold=confidence))


def refit(
    kind: CauseKind,
    estimate: float,
    gain: float | None,
    *,
    subject: str = "it",
    error: float = 0.05,
    converged: bool = True,
    dates: Sequence[str] = (),
) -> Refit:
    """A refit whose data side is N(estimate, error)."""
    days = tuple(np.datetime64(date) for date in dates)
    alternative = Alternative(kind, subject, MODEL, same_rows=kind is not YEAR, dates=days)
    diagnostics = FitDiagnostics.independent(np.array([not converged]), 1)
    return Refit(alternative, BatchFit({"data": np.array([estimate, error])}, diagnostics), gain)


def stated(model: Changeable, fit: BatchFit, quantity: str) -> EvidenceCurve:
    del model, quantity
    return curve(*fit.draws["data"])


def causes(*refits: Refit, found: BeliefConflict | None = None) -> Causes:
    return explain(found or tv(), TV, refits, stated)


def test_figures_of_a_cause_are_those_of_its_curve() -> None:
    (cause,) = causes(refit(COLUMN, 0.4, 1.0)).ranked
    # z = .1 / √(.1² + .05²), recentred e^{z²/2} (methods/conflict.md §4.1)
    assert cause.log_bf == pytest.approx(0.5 * 0.1**2 / (0.1**2 + 0.05**2))
    assert cause.change == pytest.approx(0.15)
    assert (cause.data_side.mean, cause.data_side.sd) == pytest.approx((0.4, 0.05))
    assert cause.resolves
    assert not cause.only_vaguer


def test_causes_are_ranked_by_probability_times_drop() -> None:
    found = causes(
        refit(COLUMN, 0.45, -3.0, subject="unlikely"),
        refit(COLUMN, 0.30, 5.0, subject="likely, little"),
        refit(YEAR, 0.45, None, subject="open"),
        refit(COLUMN, 0.45, 5.0, subject="likely"),
        refit(COLUMN, 0.10, 5.0, subject="worse"),
    )
    assert [cause.subject for cause in found.ranked] == ["likely", "open", "likely, little", "unlikely", "worse"]
    base = tv().recentred.log_bf
    likely, opened, *_, worse = found.ranked
    drop = base - likely.log_bf
    assert likely.expected_drop(base) == pytest.approx(drop / (1.0 + math.exp(-5.0)))
    assert opened.expected_drop(base) == pytest.approx(0.5 * drop)
    assert worse.expected_drop(base) == 0.0


@pytest.mark.parametrize(
    ("refits", "blame"),
    [
        ([refit(COLUMN, 0.26, 4.9)], Blame.PRIOR),  # preferred by the data, and resolves nothing
        ([refit(COLUMN, 0.26, 5.1)], Blame.UNDECIDED),  # the model is refuted, and nothing else is judged by it
        ([refit(CauseKind.OUTLIERS, 0.26, 9.0)], Blame.PRIOR),
        ([], None),
        ([refit(SATURATION, 0.4, math.log(3.0) + 0.01)], Blame.MODEL),
        ([refit(SATURATION, 0.4, math.log(3.0) - 0.01)], Blame.UNDECIDED),
        ([refit(YEAR, 0.4, None)], Blame.UNDECIDED),
        ([refit(CauseKind.OUTLIERS, 0.4, 8.0), refit(COLUMN, 0.39, 8.0)], Blame.OUTLIERS),
        ([refit(CauseKind.OUTLIERS, 0.39, 8.0), refit(COLUMN, 0.4, 8.0)], Blame.MODEL),
        ([refit(CauseKind.OUTLIERS, 0.4, -0.5)], Blame.UNDECIDED),
        ([refit(CauseKind.OUTLIERS, 0.4, -2.0)], Blame.PRIOR),  # the data reject the only way out
    ],
)
def test_the_attribution_follows_what_resolves_and_what_the_data_prefer(
    refits: list[Refit], blame: Blame | None
) -> None:
    assert causes(*refits).blame is blame


def test_fewer_rows_that_only_say_less_exonerate_nobody() -> None:
    # Half the rows: the same estimate, 1.41 times the error and so z = 2.04: below the rule, by saying less.
    found = causes(refit(YEAR, 0.25, None, error=0.0707))
    (cause,) = found.ranked
    assert cause.resolves
    assert cause.only_vaguer
    assert found.blame is Blame.PRIOR


def test_the_rule_in_force_is_that_of_the_analysis() -> None:
    # At .3 ± .05 z = 1.79 and p = .074: no conflict by the Bayes factor, one by a confidence threshold of .9.
    (cause,) = causes(refit(COLUMN, 0.3, 0.0)).ranked
    assert cause.resolves
    (cause,) = causes(refit(COLUMN, 0.3, 0.0), found=tv(confidence=0.9)).ranked
    assert not cause.resolves


def test_refits_that_did_not_converge_are_counted_and_say_nothing() -> None:
    found = causes(refit(COLUMN, 0.4, 9.0, subject="price", converged=False))
    assert found.ranked == ()
    assert found.failed == ("column added price",)
    assert found.blame is None  # nothing was tried that could exonerate the belief


def test_a_model_without_the_quantity_has_nothing_to_say() -> None:
    def missing(model: Changeable, fit: BatchFit, quantity: str) -> EvidenceCurve:
        raise UnsupportedQuantity(quantity, "not in this model")

    found = explain(tv(), TV, [refit(SATURATION, 0.4, 0.0)], missing)
    assert (found.ranked, found.failed) == ((), ())


def test_evidence_just_below_the_threshold_is_told_from_none() -> None:
    # From .5 ± .1 to .281 ± .05 z = 1.96: a factor of 6.81, above 5; to .32 z = 1.61: 3.65.
    near, far = causes(refit(COLUMN, 0.281, 0.0)).ranked[0], causes(refit(COLUMN, 0.32, 0.0)).ranked[0]
    assert near.resolves
    assert near.log_bf > math.log(5.0) > far.log_bf
    assert (near.barely, far.barely) == (True, False)
    # By p at most .04: z = 1.96 is p = .05, above .04 and below .08; z = 1.61 is p = .107.
    found = tv(confidence=0.96)
    near, far = (causes(refit(COLUMN, at, 0.0), found=found).ranked[0] for at in (0.281, 0.32))
    assert (near.barely, far.barely) == (True, False)


@pytest.mark.parametrize(
    ("refits", "r_squared", "settled_by"),
    [
        ([refit(COLUMN, 0.4, 5.0, subject="price")], 0.2, Remedy.GIVE_COLUMN),
        ([refit(CauseKind.OUTLIERS, 0.4, 5.0, dates=("2020-03-16", "2019-01-07"))], 0.2, Remedy.CHECK_ROWS),
        ([refit(SATURATION, 0.4, 5.0, subject="all channels linear")], 0.2, Remedy.ASK_AGAIN),
        ([refit(YEAR, 0.4, None)], 0.2, Remedy.EXPERIMENT_BETWEEN_MODELS),
        ([refit(COLUMN, 0.4, -0.5)], 0.2, Remedy.EXPERIMENT_BETWEEN_MODELS),
        ([], 0.95, Remedy.EXPERIMENT_ON_COLLINEAR),
        ([], 0.2, None),
    ],
)
def test_what_would_settle_the_matter(refits: list[Refit], r_squared: float, settled_by: Remedy | None) -> None:
    assert remedy(tv(), causes(*refits), 24.0, r_squared) is settled_by


def test_two_firm_sides_far_apart_call_for_an_experiment() -> None:
    # methods/conflict.md §12: both worth more than 6 months, z > 2.6. Here (.05/.06)² · 24 months = 16.7 and z = 3.2.
    belief = Normal(0.5, 0.06)
    found = analyse_belief(belief, curve(0.25))
    nothing = Causes((), (), Blame.PRIOR)
    assert found.prior_ess_months == pytest.approx(24.0 * (0.05 / 0.06) ** 2)
    assert remedy(found, nothing, 24.0, 0.2) is Remedy.EXPERIMENT_BETWEEN_FIRM_SIDES
    assert remedy(found, nothing, 5.0, 0.2) is None
