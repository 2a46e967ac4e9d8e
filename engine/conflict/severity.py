"""Severity labels of a Bayes factor, how sure the label is, and how often chance alone gives it."""

from __future__ import annotations

import enum
import math

from scipy import special, stats

from engine.errors import InvalidInput

CONFLICT_THRESHOLD = 10.0
CONFIRMS_BELOW = 1.0 / 3.0
SURE = 0.95


class Severity(enum.Enum):
    """Bands of the Bayes factor: [1, 3), [3, 10), [10, 100], above 100; anything below 1 is WEAK as well."""

    WEAK = "weak"
    MODERATE = "moderate"
    STRONG = "strong"
    VERY_STRONG = "very_strong"

    @property
    def band(self) -> tuple[float, float]:
        """(lower, upper) cut of the band on the log scale."""
        return _BANDS[self]


_BANDS = {
    Severity.WEAK: (-math.inf, math.log(3.0)),
    Severity.MODERATE: (math.log(3.0), math.log(10.0)),
    Severity.STRONG: (math.log(10.0), math.log(100.0)),
    Severity.VERY_STRONG: (math.log(100.0), math.inf),
}
ORDER = tuple(Severity)


def severity(log_bf: float) -> Severity:
    """The label of a log Bayes factor."""
    if math.isnan(log_bf):
        raise InvalidInput("log_bf", "must be a number")
    if log_bf > math.log(100.0):
        return Severity.VERY_STRONG
    if log_bf >= math.log(10.0):
        return Severity.STRONG
    return Severity.MODERATE if log_bf >= math.log(3.0) else Severity.WEAK


def calibrated_log_bf(p: float) -> float:
    """The RECENTRED log factor of one quantity that has this p-value: ½ chi²₁⁻¹(1 - p) (methods/conflict.md §4.1)."""
    # chi²₁ has sf(x) = 2 Φ(-√x).
    return 0.5 * float(special.ndtri(0.5 * p)) ** 2 if p > 0.0 else math.inf


def calibrated_log_bf_of_log(log_p: float) -> float:
    """The same of ln p, which may be smaller than any p that a double holds."""
    return 0.5 * float(special.ndtri_exp(log_p - math.log(2.0))) ** 2


def severity_probability(log_bf: float, mcse: float) -> float:
    """Probability that the error-free log Bayes factor carries the same label, with a normal Monte Carlo error."""
    if mcse == 0.0:
        return 1.0
    lower, upper = severity(log_bf).band
    return float(special.ndtr((upper - log_bf) / mcse) - special.ndtr((lower - log_bf) / mcse))


def null_rate(label: Severity) -> float:
    """How often RECENTRED gets this label when the belief is right: one quantity, chi²₁ (methods/conflict.md §3 C)."""
    lower, upper = label.band
    return float(stats.chi2.sf(max(2.0 * lower, 0.0), 1) - stats.chi2.sf(2.0 * upper, 1))


def threshold_null_rate(threshold: float) -> float:
    """P(RECENTRED Bayes factor ≥ threshold) when the belief is right: P(chi²₁ ≥ 2 ln threshold)."""
    return float(stats.chi2.sf(2.0 * math.log(max(threshold, 1.0)), 1))
