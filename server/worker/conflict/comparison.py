"""Compares the beliefs of a session with a fit: the figures of each against its evidence curve, and of all together.

Takes the stored rows of beliefs and fit and returns values of the engine; `conflict_messages` makes messages of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from liftos.bayes.v1 import elicitation_pb2

from engine.arrays import Floats
from engine.conflict.analysis import BeliefConflict, ConflictRule, analyse_belief
from engine.conflict.bridges import Bridges, bridges
from engine.conflict.curve import CurveKind, EvidenceCurve
from engine.conflict.joint import JointBeliefs, joint_beliefs
from engine.conflict.marginal import Ladder
from engine.conflict.multiplicity import e_bh, holm
from engine.conflict.overlay import Overlay
from engine.conflict.reliability import Status
from engine.conflict.replication import ReplicatedPValue, replicated_p
from engine.distributions.distribution import Distribution
from engine.errors import InvalidInput, UnsupportedQuantity
from engine.inference.batch import BatchedHmc
from engine.inference.fit import Seed
from engine.models.protocol import Model
from persistence.tables import ClientPrior, ElicitedSession, StoredCurve
from server.contract.wire import from_json, quantity_name
from server.records.sessions import correlation_of
from server.worker.conflict.dependence import dirichlet_groups, parts_of_totals, whole_shares
from server.worker.context import WorkerContext
from server.worker.conversion import belief_law
from server.worker.fitting.fits import StoredFit, stored_curve
from server.worker.fitting.gate import Gate

FALSE_DISCOVERY_RATE = 0.05
"""Of the e-BH procedure where the caller sets no confidence threshold."""


@dataclass(frozen=True)
class Examined:
    """One belief with its curve and the figures computed from the two.

    `prior` is the law that the belief puts on its quantity, `draws` [chains, n] those under the reference prior, None
    for an exact curve. `p_holm` and `flagged` are about all beliefs of the session.
    """

    row: ClientPrior
    belief: elicitation_pb2.Belief
    curve_row: StoredCurve
    prior: Distribution
    curve: EvidenceCurve
    draws: Floats | None
    figures: BeliefConflict
    p_holm: float | None = None
    flagged: bool = False


async def examine(
    context: WorkerContext,
    fit: StoredFit,
    rows: Sequence[ClientPrior],
    rule: ConflictRule,
    experts: Sequence[ClientPrior] = (),
) -> list[Examined]:
    """Compare every belief with its evidence curve, and with the expert's belief about the same quantity if any.

    InvalidInput names the belief's place in the session, `beliefs[<id>].compiled`, where it cannot be compared.
    """
    theirs = {quantity_name(belief.estimand): belief for belief in map(_belief, experts)}
    of_fit = Gate(fit).refusals
    examined = []
    for row in rows:
        belief = _belief(row)
        name = quantity_name(belief.estimand)
        curve_row, curve = await stored_curve(context, fit, belief.estimand)
        field = f"beliefs[{row.belief_id}].compiled"
        prior = belief_law(belief, curve.reference, field)
        expert = theirs.get(name)
        rival = None if expert is None else belief_law(expert, curve.reference, f"expert_session_id: {field}")
        draws = fit.draws_of(name) if curve.kind is CurveKind.DRAWS else None
        seed = fit.seed.derived(f"bridges of {name} to {prior!r}")
        try:
            figures = await asyncio.to_thread(_figures, fit.model, prior, curve, draws, rule, rival, seed, of_fit)
        except InvalidInput as error:
            raise InvalidInput(field, error.message) from None
        examined.append(Examined(row, belief, curve_row, prior, curve, draws, figures))
    return _as_a_family(examined, rule)


def _figures(
    model: Model,
    prior: Distribution,
    curve: EvidenceCurve,
    draws: Floats | None,
    rule: ConflictRule,
    expert: Distribution | None,
    seed: Seed,
    of_fit: Sequence[str],
) -> BeliefConflict:
    """All figures of a belief; where the draws do not reach it, with runs of the sampler that do.

    None are made for a fit that must not be relied on (`of_fit`): they would start from its draws.
    """
    further = Bridges()
    if draws is not None and not of_fit:
        further = bridges(model, Ladder.climb(Overlay(prior, curve), draws), seed)
    return analyse_belief(
        prior,
        curve,
        rule,
        draws=draws,
        bridges=further.marginals,
        client_draws=further.client_draws,
        expert=expert,
        of_fit=of_fit,
    )


def _belief(row: ClientPrior) -> elicitation_pb2.Belief:
    return from_json(row.belief, elicitation_pb2.Belief())


def _as_a_family(examined: Sequence[Examined], rule: ConflictRule) -> list[Examined]:
    """Holm's p-values and the e-BH flags of the beliefs whose figures are reliable, over all of them."""
    if len(examined) < 2:
        return list(examined)
    usable = [compared.figures.status is not Status.UNRELIABLE for compared in examined]
    alpha = FALSE_DISCOVERY_RATE if rule.confidence_threshold is None else 1.0 - rule.confidence_threshold
    # Whether a belief is reliable depends on the data, so the family is all of them; no answer is no evidence.
    adjusted = holm(
        [compared.figures.p.value if sure else 1.0 for compared, sure in zip(examined, usable, strict=True)]
    )
    log_e = [
        compared.figures.widened.log_bf if sure else -np.inf for compared, sure in zip(examined, usable, strict=True)
    ]
    flags = e_bh(log_e, alpha)
    return [
        replace(compared, p_holm=float(p), flagged=bool(flag)) if sure else compared
        for compared, p, flag, sure in zip(examined, adjusted, flags, usable, strict=True)
    ]


async def audit(fit: StoredFit, compared: Examined, replicates: int) -> ReplicatedPValue | None:
    """The replicated-data p-value of a belief; None for a quantity that no single parameter of the model sets."""
    seed = fit.seed.derived(f"replicates of {compared.prior!r}")
    settings = BatchedHmc.simulation(len(fit.model.parameter_names))
    name = quantity_name(compared.belief.estimand)
    try:
        return await asyncio.to_thread(
            replicated_p, fit.model, name, compared.prior, fit.draws, replicates, seed, settings
        )
    except UnsupportedQuantity:
        return None


def examine_jointly(
    fit: StoredFit, elicited: ElicitedSession, examined: Sequence[Examined]
) -> JointBeliefs | str | None:
    """All beliefs together; why not, in words; None for a single belief or for a summary without draws."""
    if len(examined) < 2 or any(compared.draws is None for compared in examined):
        return None
    draws = np.stack([np.ravel(compared.draws) for compared in examined])  # type: ignore[arg-type]
    belief_ids = [compared.row.belief_id for compared in examined]
    estimands = [compared.belief.estimand for compared in examined]
    try:
        return joint_beliefs(
            [compared.prior for compared in examined],
            [compared.curve for compared in examined],
            draws,
            whole_shares(estimands, draws),
            correlation_of(elicited, belief_ids),
            dirichlet_groups(elicited, belief_ids),
            parts_of_totals(estimands, draws, fit.draws_of),
        )
    except (InvalidInput, np.linalg.LinAlgError) as error:
        return str(error)
