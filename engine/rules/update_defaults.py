"""Settings of updates that a request leaves out; the comments of `UpdatePriorsRequest` say the same to callers."""

from __future__ import annotations

MIN_EVIDENCE_STRENGTH = 10.0
"""Bayes factor below which EVIDENCE_WEIGHTED changes nothing: where the severity becomes STRONG."""
POWER = 0.5
"""Power of the likelihood in POWER_PRIOR: all of the data count half."""
ROBUST_WEIGHT = 0.2
"""Prior weight of the vague component of ROBUST_MIXTURE."""
