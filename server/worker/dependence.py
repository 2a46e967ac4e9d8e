"""How the beliefs of a session hang together: as stored with it, by what their quantities are, and once updated."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from liftos.bayes.v1 import common_pb2

from engine.conflict.joint import client_moments, data_moments
from engine.conflict.reliability import MIN_EFFECTIVE
from engine.conflict.shares import DirichletShares
from engine.errors import InvalidInput
from engine.priors.correlation import BeliefUncertainty, is_independent, posterior_correlation
from engine.priors.distribution import Distribution
from engine.priors.update import PriorUpdate, Strategy, UpdateRule
from persistence.tables import Session
from server.resources import correlation_of, share_groups
from server.worker.update_case import Case

Floats = npt.NDArray[np.float64]


def dirichlet_groups(session: Session, belief_ids: Sequence[str]) -> list[DirichletShares]:
    """The session's groups of shares that were stated together, by the places of their beliefs in `belief_ids`."""
    places = {belief_id: place for place, belief_id in enumerate(belief_ids)}
    return [
        DirichletShares(tuple(places[one] for one in group.belief_ids), tuple(group.alpha))
        for group in share_groups(session)
        if len(group.alpha) > 0 and all(one in places for one in group.belief_ids)
    ]


def prior_correlation(session: Session, belief_ids: Sequence[str]) -> Floats | None:
    """Correlation of the beliefs [k, k] with that of shares that were stated together; None where all are independent.

    A group is correlated within itself alone: what the Dirichlet law says stands against any other statement.
    """
    matrix, groups = correlation_of(session, belief_ids), dirichlet_groups(session, belief_ids)
    if matrix is None and not groups:
        return None
    matrix = np.eye(len(belief_ids)) if matrix is None else matrix
    for group in groups:
        places = list(group.places)
        matrix[places, :], matrix[:, places] = 0.0, 0.0
        matrix[np.ix_(places, places)] = group.logit_correlation()
    return matrix


def whole_shares(estimands: Sequence[common_pb2.Estimand], draws: Floats) -> tuple[int, ...]:
    """Places of the shares of media if they are those of every channel: then they sum to one in every draw [k, n]."""
    shares = [i for i, one in enumerate(estimands) if one.quantity == common_pb2.QUANTITY_SHARE_OF_MEDIA]
    if len(shares) < 2 or not np.allclose(draws[shares].sum(axis=0), 1.0, atol=1e-9):
        return ()
    return tuple(shares)


def updated_correlation(
    elicited: Session, cases: Sequence[Case], updated: Sequence[PriorUpdate], draws: Floats | None, rule: UpdateRule
) -> Floats | str | None:
    """Correlation [k, k] of the updated priors on their unconstrained scales (methods/conflict.md §12).

    Strategies that keep the belief's shape keep its correlation; those that take the likelihood in take its coupling
    in. None for one belief and where they are independent; in words why it cannot be had.
    """
    if len(cases) < 2:
        return None
    prior = prior_correlation(elicited, [case.belief.belief_id for case in cases])
    if prior is not None and not np.all(np.isfinite(prior)):
        return "The correlation of the updated priors is not given: that of the beliefs is not known."
    kept = None if prior is None or is_independent(prior) else prior
    if rule.strategy in {Strategy.EVIDENCE_WEIGHTED, Strategy.ROBUST_MIXTURE, Strategy.CONSERVATIVE}:
        return kept
    if not any(one.changed for one in updated):
        return kept
    if not all(one.changed for one in updated):
        return "The correlation of the updated priors is not given: not every belief was updated."
    if draws is None:
        return "The correlation of the updated priors is not given: there are no draws of all quantities together."
    try:
        data = data_moments(
            [case.curve for case in cases], draws, whole_shares([case.belief.estimand for case in cases], draws)
        )
        if data.effective_draws < MIN_EFFECTIVE:
            return (
                "The correlation of the updated priors is not given: taking the reference priors out leaves an "
                f"effective {data.effective_draws:.0f} draws, of {MIN_EFFECTIVE:.0f} needed."
            )
        spread = [client_moments(case.before, case.curve)[1] for case in cases]
        found = posterior_correlation(
            BeliefUncertainty.of(spread, prior),
            data.cov,
            likelihood_power=rule.power if rule.strategy is Strategy.POWER_PRIOR else 1.0,
            belief_power=[1.0 if one.expected_power is None else one.expected_power for one in updated],
            experiment_precision=[_precision(case, one.distribution) for case, one in zip(cases, updated, strict=True)],
        )
    except (InvalidInput, np.linalg.LinAlgError) as error:
        return f"The correlation of the updated priors is not given: {error}."
    if not np.all(np.isfinite(found)):
        return "The correlation of the updated priors is not given: belief and data do not settle it."
    return None if is_independent(found) else found


def _precision(case: Case, after: Distribution) -> float:
    """Precision of the experiments on the unconstrained scale of the quantity, at the median of the updated prior."""
    if case.experiment is None:
        return 0.0
    at = case.curve.support.to_unconstrained(after.ppf(0.5))
    return float(np.exp(case.curve.support.log_jacobian(at)) / case.experiment.standard_error) ** 2
