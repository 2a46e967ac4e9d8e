"""Names of the top-level parameters of an additive marketing-mix model: what they are, and so how many there are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def parameter_names(media: Iterable[tuple[str, str, bool]], linear: Sequence[str]) -> tuple[str, ...]:
    """2C + H media parameters, the linear part, sigma (methods/mmm.md §4), in the order in which they are kept.

    `media` are the channels: name, sampled quantity (`roi` or `share_of_outcome`), whether its response saturates, as
    H of them do. `linear` is what `linear_names` returns, with the intercepts of a panel's geos if they are wanted.
    """
    channels = list(media)
    return (
        *(f"{quantity}[{name}]" for name, quantity, _ in channels),
        *(f"retention[{name}]" for name, _, _ in channels),
        *(f"half_saturation[{name}]" for name, _, saturates in channels if saturates),
        *linear,
        "sigma",
    )


def linear_names(*, trend: bool, fourier_pairs: int, controls: Iterable[str]) -> list[str]:
    """The linear part of national data: intercept, perhaps a trend, sine and cosine of every pair, the controls."""
    names = ["intercept", *(["trend"] if trend else [])]
    for pair in range(1, fourier_pairs + 1):
        names += [f"sin_{pair}", f"cos_{pair}"]
    return names + [f"control[{name}]" for name in controls]
