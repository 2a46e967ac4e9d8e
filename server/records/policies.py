"""Versions of the policy behind the decision on SBC, as messages; how it decides is in engine.sbc.decision."""

from __future__ import annotations

from liftos.bayes.v1 import common_pb2, sbc_pb2

from persistence.tables import AdoptedPolicy
from server.contract.wire import timestamp


def thresholds_message(
    model_complexity: int, bayes_factor: float, impact_minor_units: int, client_confidence: float
) -> sbc_pb2.NecessityThresholds:
    """The four thresholds; the impact in cents."""
    return sbc_pb2.NecessityThresholds(
        model_complexity=model_complexity,
        bayes_factor=bayes_factor,
        business_impact=common_pb2.Money(minor_units=impact_minor_units, currency="USD"),
        client_confidence=client_confidence,
    )


BUILT_IN = sbc_pb2.NecessityPolicy(
    version=1,
    thresholds=thresholds_message(10, 10.0, 100_000_000, 0.6),
    policy_hash="ffd1a8926a12836606c86d3f9ec6111dad678c74ff92ebc03fd948e44972af77",
    reason="Built in.",
)
"""The version of everybody who has put none in force. The server does not import the engine, so it is written down
twice; a test compares it with the engine's."""


def policy_message(row: AdoptedPolicy) -> sbc_pb2.NecessityPolicy:
    """A stored version."""
    return sbc_pb2.NecessityPolicy(
        version=row.version,
        thresholds=thresholds_message(
            row.max_parameters, row.max_bayes_factor, row.max_impact_minor, row.min_confidence
        ),
        policy_hash=row.policy_hash,
        adopted_by=row.adopted_by,
        reason=row.reason,
        create_time=timestamp(row.create_time),
    )
