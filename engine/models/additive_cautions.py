"""What to mind about an additive model and its covariates: exposure that says nothing, or says the same thing twice."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from engine.arrays import Floats
from engine.models.additive_design import Design
from engine.models.additive_spec import AdditiveMmmSpec
from engine.rules.additive_defaults import carry_over
from engine.rules.cautions import Caution, CautionKind

COLLINEAR = 0.95
"""Correlation of what two channels act by from which on they are called alike: one variance in ten is their own."""
_SAME = 1.0 - 1e-9
_EXPLAINED = 0.5


def exposure_cautions(spec: AdditiveMmmSpec, design: Design, media: Floats, spacing: int) -> list[Caution]:
    """Cautions about the channels, from what they act by, media [N, C], in rows `spacing` days apart."""
    names = [channel.name for channel in spec.channels]
    found, moving = [], []
    for index, name in enumerate(names):
        column = media[:, index]
        if float(column.std()) > 1e-9 * float(np.abs(column).max()):
            moving.append(index)
        else:
            found.append(Caution(CautionKind.CONSTANT_EXPOSURE, (name,)))
    for first, second in combinations(moving, 2):
        r = float(np.corrcoef(media[:, first], media[:, second])[0, 1])
        if r > COLLINEAR:
            kind = CautionKind.SAME_EXPOSURE if r > _SAME else CautionKind.COLLINEAR_EXPOSURE
            found.append(Caution(kind, (names[first], names[second]), r))
    usual = carry_over(spacing)
    for channel in spec.channels:
        if 2 * channel.n_weights <= usual.weights:
            short = Caution(CautionKind.SHORT_CARRY_OVER, (channel.name,), channel.n_weights, usual.periods)
            found.append(short)
    window = design.window
    found += [Caution(CautionKind.NO_SPEND, (name,)) for name in window.unpaid]
    if (resting := window.edge_affected_rows - window.skipped_rows) > 0:
        found.append(Caution(CautionKind.UNKNOWN_HISTORY, value=resting))
    return found


def control_cautions(spec: AdditiveMmmSpec, design: Design, media: Floats) -> list[Caution]:
    """Cautions about the controls, by least squares next to columns of media [N, K] and the rest of the linear part.

    A control that media drive, and that drives sales, takes their effect away; one that drives both is what has to be
    in the model. The data look the same, so this is a question to whoever knows.
    """
    found = [Caution(CautionKind.CONSTANT_CONTROL, (name,)) for name in design.window.constant_controls]
    kpi = (design.kpi / design.population - design.kpi_mean) / design.kpi_sd
    names = list(design.block_names)
    for control in spec.controls:
        if control.name in design.window.constant_controls:
            continue
        place = names.index(f"control[{control.name}]")
        own, rest = design.block[:, place], np.delete(design.block, place, axis=1)
        explained = 1.0 - _unexplained(own, [rest, media]) / max(_unexplained(own, [rest]), 1e-300)
        if explained < _EXPLAINED:
            continue
        if _brought(kpi, design.block, media) < 0.5 * _brought(kpi, rest, media):
            found.append(Caution(CautionKind.LIKE_A_MEDIATOR, (control.name,), explained))
    return found


def _brought(values: Floats, block: Floats, media: Floats) -> float:
    """Standard deviation [] of what media [N, C] bring to values [N] by least squares beside a block [N, q]."""
    coefficients = np.linalg.lstsq(np.column_stack([media, block]), values)[0][: media.shape[1]]
    return float(np.std(media @ coefficients))


def _unexplained(values: Floats, columns: Sequence[Floats]) -> float:
    """Sum of squares [] of values [N] that least squares on the columns leaves."""
    design = np.column_stack(columns)
    rest = values - design @ np.linalg.lstsq(design, values)[0]
    return float(rest @ rest)
