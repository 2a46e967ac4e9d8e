"""Statements compiled for the place that they are about."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from liftos.bayes import beta, gamma, half_normal, log_normal, normal, student_t, truncated_normal, uniform
from liftos.bayes.v1 import common_pb2, elicitation_pb2
from liftos.bayes.values import statement

from engine.distributions.distribution import POSITIVE, REAL_LINE, UNIT_INTERVAL, Beta, Normal, TruncatedNormal
from engine.distributions.families import admissible
from engine.errors import InvalidInput
from server.worker.conversion import estimate_of_law, to_law
from server.worker.elicitation.statements import Member, Place, check_range, compile_statement, refuse_narrower

SHARE = Place(common_pb2.QUANTITY_SHARE_OF_OUTCOME, "share of TV", UNIT_INTERVAL, UNIT_INTERVAL)
SUMMARY = Place(common_pb2.QUANTITY_SHARE_OF_OUTCOME, "share of TV", UNIT_INTERVAL, REAL_LINE)
ROI = Place(common_pb2.QUANTITY_ROI, "ROI of TV", POSITIVE, POSITIVE)
MARGINAL = Place(common_pb2.QUANTITY_MARGINAL_ROI, "marginal ROI of TV", REAL_LINE, REAL_LINE)
HALF = {"mean": 0.5, "plus_minus": 0.1, "meaning": "sd"}


def test_a_summary_has_normal_beliefs_unless_a_family_where_the_quantity_lives_is_asked_for() -> None:
    assert compile_statement(statement(**HALF), SUMMARY).distribution == Normal(0.5, 0.1)
    law = compile_statement(statement(**HALF, family="beta"), SUMMARY).distribution
    assert isinstance(law, Beta)
    assert (law.alpha, law.beta) == pytest.approx((12.0, 12.0))
    truncated = compile_statement(statement(**HALF, family="truncated_normal"), SUMMARY).distribution
    assert truncated.support == UNIT_INTERVAL
    refuse_narrower(law, SUMMARY)


def test_a_family_that_does_not_live_there_is_refused_with_those_that_do() -> None:
    with pytest.raises(InvalidInput, match="TRUNCATED_NORMAL, BETA, UNIFORM") as caught:
        compile_statement(statement(**HALF, family="normal"), SHARE)
    assert caught.value.field == "statement.family"


@pytest.mark.parametrize("place", [SHARE, SUMMARY])
def test_a_belief_that_rules_values_out_is_refused(place: Place) -> None:
    law = compile_statement(statement(**HALF, family="uniform"), place).distribution
    with pytest.raises(InvalidInput, match="whatever the data say") as caught:
        refuse_narrower(law, place)
    assert caught.value.field == "statement.family"
    refuse_narrower(compile_statement(statement(distribution=uniform(0.0, 1.0)), place).distribution, place)


def test_moments_that_a_family_cannot_have_blame_the_spread_and_others_the_family() -> None:
    with pytest.raises(InvalidInput) as caught:
        compile_statement(statement(mean=0.1, plus_minus=0.2, meaning="sd", family="uniform"), SHARE)
    assert caught.value.field == "statement.mean_plus_minus.plus_minus"
    with pytest.raises(InvalidInput) as caught:
        compile_statement(statement(mode_and_bounds=(0.0, 1.0, 5.0), family="half_normal"), ROI)
    assert caught.value.field == "statement.family"


def test_a_distribution_is_what_it_is_and_says_only_what_follows_from_it() -> None:
    compiled = compile_statement(statement(distribution=beta(2.0, 5.0)), SHARE)
    assert compiled.distribution == Beta(2.0, 5.0)
    assert compiled.fit.family == common_pb2.PRIOR_FAMILY_BETA
    assert not compiled.fit.families
    assert not compiled.fit.interpolated
    assert compiled.fit.untold[0].value == pytest.approx(float(Beta(2.0, 5.0).ppf(0.05)))


def test_a_normal_that_sticks_out_a_little_is_truncated_and_one_that_sticks_out_a_lot_refused() -> None:
    compiled = compile_statement(statement(distribution=normal(0.5, 0.19)), SHARE)
    assert compiled.distribution == TruncatedNormal(0.5, 0.19, 0.0, 1.0)
    with pytest.raises(InvalidInput, match="outside"):
        compile_statement(statement(distribution=normal(0.9, 0.2)), SHARE)
    with pytest.raises(InvalidInput, match="must live on"):
        compile_statement(statement(distribution=truncated_normal(0.5, 0.1, 0.1, 0.9)), SHARE)


def test_odds_are_those_of_the_distribution_in_the_quantity_s_own_words() -> None:
    compiled = compile_statement(statement(**HALF, family="beta"), SHARE)
    low, high = Beta(12.0, 12.0).interval(0.9)
    assert compiled.fit.odds[0] == f"1 in 20 that share of TV is below {100 * low:.1f} %."
    assert compiled.fit.odds[2] == f"1 in 20 that it is above {100 * high:.1f} %."


def test_the_tails_of_other_families_stand_beside_the_fit() -> None:
    fit = compile_statement(statement(mean=2.0, plus_minus=1.0, meaning="sd"), ROI).fit
    by_family = {one.family: one for one in fit.families}
    assert common_pb2.PRIOR_FAMILY_LOG_NORMAL in by_family
    # A gamma of the same mean and sd has the lighter tail.
    lighter, heavier = common_pb2.PRIOR_FAMILY_GAMMA, common_pb2.PRIOR_FAMILY_LOG_NORMAL
    assert by_family[lighter].quantile_99 < by_family[heavier].quantile_99
    assert fit.interpolated


def test_one_tail_of_a_range_is_a_stated_probability_and_both_together_are_none() -> None:
    tail = compile_statement(statement(range=(0.0, 3.0), probability=0.9), ROI).fit
    (stated,) = tail.probabilities
    assert (stated.value, stated.stated) == (3.0, 0.9)
    assert stated.fitted == pytest.approx(0.9)
    assert not compile_statement(statement(range=(1.0, 3.0), probability=0.9), ROI).fit.probabilities


def test_members_of_a_pool_on_other_supports_are_named() -> None:
    pooled = statement(pooled=[("a", "x"), ("b", "y")])
    members = [Member("a/x", Beta(2.0, 2.0), 1.0), Member("b/y", Normal(0.5, 0.1), 1.0)]
    with pytest.raises(InvalidInput) as caught:
        compile_statement(pooled, SHARE, members)
    assert caught.value.field == "statement.pooled.members[1]"
    with pytest.raises(InvalidInput) as caught:
        compile_statement(pooled, ROI, [members[0], members[0]])
    assert caught.value.field == "statement.pooled.members"


def test_a_share_in_per_cent_is_refused_with_a_hint() -> None:
    for stated in (
        statement(range=(20.0, 60.0), probability=0.9),
        statement(mean=50.0, plus_minus=10.0, meaning="sd"),
        statement(quantiles={0.1: 20.0, 0.9: 60.0}),
        statement(mode_and_bounds=(20.0, 30.0, 60.0)),
        statement(roulette=([0, 20, 40, 60, 80, 100], [1, 2, 5, 2, 1])),
    ):
        with pytest.raises(InvalidInput, match=r"50 % is 0\.5"):
            check_range(stated, UNIT_INTERVAL)


def test_jensen_shannon_never_exceeds_ln_2() -> None:
    members = [Member("a/x", Beta(2.0, 200.0), 1.0), Member("b/y", Beta(200.0, 2.0), 1.0)]
    (apart,) = compile_statement(statement(pooled=[("a", "x"), ("b", "y")]), SHARE, members).disagreement
    assert apart.jensen_shannon_nats == pytest.approx(math.log(2.0))


FINITE = st.floats(allow_nan=False, allow_infinity=False)
ABOVE = st.floats(min_value=0.0, exclude_min=True, allow_nan=False, allow_infinity=False)
INSIDE = st.floats(min_value=0.0, max_value=1.0, exclude_min=True, exclude_max=True)
VALUES = {SHARE: INSIDE, ROI: ABOVE, MARGINAL: FINITE}


@st.composite
def extreme_statements(draw: st.DrawFn) -> tuple[elicitation_pb2.BeliefStatement, Place]:
    place = draw(st.sampled_from(list(VALUES)))
    value = VALUES[place]
    family = draw(st.sampled_from([None, *(one.name.lower() for one in admissible(place.natural))]))
    form = draw(st.sampled_from(["moments", "quantiles", "range", "mode", "roulette"]))
    low, middle, high = sorted(draw(st.lists(value, min_size=3, max_size=3)))
    if form == "moments":
        return statement(mean=middle, plus_minus=draw(ABOVE), meaning="sd", family=family), place
    if form == "quantiles":
        return statement(quantiles={0.05: low, 0.5: middle, 0.95: high}, family=family), place
    if form == "range":
        return statement(range=(low, high), probability=draw(INSIDE), family=family), place
    if form == "mode":
        return statement(mode_and_bounds=(low, middle, high), family=family), place
    edges = np.linspace(low, high, 6) if math.isfinite(high - low) else np.array([low, middle, high])
    return statement(roulette=(edges.tolist(), [1, 3, 4, 3, 1][: edges.size - 1]), family=family), place


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(extreme_statements())
@example((statement(mean=1e-200, plus_minus=1.0, meaning="sd"), ROI))
@example((statement(quantiles={0.05: 1e-20, 0.95: 1e20}), ROI))
def test_any_finite_statement_compiles_or_is_refused_by_field(
    stated: tuple[elicitation_pb2.BeliefStatement, Place],
) -> None:
    asked, place = stated
    blamed, law = "statement.", None
    try:
        check_range(asked, place.natural)
        law = compile_statement(asked, place).distribution
    except InvalidInput as error:
        blamed = error.field
    assert blamed.startswith("statement.")
    assert law is None or math.isfinite(estimate_of_law(law).median)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@settings(max_examples=150, deadline=None)
@given(
    st.one_of(
        st.builds(normal, FINITE, ABOVE),
        st.builds(log_normal, FINITE, ABOVE),
        st.builds(half_normal, ABOVE),
        st.builds(beta, ABOVE, ABOVE),
        st.builds(gamma, ABOVE, ABOVE),
        st.builds(uniform, FINITE, FINITE),
        st.builds(student_t, st.floats(2.0, 1e300), FINITE, ABOVE),
        st.builds(truncated_normal, FINITE, ABOVE, st.just(0.0), st.sampled_from([1.0, math.inf])),
    )
)
@example(log_normal(0.0, 40.0))
@example(log_normal(800.0, 1.0))
def test_any_finite_distribution_has_a_summary_or_is_refused(given_law: common_pb2.Distribution) -> None:
    try:
        law = to_law(given_law)
    except InvalidInput:
        return
    estimate_of_law(law)
    blamed = []
    for place in (SHARE, ROI, MARGINAL):
        try:
            compile_statement(statement(distribution=given_law), place)
        except InvalidInput as error:
            blamed.append(error.field)
    assert all(field.startswith("statement.") for field in blamed)
