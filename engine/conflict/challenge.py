"""Whether the data could have contradicted a belief: without that, agreement is no support."""

from __future__ import annotations

import math

from scipy import special


def could_contradict(belief_months: float, data_months: float, null_rate: float) -> bool:
    """Whether data like these would notice, half of the time at least, a belief that is clearly wrong.

    The argument is one of power (Mayo 2018: a claim has passed a severe test only if it would probably have failed it,
    were it false). On the unconstrained scale let the belief be N(mu, tau²) and the data N(psi, s²): a rule with
    false-alarm rate `null_rate` contradicts where |estimate - mu| > c √(tau² + s²), c its two-sided normal point, and
    for exact data where |psi - mu| > c tau. Clearly wrong is a belief whose quantity lies one of its standard
    deviations beyond that, at mu ± (c + 1) tau. The estimate is normal about it, so the rule notices it with
    probability ½ or more exactly where c √(tau² + s²) ≤ (c + 1) tau: the error of the data must not push the place
    where contradiction begins out by more than one standard deviation of the belief. With the default rule that is
    s ≤ 1.07 tau, about as sharp as the belief. s²/tau² is what the belief is worth in months over the months there are
    (`divergence.prior_worth`), which holds of laws that are not normal as well.

    The contraction of the reference prior says nothing of this: data may shrink a vague reference prior by much and
    still not tell a belief from half of it, or from nothing.
    """
    c = -float(special.ndtri(0.5 * null_rate))
    return not c * math.sqrt(1.0 + belief_months / data_months) > c + 1.0
