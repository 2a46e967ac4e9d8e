"""The saturation curves of the additive MMM: all that the model knows of each form is one row of `FORMS`."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from engine.arrays import Floats

_LOG_3 = np.log(3.0)
_HALF_LOG_3 = 0.5 * float(_LOG_3)  # a number of Python's own leaves float32 as it is


class Saturation(enum.Enum):
    """Form of the saturation curve of adstocked exposure x; k is where a saturating one is at half of its maximum.

    HILL is x / (x + k), slope 1 (Michaelis-Menten). HILL_SLOPE is x^s / (x^s + k^s) with its slope s free: with s above
    1 the response bends upwards first. LOGISTIC is (1 - e^(-λx)) / (1 + e^(-λx)) with λ = ln 3 / k, which is nearly
    linear below k. LINEAR is x, without k: every unit does as much as the last. The share of a channel whose exposure
    never came near zero rests on this choice.
    """

    HILL = "hill"
    HILL_SLOPE = "hill_slope"
    LOGISTIC = "logistic"
    LINEAR = "linear"


@dataclass(frozen=True)
class Form:
    """One curve f, written twice: for the simulator in NumPy, and for the density in JAX without sharing anything.

    In NumPy, `value(x, k, s)` is f(x) and `rise(x, k, s, c)` is f(c·x) - f(x) without cancellation, for adstocked
    exposure x [N, S], half-saturations k and slopes s, [S] or one of them. In JAX, x comes in units of k: `relative(x /
    k, s)` is f(x), `derivative(x / k, f(x), s)` its derivative by x / k and `by_slope(x / k, f(x), s)` that by s;
    arrays of any shape. A form without half-saturation takes exposure as it is, and does not look at k; one without
    slope does not look at s.
    """

    has_half_saturation: bool
    has_slope: bool
    value: Callable[[Floats, float | Floats, float | Floats], Floats]
    rise: Callable[[Floats, Floats, Floats, float], Floats]
    relative: Callable[[Array, Array], Array]
    derivative: Callable[[Array, Array, Array], Array]
    by_slope: Callable[[Array, Array, Array], Array]


def _hill(adstocked: Floats, half_saturation: float | Floats, _: float | Floats) -> Floats:
    return np.asarray(adstocked / (adstocked + half_saturation))


def _hill_rise(adstocked: Floats, half_saturation: Floats, _: Floats, factor: float) -> Floats:
    below, above = adstocked + half_saturation, factor * adstocked + half_saturation
    return np.asarray((factor - 1.0) * adstocked * half_saturation / (below * above))


def _hill_slope(adstocked: Floats, half_saturation: float | Floats, slope: float | Floats) -> Floats:
    with np.errstate(divide="ignore", over="ignore"):  # of a power beyond the range of numbers the curve is at its end
        return np.asarray(1.0 / (1.0 + (adstocked / half_saturation) ** -np.asarray(slope)))


def _hill_slope_rise(adstocked: Floats, half_saturation: Floats, slope: Floats, factor: float) -> Floats:
    # With u = (x / k)^s, f = u / (1 + u); at factor · x it is that of factor^s u. Written with 1 / u, which stays
    # finite where the curve is at its end.
    with np.errstate(divide="ignore", over="ignore"):
        inverse = (adstocked / half_saturation) ** -slope
    more = factor**slope
    with np.errstate(invalid="ignore"):
        rise = (more - 1.0) * inverse / ((inverse + more) * (inverse + 1.0))
    return np.where(np.isfinite(inverse), rise, 0.0)


def _logistic(adstocked: Floats, half_saturation: float | Floats, _: float | Floats) -> Floats:
    decay = np.exp(-_LOG_3 / half_saturation * adstocked)
    return np.asarray((1.0 - decay) / (1.0 + decay))


def _logistic_rise(adstocked: Floats, half_saturation: Floats, _: Floats, factor: float) -> Floats:
    # With d = e^(-λx), f = (1 - d) / (1 + d); at factor · x it is d e^(-(factor - 1)λx).
    strength = _LOG_3 / half_saturation * adstocked
    decay = np.exp(-strength)
    lost = -np.expm1((1.0 - factor) * strength)
    return np.asarray(2.0 * decay * lost / ((1.0 + decay) * (1.0 + decay * (1.0 - lost))))


def _log(relative: Array) -> Array:
    """The logarithm, and 0 where nothing was exposed."""
    return jnp.log(jnp.where(relative > 0.0, relative, 1.0))


def _none(relative: Array, value: Array, slope: Array) -> Array:
    return jnp.zeros_like(value)


FORMS: dict[Saturation, Form] = {
    Saturation.HILL: Form(
        has_half_saturation=True,
        has_slope=False,
        value=_hill,
        rise=_hill_rise,
        relative=lambda relative, _: relative / (1.0 + relative),
        derivative=lambda _, value, __: (1.0 - value) ** 2,
        by_slope=_none,
    ),
    Saturation.HILL_SLOPE: Form(
        has_half_saturation=True,
        has_slope=True,
        value=_hill_slope,
        rise=_hill_slope_rise,
        relative=lambda relative, slope: jnp.where(relative > 0.0, jax.nn.sigmoid(slope * _log(relative)), 0.0),
        # Without exposure every lag of it is 0 too, so that the derivative there is never used.
        derivative=lambda relative, value, slope: (
            slope * value * (1.0 - value) / jnp.where(relative > 0.0, relative, 1.0)
        ),
        by_slope=lambda relative, value, slope: value * (1.0 - value) * _log(relative),
    ),
    Saturation.LOGISTIC: Form(
        has_half_saturation=True,
        has_slope=False,
        value=_logistic,
        rise=_logistic_rise,
        relative=lambda relative, _: jnp.tanh(_HALF_LOG_3 * relative),
        derivative=lambda _, value, __: _HALF_LOG_3 * (1.0 - value**2),
        by_slope=_none,
    ),
    Saturation.LINEAR: Form(
        has_half_saturation=False,
        has_slope=False,
        value=lambda adstocked, _, __: adstocked,
        rise=lambda adstocked, _, __, factor: np.asarray((factor - 1.0) * adstocked),
        relative=lambda relative, _: relative,
        derivative=lambda _, value, __: jnp.ones_like(value),
        by_slope=_none,
    ),
}


def chosen(forms: Sequence[Form], code: Array) -> Form:
    """The density's side of the curve of every lane, the one of `forms` whose index is its code [lanes]."""

    def of(parts: Sequence[Array]) -> Array:
        result = parts[0]
        for index, part in enumerate(parts[1:], 1):
            result = jnp.where(code == index, part, result)
        return result

    return replace(
        forms[0],
        relative=lambda relative, slope: of([form.relative(relative, slope) for form in forms]),
        derivative=lambda relative, value, slope: of([form.derivative(relative, value, slope) for form in forms]),
        by_slope=lambda relative, value, slope: of([form.by_slope(relative, value, slope) for form in forms]),
    )
