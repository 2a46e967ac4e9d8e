"""Names of the top-level parameters of an additive marketing-mix model: what they are, and so how many there are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from engine.rules.quantity_names import TOTAL_MEDIA_SHARE


def parameter_names(media: Iterable[tuple[str, str, bool, bool]], linear: Sequence[str]) -> tuple[str, ...]:
    """2C + H + G media parameters, the linear part, sigma (methods/mmm.md §4), in the order in which they are kept.

    `media` are the channels: name, sampled quantity (`roi` or `share_of_outcome`), whether its response saturates, as H
    of them do, and whether the slope of its curve is free, as G are. `linear` is what `linear_names` returns, with the
    intercepts of a panel's geos if they are wanted.
    """
    channels = list(media)
    return (
        *(f"{quantity}[{name}]" for name, quantity, *_ in channels),
        *(f"retention[{name}]" for name, *_ in channels),
        *(f"half_saturation[{name}]" for name, _, saturates, _ in channels if saturates),
        *(f"slope[{name}]" for name, *_, sloped in channels if sloped),
        *linear,
        "sigma",
    )


def linear_names(*, trend: bool, fourier_pairs: int, controls: Iterable[str]) -> list[str]:
    """The linear part of national data: intercept, perhaps a trend, sine and cosine of every pair, the controls."""
    names = ["intercept", *(["trend"] if trend else [])]
    for pair in range(1, fourier_pairs + 1):
        names += [f"sin_{pair}", f"cos_{pair}"]
    return names + [f"control[{name}]" for name in controls]


def estimand_rows(channels: Iterable[tuple[str, bool]]) -> tuple[str, ...]:
    """The estimands by channel, of name and whether its spend is known; empty for the ROI of one without spend."""
    listed = list(channels)
    names = [name for name, _ in listed]
    rows = [f"share_of_outcome[{name}]" for name in names] + [f"incremental_outcome[{name}]" for name in names]
    rows += [f"roi[{name}]" if spends else "" for name, spends in listed]
    if len(names) > 1:
        # With one channel its share of media is 1 and the total is its share: a constant cannot be ranked.
        rows += [f"share_of_media[{name}]" for name in names] + [TOTAL_MEDIA_SHARE]
    return tuple(rows)
