"""Numbers and names of quantities as people read them; used by the stored sentences and by the report alike."""

from __future__ import annotations

from server.contract.quantities import QUANTITIES, unit


def number(value: float) -> str:
    """Four significant digits, without an exponent where a person would not use one."""
    return f"{value:,.0f}" if 10_000 <= abs(value) < 1e15 else f"{value:.4g}"


def factor(value: float) -> str:
    """A Bayes factor in three digits, as many as its own error leaves."""
    return f"{float(f'{value:.3g}'):,g}"


def p_value(value: float) -> str:
    """A probability under a hypothesis, in two digits."""
    return f"{value:.2g}"


def shown(value: float, quantity: int) -> str:
    """A value of a quantity without its unit: shares in per cent, everything else as a number."""
    return f"{100 * value:.1f} %" if QUANTITIES[quantity].per_cent else number(value)


def measured(text: str, quantity: int) -> str:
    """One or more shown values of a quantity, followed by their unit."""
    return f"{text} {unit(quantity)}".rstrip()
