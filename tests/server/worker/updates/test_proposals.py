"""What the worker makes of several beliefs together: joint conflict, correlation once updated, advice."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from liftos.bayes import share_of_media, share_of_outcome
from liftos.bayes.v1 import common_pb2, conflict_pb2, elicitation_pb2

from engine.conflict.curve import EvidenceCurve
from engine.conflict.experiment import Experiment
from engine.distributions.distribution import Beta, Normal
from engine.distributions.support import REAL_LINE
from engine.rules.reasons import Ground
from engine.updates.update import Action, PriorUpdate, Strategy, UpdateRule, update
from persistence.tables import ClientPrior, ElicitedSession, StoredCurve
from server.contract.wire import to_json
from server.worker.conflict.comparison import examine_jointly
from server.worker.conversion import from_law
from server.worker.fitting.fits import _bytes, _curve_facts
from server.worker.updates.cases import Case, cases_of, updated_correlation
from server.worker.updates.proposals import _updated
from server.worker.updates.situation import advice

FLAT = Normal(0.5, 100.0)
COV = 0.01 * np.array([[1.0, -0.8], [-0.8, 1.0]])
DRAWS = np.random.default_rng(21).multivariate_normal([0.36, 0.31], COV, 6400).T
CURVES = [EvidenceCurve.from_draws(row.reshape(16, -1), FLAT, 24.0, with_error=False) for row in DRAWS]
PRIORS = [Normal(0.5, 0.1), Normal(0.45, 0.2)]
FIT: Any = SimpleNamespace(draws_of=None)
"""No draws but those of the beliefs' own quantities are needed of a fit."""
INDEPENDENT = ElicitedSession(share_groups=[])
CORRELATED = ElicitedSession(
    share_groups=[], correlation={"belief_ids": ["b0", "b1"], "matrix": [[1.0, 0.5], [0.5, 1.0]]}
)


def case(place: int, experiments: dict[int, Experiment] | None = None) -> Case:
    belief = elicitation_pb2.Belief(belief_id=f"b{place}", estimand=share_of_outcome(f"c{place}"))
    figures = conflict_pb2.BeliefConflict(
        belief_id=belief.belief_id,
        status=conflict_pb2.CONFLICT_STATUS_OK,
        finding=conflict_pb2.FINDING_AGREES,
        p_value=0.4,
    )
    return Case(belief, PRIORS[place], CURVES[place], figures, experiments or {})


def updated(cases: list[Case], rule: UpdateRule) -> list[PriorUpdate]:
    return [update(one.before, one.curve, rule, experiments=list(one.experiments.values())) for one in cases]


def off_diagonal(precision: np.ndarray) -> float:
    cov = np.linalg.inv(precision)
    return float(cov[0, 1] / np.sqrt(cov[0, 0] * cov[1, 1]))


@pytest.mark.parametrize("session", [INDEPENDENT, CORRELATED], ids=["independent", "correlated"])
def test_the_correlation_of_updated_beliefs_is_that_of_belief_and_data_together(session: ElicitedSession) -> None:
    r = 0.5 if session.correlation else 0.0
    prior = np.linalg.inv(np.array([[0.01, r * 0.02], [r * 0.02, 0.04]]))
    data = np.linalg.inv(np.cov(DRAWS))
    cases = [case(0), case(1)]
    for rule, power in ((UpdateRule(Strategy.FULL_BAYESIAN), 1.0), (UpdateRule(Strategy.POWER_PRIOR, power=0.3), 0.3)):
        found = updated_correlation(session, cases, updated(cases, rule), DRAWS, rule)
        assert isinstance(found, np.ndarray)
        assert found[0, 1] == pytest.approx(off_diagonal(prior + power * data), abs=2e-3)
    rule = UpdateRule(Strategy.ADAPTIVE_POWER_PRIOR)
    results = updated(cases, rule)
    scale = np.sqrt([one.expected_power for one in results])  # type: ignore[misc]
    found = updated_correlation(session, cases, results, DRAWS, rule)
    assert isinstance(found, np.ndarray)
    assert found[0, 1] == pytest.approx(off_diagonal(prior * np.outer(scale, scale) + data), abs=2e-3)


def test_an_experiment_pins_its_quantity_down_and_loosens_the_coupling() -> None:
    rule = UpdateRule(Strategy.FULL_BAYESIAN)
    cases = [case(0, {0: Experiment(0.36, 0.02)}), case(1)]
    found = updated_correlation(INDEPENDENT, cases, updated(cases, rule), DRAWS, rule)
    assert isinstance(found, np.ndarray)
    precision = np.diag([100.0 + 2500.0, 25.0]) + np.linalg.inv(np.cov(DRAWS))
    assert found[0, 1] == pytest.approx(off_diagonal(precision), abs=2e-3)


@pytest.mark.parametrize("strategy", [Strategy.EVIDENCE_WEIGHTED, Strategy.ROBUST_MIXTURE, Strategy.CONSERVATIVE])
def test_strategies_that_keep_the_shape_of_a_belief_keep_its_correlation(strategy: Strategy) -> None:
    cases, rule = [case(0), case(1)], UpdateRule(strategy)
    results = updated(cases, rule)
    assert updated_correlation(INDEPENDENT, cases, results, DRAWS, rule) is None
    found = updated_correlation(CORRELATED, cases, results, DRAWS, rule)
    assert isinstance(found, np.ndarray)
    np.testing.assert_allclose(found, [[1.0, 0.5], [0.5, 1.0]])


def test_where_the_correlation_cannot_be_had_the_answer_says_why() -> None:
    cases, rule = [case(0), case(1)], UpdateRule(Strategy.FULL_BAYESIAN)
    results = updated(cases, rule)
    assert updated_correlation(INDEPENDENT, cases[:1], results[:1], None, rule) is None
    assert "no draws" in str(updated_correlation(INDEPENDENT, cases, results, None, rule))
    kept = [results[0], update(PRIORS[1], CURVES[1], UpdateRule(Strategy.POWER_PRIOR, power=0.0))]
    assert "not every belief" in str(updated_correlation(INDEPENDENT, cases, kept, DRAWS, rule))
    assert "effective 300 draws" in str(updated_correlation(INDEPENDENT, cases, results, DRAWS[:, :300], rule))


def test_the_joint_conflict_takes_the_correlation_of_the_session_into_account() -> None:
    examined: list[Any] = [
        SimpleNamespace(
            row=SimpleNamespace(belief_id=f"b{place}"),
            belief=case(place).belief,
            prior=PRIORS[place],
            curve=CURVES[place],
            draws=DRAWS[place],
        )
        for place in range(2)
    ]
    apart, coupled = examine_jointly(FIT, INDEPENDENT, examined), examine_jointly(FIT, CORRELATED, examined)
    assert not isinstance(apart, str | None)
    assert not isinstance(coupled, str | None)
    assert apart.conflict.d2 != pytest.approx(coupled.conflict.d2, rel=0.05)
    broken = ElicitedSession(
        share_groups=[], correlation={"belief_ids": ["b0", "b1"], "matrix": [[1.0, 2.0], [2.0, 1.0]]}
    )
    assert "correlation" in str(examine_jointly(FIT, broken, examined))
    shares = [SimpleNamespace(**{**vars(one), "draws": np.array([0.3, 0.4, 0.3] * 200)}) for one in examined]
    group = elicitation_pb2.ShareGroup(belief_ids=["b0", "b1"], alpha=[0.0, 1.0])
    assert "alpha" in str(examine_jointly(FIT, ElicitedSession(share_groups=[to_json(group)]), shares))  # type: ignore[arg-type]


def test_beliefs_clash_together_only_where_none_is_contradicted_alone() -> None:
    analysis = conflict_pb2.ConflictAnalysis(beliefs=[case(0).figures, case(1).figures])
    analysis.joint.conflict = True
    for place, direction in ((0, -0.98), (1, 0.2)):
        analysis.joint.parts.add(belief_id=f"b{place}", direction=direction)
    kept = update(PRIORS[0], CURVES[0], UpdateRule(Strategy.EVIDENCE_WEIGHTED))
    assert advice(case(0), kept, analysis, 6.0)[0].grounds.ground is Ground.TOGETHER
    assert advice(case(1), kept, analysis, 6.0)[0].grounds.ground is Ground.NO_CONFLICT
    analysis.beliefs[1].conflict = True
    assert advice(case(0), kept, analysis, 6.0)[0].grounds.ground is Ground.NO_CONFLICT


def test_shares_that_miss_their_sum_are_asked_for_again() -> None:
    one = case(0)
    one.belief.estimand.CopyFrom(share_of_media("c0"))
    analysis = conflict_pb2.ConflictAnalysis(beliefs=[one.figures])
    analysis.joint.incoherence_z = 3.0
    kept = update(PRIORS[0], CURVES[0], UpdateRule(Strategy.EVIDENCE_WEIGHTED))
    assert advice(one, kept, analysis, 6.0)[0].grounds.ground is Ground.INCOHERENT
    assert advice(case(1), kept, analysis, 6.0)[0].grounds.ground is Ground.NO_CONFLICT


def test_an_experiment_far_from_the_data_leaves_what_the_data_say() -> None:
    # Together they lie where no draw has been, so both together cannot be judged; the experiment contradicts the data.
    draws = np.random.default_rng(1).beta(20, 45, (4, 1000))
    curve = EvidenceCurve.from_draws(draws, Beta(1.2, 6.0), 24.0, n_effective=4000.0, r_hat=1.0)
    alone = case(0, {0: Experiment(0.6, 0.05)})
    figures = conflict_pb2.BeliefConflict()
    figures.CopyFrom(alone.figures)
    figures.bayes_factors.add(alternative=conflict_pb2.BAYES_FACTOR_ALTERNATIVE_RECENTRED, log_bayes_factor=0.7)
    far = replace(alone, before=Beta(12.0, 30.0), curve=curve, figures=figures)
    rule = UpdateRule(Strategy.FULL_BAYESIAN)
    kept = update(far.before, curve, rule, experiments=list(far.experiments.values()))
    found, log_bf = advice(far, kept, conflict_pb2.ConflictAnalysis(beliefs=[figures]), 6.0)
    assert found.grounds.ground is Ground.EXPERIMENT_AGAINST_DATA
    assert log_bf == 0.7


def test_what_is_no_number_is_stored_as_no_correlation() -> None:
    broken = ElicitedSession(
        share_groups=[], correlation={"belief_ids": ["b0", "b1"], "matrix": [[1.0, np.nan], [np.nan, 1.0]]}
    )
    cases, rule = [case(0), case(1)], UpdateRule(Strategy.CONSERVATIVE)
    assert "is not given" in str(updated_correlation(broken, cases, updated(cases, rule), DRAWS, rule))


def test_no_change_is_recommended_from_figures_that_must_not_be_relied_on() -> None:
    refused = replace(case(0, {0: Experiment(0.9, 0.01)}), refusal="the sampler did not meet its thresholds")
    kept = _updated(refused, UpdateRule(Strategy.FULL_BAYESIAN))
    assert (kept.distribution, kept.changed, kept.action) == (PRIORS[0], False, Action.KEEP)
    assert kept.reasons == ("the conflict figures are unreliable: the sampler did not meet its thresholds",)
    recommended, _ = advice(refused, kept, conflict_pb2.ConflictAnalysis(), 24.0)
    assert (recommended.action, recommended.grounds.ground) == (Action.CHECK_MODEL, Ground.UNRELIABLE)


@pytest.mark.parametrize(
    ("status", "converged", "refusal"),
    [
        (conflict_pb2.CONFLICT_STATUS_OK, True, ""),
        (conflict_pb2.CONFLICT_STATUS_UNRELIABLE, True, "k-hat"),
        # Stored by a version that did not hold the fit's thresholds against its figures.
        (conflict_pb2.CONFLICT_STATUS_OK, False, "the sampler did not meet its thresholds"),
    ],
)
def test_what_stands_against_a_case_is_read_from_the_analysis(status: int, converged: bool, refusal: str) -> None:
    prior = Normal(0.5, 0.1)
    belief = elicitation_pb2.Belief(belief_id="b", estimand=share_of_outcome("c"), compiled=from_law(prior))
    figures = conflict_pb2.BeliefConflict(belief_id="b", status=status, status_reason="k-hat")  # type: ignore[arg-type]
    analysis = conflict_pb2.ConflictAnalysis(
        beliefs=[figures], diagnostics=common_pb2.FitDiagnostics(converged=converged)
    )
    curve = EvidenceCurve.normal(0.25, 0.05, Normal(0.5, 1.0), 24.0, support=REAL_LINE)
    stored = StoredCurve(
        quantity="SHARE_OF_OUTCOME",
        channel="c",
        reference=to_json(from_law(curve.reference)),
        lower=curve.support.lower,
        upper=curve.support.upper,
        n_grid=len(curve.grid),
        n_replicates=0,
        grid=_bytes(curve.grid),
        log_likelihood=_bytes(curve.log_likelihood),
        heavy_tail_log_likelihood=_bytes(curve.heavy_tail_log_likelihood),
        replicates=_bytes(curve.replicates),
        facts=_curve_facts(curve),
        effective_sample_size=curve.n_effective,
        months=24.0,
    )
    (found,) = cases_of([(ClientPrior(belief_id="b", belief=to_json(belief)), stored)], analysis, [])
    assert found.refusal == refusal
