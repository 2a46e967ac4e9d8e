"""The presets of calibration runs: which parts they have and how many simulations."""

from __future__ import annotations

from liftos.bayes.v1 import sbc_pb2

DEFAULT_SIMULATIONS = {
    sbc_pb2.VALIDATION_TYPE_QUICK: 100,
    sbc_pb2.VALIDATION_TYPE_STANDARD: 500,
    sbc_pb2.VALIDATION_TYPE_COMPREHENSIVE: 1000,
    sbc_pb2.VALIDATION_TYPE_POSTERIOR: 500,
}
"""Simulations of each part that decides, unless the caller names another number."""

CANARY_SIMULATIONS = 256
"""Most simulations of a canary, which never has more than the parts that it vouches for. On the example models every
canary is noticed within 40; where one is not, extending the run extends it too."""

PRIOR, POSTERIOR = "PRIOR", "POSTERIOR"
_CANARIES = ("CANARY_NARROW_POSTERIOR", "CANARY_HALF_DATA", "CANARY_LAGGED_MEDIA", "CANARY_PRIOR_AS_POSTERIOR")


def parts_of(
    kind: sbc_pb2.ValidationType.ValueType, num_simulations: int, *, canaries: bool, carry_over: bool
) -> list[tuple[str, int]]:
    """Names and sizes of the parts of a run, in the order of computing.

    carry_over: whether exposure acts with a delay in the model, without which there is no lag to get wrong.
    """
    parts = []
    if kind != sbc_pb2.VALIDATION_TYPE_POSTERIOR:
        parts.append((PRIOR, num_simulations))
    if kind in (sbc_pb2.VALIDATION_TYPE_POSTERIOR, sbc_pb2.VALIDATION_TYPE_COMPREHENSIVE):
        parts.append((POSTERIOR, num_simulations))
    if canaries or kind == sbc_pb2.VALIDATION_TYPE_COMPREHENSIVE:
        size = min(CANARY_SIMULATIONS, num_simulations)
        parts += [(part, size) for part in _CANARIES if carry_over or part != "CANARY_LAGGED_MEDIA"]
    return parts


def decides(part: str) -> bool:
    """Whether the verdict is about this part; the others are canaries."""
    return not part.startswith("CANARY_")
