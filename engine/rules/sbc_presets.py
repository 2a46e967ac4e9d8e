"""The presets of calibration runs: which parts they have and how many simulations."""

from __future__ import annotations

import enum


class ValidationType(enum.Enum):
    """Kind of run: QUICK finds gross errors only; POSTERIOR simulates from the posterior, where the conflict is.

    RECOVERY simulates at one fixed truth. It reports how often that is covered, and decides nothing.
    """

    NONE = "NONE"
    QUICK = "QUICK"
    STANDARD = "STANDARD"
    COMPREHENSIVE = "COMPREHENSIVE"
    POSTERIOR = "POSTERIOR"
    RECOVERY = "RECOVERY"


SIMULATIONS = {
    ValidationType.QUICK: 100,
    ValidationType.STANDARD: 500,
    ValidationType.COMPREHENSIVE: 1000,
    ValidationType.POSTERIOR: 500,
    ValidationType.RECOVERY: 500,
}
"""Simulations of each part that is no canary, unless the caller names another number. The policy advises the first
three, so that another number is another version of it."""

CANARY_SIMULATIONS = 256
"""Most simulations of a canary, which never has more than the parts that it vouches for. On the example models every
canary is noticed within 40; where one is not, extending the run extends it too."""

CHUNK = 64
"""Simulations that share one compiled call: a shard of no multiple wastes a part."""


class Part(enum.Enum):
    """What a set of simulations of a run is for; each has a ledger of its own.

    PRIOR: truths from the prior. POSTERIOR: truths from the posterior given the real data, which are then fitted
    together with a replicate (posterior SBC). RECOVERY: the same truth every time. The canaries repeat the PRIOR
    simulations with an inference that is wrong on purpose: a check that does not fail them could not have seen such an
    error in the real inference either.
    """

    PRIOR = "PRIOR"
    POSTERIOR = "POSTERIOR"
    RECOVERY = "RECOVERY"
    CANARY_NARROW_POSTERIOR = "CANARY_NARROW_POSTERIOR"
    CANARY_HALF_DATA = "CANARY_HALF_DATA"
    CANARY_LAGGED_MEDIA = "CANARY_LAGGED_MEDIA"
    CANARY_PRIOR_AS_POSTERIOR = "CANARY_PRIOR_AS_POSTERIOR"

    @property
    def is_canary(self) -> bool:
        """Whether the part has to fail; the verdict is about the others."""
        return self.value.startswith("CANARY_")

    @property
    def decides(self) -> bool:
        """Whether the verdict is about the part; at one truth an interval need not cover as often as it says."""
        return not self.is_canary and self is not Part.RECOVERY


def parts_of(kind: ValidationType, num_simulations: int, *, canaries: bool, carry_over: bool) -> list[tuple[Part, int]]:
    """Parts of a run and their sizes, in the order of computing.

    canaries: whether they are wanted where the kind does not have them anyway; RECOVERY never does
    carry_over: whether exposure acts with a delay in the model, without which there is no lag to get wrong.
    """
    if kind is ValidationType.RECOVERY:
        return [(Part.RECOVERY, num_simulations)]
    parts = []
    if kind is not ValidationType.POSTERIOR:
        parts.append((Part.PRIOR, num_simulations))
    if kind in (ValidationType.POSTERIOR, ValidationType.COMPREHENSIVE):
        parts.append((Part.POSTERIOR, num_simulations))
    if canaries or kind is ValidationType.COMPREHENSIVE:
        size = min(CANARY_SIMULATIONS, num_simulations)
        without = () if carry_over else (Part.CANARY_LAGGED_MEDIA,)
        parts += [(part, size) for part in Part if part.is_canary and part not in without]
    return parts
