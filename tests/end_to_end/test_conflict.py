"""Conflict analyses through the service that need more than the reference fit: other causes, bridges to far beliefs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from liftos.bayes import Client, channel, share_of_outcome
from liftos.bayes.v1 import conflict_pb2

from tests.end_to_end.examples import register_mmm

pytestmark = pytest.mark.slow

TRUE_SHARE = 0.266  # of x1 in the last 104 weeks: README of the development data sets


@pytest.fixture(scope="module")
def client(service: Any) -> Iterator[Client]:
    with Client.connect(service.address, client_id="conflict") as connected:
        register_mmm(connected)
        connected.models.register_mmm(
            "linear",
            dataset_id="weekly",
            channels=[channel("x1", saturation="linear"), channel("x2", saturation="linear")],
            parameterise_by="share_of_outcome",
            controls=["event_1", "event_2"],
            fourier_pairs=2,
        )
        yield connected


def analysed(
    client: Client, model_id: str, session_id: str, mean: float, sd: float, **options: Any
) -> conflict_pb2.ConflictAnalysis:
    client.elicitation.create(session_id, model_id=model_id)
    client.elicitation.add_belief(session_id, "x1", share_of_outcome("x1"), mean=mean, plus_minus=sd, meaning="sd")
    client.elicitation.confirm(session_id)
    return client.conflicts.analyze(session_id, timeout=400, **options)


def test_under_linear_media_the_saturation_is_named_first_and_the_belief_is_not_blamed(client: Client) -> None:
    analysis = analysed(client, "linear", "right", TRUE_SHARE, 0.02)
    (belief,) = analysis.beliefs
    assert belief.finding == conflict_pb2.FINDING_CONFLICT
    assert belief.severity >= conflict_pb2.SEVERITY_STRONG
    first = belief.causes[0]
    assert first.kind == conflict_pb2.CAUSE_KIND_SATURATION
    assert first.resolves
    assert first.log_evidence_gain > 3.0
    assert first.change > 0.05
    assert belief.attribution == conflict_pb2.CONFLICT_ATTRIBUTION_MODEL
    assert first.explanation in belief.explanation
    assert 0.0 <= belief.collinearity < 1.0
    kinds = {cause.kind for cause in belief.causes}
    assert {conflict_pb2.CAUSE_KIND_OUTLIERS, conflict_pb2.CAUSE_KIND_CONTROL_DROPPED} <= kinds


def test_a_wrong_belief_under_the_right_model_is_blamed_and_its_second_analysis_fits_nothing(client: Client) -> None:
    first = analysed(client, "mmm", "wrong", 0.5, 0.05)
    assert first.beliefs[0].attribution == conflict_pb2.CONFLICT_ATTRIBUTION_PRIOR
    assert "No change of the model that was tried resolves it" in first.beliefs[0].explanation
    again = analysed(client, "mmm", "wrong-too", 0.55, 0.05)
    assert again.reference_fit_reused
    assert again.provenance.compute_time == first.provenance.compute_time
    assert again.beliefs[0].causes
    without = client.conflicts.analyze("wrong", without_causes=True, timeout=60)
    assert not without.beliefs[0].causes


def test_a_tight_and_far_belief_is_judged_by_a_bridge(client: Client) -> None:
    analysis = analysed(client, "mmm", "far", 0.6, 0.02, without_causes=True)
    (belief,) = analysis.beliefs
    factors = {factor.alternative: factor for factor in belief.bayes_factors}
    headline = factors[conflict_pb2.BAYES_FACTOR_ALTERNATIVE_RECENTRED]
    assert headline.estimator in (
        conflict_pb2.BAYES_FACTOR_ESTIMATOR_TEMPERED_BRIDGE,
        conflict_pb2.BAYES_FACTOR_ESTIMATOR_BRIDGE_SAMPLING,
    )
    assert headline.pareto_k > 0.7
    assert belief.finding == conflict_pb2.FINDING_CONFLICT
    assert belief.status != conflict_pb2.CONFLICT_STATUS_UNRELIABLE
    # Two independent routes gave ln m_client / m_ref = -24.2 on this window; the extrapolated curve -44.5.
    reference = factors[conflict_pb2.BAYES_FACTOR_ALTERNATIVE_REFERENCE]
    assert reference.log_bayes_factor == pytest.approx(24.2, abs=0.6)
    assert belief.client_posterior.mean == pytest.approx(0.571, abs=0.01)
