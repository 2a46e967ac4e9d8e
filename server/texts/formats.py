"""Numbers and names of quantities as people read them; used by the stored sentences and by the report alike."""

from __future__ import annotations

import math

from liftos.bayes.v1 import common_pb2

from server.contract.quantities import QUANTITIES, unit

SMALLEST_P = 1e-4
"""A smaller probability hangs on tails that nobody knows: it is told as below this."""
LARGEST_FACTOR = 1e4
"""A larger factor is told as above this: what it would be exactly changes nothing."""
_MOST_DECIMALS = 6


def number(value: float) -> str:
    """Four significant digits, without an exponent where a person would not use one."""
    return f"{value:,.0f}" if 10_000 <= abs(value) < 1e15 else f"{value:.4g}"


def factor(value: float) -> str:
    """A Bayes factor in three digits, as many as its own error leaves."""
    return f"{float(f'{value:.3g}'):,g}"


def at_most(value: float) -> str:
    """A factor in a sentence: in three digits, or as more than what nobody needs to know exactly."""
    return factor(value) if value <= LARGEST_FACTOR else f"more than {LARGEST_FACTOR:,.0f}"


def p_value(value: float) -> str:
    """A probability under a hypothesis, in two digits."""
    return f"{value:.2g}" if value >= SMALLEST_P else f"< {SMALLEST_P:.4f}"


def p_is(value: float) -> str:
    """The same with its name: `p = 0.025`, or `p < 0.0001`."""
    return f"p = {value:.2g}" if value >= SMALLEST_P else f"p {p_value(value)}"


def chance(value: float) -> str:
    """The same in the words of a client."""
    return f"{value:.2g}" if value >= SMALLEST_P else f"less than {SMALLEST_P:.4f}"


def decimals(spread: float, quantity: int) -> int:
    """Decimals that show a spread of a quantity in two significant digits; shares are shown in per cent."""
    amount = abs(_amount(spread, quantity))
    if not (math.isfinite(amount) and amount > 0.0):
        return 1
    return max(1 - int(f"{amount:.1e}".partition("e")[2]), 0)


def decimals_of(estimate: common_pb2.Estimate, quantity: int) -> int | None:
    """Decimals for everything that is told of an estimate: those of its standard deviation, by an interval without.

    None where it has neither.
    """
    if estimate.HasField("sd"):
        return decimals(estimate.sd, quantity)
    if estimate.intervals:
        widest = max(estimate.intervals, key=lambda interval: interval.level)
        return decimals(0.25 * (widest.upper - widest.lower), quantity)
    return None


def shown(value: float, quantity: int, digits: int | None = None) -> str:
    """A value of a quantity without its unit, with so many decimals: shares in per cent, the rest as a number.

    Without `digits` a share has one decimal, or as many as show two significant digits, and a number four of these.
    """
    if not QUANTITIES[quantity].per_cent:
        if digits is None or digits > _MOST_DECIMALS:
            return number(value)
        return f"{value:,.{digits}f}" if abs(value) >= 10_000 else f"{value:.{digits}f}"
    if digits is None:
        digits = max(decimals(value, quantity), 1)
    return f"{_amount(value, quantity):.{digits}f} %"


def _amount(value: float, quantity: int) -> float:
    return 100.0 * value if QUANTITIES[quantity].per_cent else value


def measured(text: str, quantity: int) -> str:
    """One or more shown values of a quantity, followed by their unit."""
    return f"{text} {unit(quantity)}".rstrip()
