"""Estimates of a client's marginal likelihood from runs of their own, for beliefs that the draws do not reach."""

from __future__ import annotations

from dataclasses import dataclass

from engine.arrays import Floats
from engine.conflict.marginal import Estimator, Ladder, LogMarginal, agree, by_curve
from engine.conflict.overlay import Overlay
from engine.conflict.refit import refit_bridge
from engine.conflict.tempering import ladder as powers_of
from engine.conflict.tempering import tempered_bridge
from engine.errors import InvalidInput, UnsupportedQuantity
from engine.inference.fit import Seed
from engine.inference.target import SmoothTarget
from engine.inference.tilted import TiltedTarget, tilt
from engine.models.protocol import CurveInFamily, DensityModel, Model


@dataclass(frozen=True, eq=False)
class Bridges:
    """Admissible estimates of ln m_client / m_ref, and draws [chains, n] of psi under the client's posterior."""

    marginals: tuple[LogMarginal, ...] = ()
    client_draws: Floats | None = None


def bridges(model: Model | CurveInFamily, ladder: Ladder, seed: Seed) -> Bridges:
    """The tempered bridge, and bridge sampling of a refit where it disagrees with the curve (methods/conflict.md §4.2).

    None where the importance mean reaches the belief, where the model has no smooth target, and where psi is no smooth
    function of what is sampled or the belief excludes part of its range. An estimate that misses its own gates is left
    out.
    """
    overlay = ladder.overlay
    curve = overlay.curve
    if not (ladder.hardly_reached and isinstance(model, DensityModel) and isinstance(model.target, SmoothTarget)):
        return Bridges()
    try:
        covered = float(curve.grid[0]), float(curve.grid[-1])
        target = tilt(model.target, curve.quantity, overlay.prior, curve.reference, covered)
    except (UnsupportedQuantity, InvalidInput):
        return Bridges()
    try:
        return _run(target, model.target_units(model.observed[:, None])[:, 0], overlay, seed)
    except InvalidInput:
        return Bridges()  # draws of which no estimate can be made


def _run(target: TiltedTarget, y: Floats, overlay: Overlay, seed: Seed) -> Bridges:
    curve = overlay.curve
    marginals: list[LogMarginal] = []
    draws: Floats | None = None
    tempered = tempered_bridge(target, y, curve.support, powers_of(overlay), seed.derived("tempered bridge"))
    if tempered.admissible:
        draws = tempered.client_draws
        marginals.append(
            LogMarginal.alone(tempered.log_marginal, tempered.mcse, Estimator.TEMPERED_BRIDGE, tempered.khat)
        )
    if not marginals or not agree(marginals[0], by_curve(overlay)):
        again = refit_bridge(target, y, curve.support, seed.derived("bridge sampling"))
        if again.admissible:
            marginals.append(LogMarginal.alone(again.log_marginal, again.mcse, Estimator.BRIDGE_SAMPLING))
            draws = again.client_draws if draws is None else draws
    return Bridges(tuple(marginals), draws)
