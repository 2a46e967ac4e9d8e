"""Parts of a calibration run: sets of simulations that answer different questions, each with a ledger of its own."""

from __future__ import annotations

import enum


class Part(enum.Enum):
    """What a set of simulations is for.

    PRIOR: truths from the prior. POSTERIOR: truths from the posterior given the real data, which are then fitted
    together with a replicate (posterior SBC). The canaries repeat the PRIOR simulations with an inference that is wrong
    on purpose: a check that does not fail them could not have seen such an error in the real inference either.
    """

    PRIOR = "PRIOR"
    POSTERIOR = "POSTERIOR"
    CANARY_NARROW_POSTERIOR = "CANARY_NARROW_POSTERIOR"
    CANARY_HALF_DATA = "CANARY_HALF_DATA"
    CANARY_LAGGED_MEDIA = "CANARY_LAGGED_MEDIA"
    CANARY_PRIOR_AS_POSTERIOR = "CANARY_PRIOR_AS_POSTERIOR"

    @property
    def is_canary(self) -> bool:
        """Whether the part has to fail."""
        return self.value.startswith("CANARY_")
