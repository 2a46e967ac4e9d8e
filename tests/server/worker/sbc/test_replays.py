"""What a replay of past decisions counts."""

from __future__ import annotations

from engine.rules.sbc_policy import Decision
from persistence.tables import RecordedDecision
from server.worker.sbc.replays import Tally, _count, summary

ESSENTIAL, NOT = Decision.ESSENTIAL, Decision.NOT_REQUIRED_BY_POLICY


def tally(*decisions: tuple[str, Decision, Decision]) -> Tally:
    found = Tally()
    for model, was, would_be in decisions:
        _count(found, RecordedDecision(model_id=model, decision=was.value), would_be)
    return found


def test_a_model_that_stays_essential_by_another_decision_would_still_have_had_to_be_calibrated() -> None:
    dropped = tally(("tv", ESSENTIAL, NOT), ("radio", ESSENTIAL, NOT), ("", ESSENTIAL, NOT))
    assert dropped.dropped == {"tv", "radio"}
    # whichever comes first
    for order in (1, -1):
        kept = tally(*[("tv", ESSENTIAL, NOT), ("tv", ESSENTIAL, ESSENTIAL)][::order], ("radio", ESSENTIAL, NOT))
        assert kept.dropped == {"radio"}
        assert (kept.was, kept.would_be, kept.lost) == (3, 1, 2)
        assert "would not have had to be calibrated: 1." in summary(kept, {})[1]
    assert len(summary(tally(("tv", ESSENTIAL, NOT), ("tv", NOT, ESSENTIAL)), {})) == 1
