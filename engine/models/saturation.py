"""The saturation curves of the additive MMM: all that the model knows of each form is one row of `FORMS`."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_LOG_3 = np.log(3.0)
_HALF_LOG_3 = 0.5 * float(_LOG_3)  # a number of Python's own leaves float32 as it is


class Saturation(enum.Enum):
    """Form of the saturation curve of adstocked exposure x; k is the exposure at half the maximum of a saturating one.

    HILL is x / (x + k), slope 1 (Michaelis-Menten). LOGISTIC is (1 - e^(-λx)) / (1 + e^(-λx)) with λ = ln 3 / k,
    which is nearly linear below k. LINEAR is x, without k: every unit does as much as the last. The share of a channel
    whose exposure never came near zero rests on this choice.
    """

    HILL = "hill"
    LOGISTIC = "logistic"
    LINEAR = "linear"


@dataclass(frozen=True)
class Form:
    """One curve f, written twice: for the simulator in NumPy, and for the density in JAX without sharing anything.

    In NumPy, `value(x, k)` is f(x) and `rise(x, k, c)` is f(c·x) - f(x) without cancellation, for adstocked exposure x
    [N, S] and half-saturations k [S] or one of them. In JAX, x comes in units of k: `relative(x / k)` is f(x), and
    `slope(f(x))` its derivative by x / k, from the value alone; arrays of any shape. A form without half-saturation
    takes exposure as it is, and does not look at k.
    """

    has_half_saturation: bool
    value: Callable[[Floats, float | Floats], Floats]
    rise: Callable[[Floats, Floats, float], Floats]
    relative: Callable[[Array], Array]
    slope: Callable[[Array], Array]


def hill(adstocked: Floats, half_saturation: float | Floats) -> Floats:
    """Hill saturation of slope 1, x/(x + k)."""
    return np.asarray(adstocked / (adstocked + half_saturation))


def _hill_rise(adstocked: Floats, half_saturation: Floats, factor: float) -> Floats:
    below, above = adstocked + half_saturation, factor * adstocked + half_saturation
    return np.asarray((factor - 1.0) * adstocked * half_saturation / (below * above))


def logistic(adstocked: Floats, half_saturation: float | Floats) -> Floats:
    """Logistic saturation (1 - e^(-λx)) / (1 + e^(-λx)) with λ = ln 3 / k, so that it is 1/2 at x = k."""
    decay = np.exp(-_LOG_3 / half_saturation * adstocked)
    return np.asarray((1.0 - decay) / (1.0 + decay))


def _logistic_rise(adstocked: Floats, half_saturation: Floats, factor: float) -> Floats:
    # With d = e^(-λx), f = (1 - d) / (1 + d); at factor · x it is d e^(-(factor - 1)λx).
    strength = _LOG_3 / half_saturation * adstocked
    decay = np.exp(-strength)
    lost = -np.expm1((1.0 - factor) * strength)
    return np.asarray(2.0 * decay * lost / ((1.0 + decay) * (1.0 + decay * (1.0 - lost))))


FORMS: dict[Saturation, Form] = {
    Saturation.HILL: Form(
        has_half_saturation=True,
        value=hill,
        rise=_hill_rise,
        relative=lambda relative: relative / (1.0 + relative),
        slope=lambda value: (1.0 - value) ** 2,
    ),
    Saturation.LOGISTIC: Form(
        has_half_saturation=True,
        value=logistic,
        rise=_logistic_rise,
        relative=lambda relative: jnp.tanh(_HALF_LOG_3 * relative),
        slope=lambda value: _HALF_LOG_3 * (1.0 - value**2),
    ),
    Saturation.LINEAR: Form(
        has_half_saturation=False,
        value=lambda adstocked, _: adstocked,
        rise=lambda adstocked, _, factor: np.asarray((factor - 1.0) * adstocked),
        relative=lambda relative: relative,
        slope=jnp.ones_like,
    ),
}
