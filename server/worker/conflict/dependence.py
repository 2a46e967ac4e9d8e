"""How the beliefs of a session hang together: as stored with it, by what their quantities are, and once updated."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from liftos.bayes.v1 import common_pb2

from engine.arrays import Floats
from engine.conflict.shares import DirichletShares
from engine.errors import UnsupportedQuantity
from persistence.tables import ElicitedSession
from server.contract.quantities import same_unknown
from server.contract.wire import quantity_name
from server.records.sessions import correlation_of, share_groups


def dirichlet_groups(session: ElicitedSession, belief_ids: Sequence[str]) -> list[DirichletShares]:
    """The session's groups of shares that were stated together, by the places of their beliefs in `belief_ids`."""
    places = {belief_id: place for place, belief_id in enumerate(belief_ids)}
    return [
        DirichletShares(tuple(places[belief_id] for belief_id in group.belief_ids), tuple(group.alpha))
        for group in share_groups(session)
        if len(group.alpha) > 0 and all(belief_id in places for belief_id in group.belief_ids)
    ]


def prior_correlation(session: ElicitedSession, belief_ids: Sequence[str]) -> Floats | None:
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


def parts_of_totals(
    estimands: Sequence[common_pb2.Estimand], draws: Floats, shares_of: Callable[[str], Floats]
) -> Floats:
    """Weights [m, k] that make parts of the outcome, and parts of media, of the quantities with draws [k, n].

    A share of outcome is a part of the outcome, a ROI or an incremental outcome a known multiple of one: `shares_of`
    has the draws of a share by name, and raises UnsupportedQuantity where the model has none. Shares of media are parts
    of media unless they are the whole of them, whose sum nobody needs to be told.
    """
    of_outcome, of_media = np.zeros((2, len(estimands)))
    whole = whole_shares(estimands, draws)
    for place, estimand in enumerate(estimands):
        if estimand.quantity == common_pb2.QUANTITY_SHARE_OF_MEDIA and place not in whole:
            of_media[place] = 1.0
        elif estimand.quantity in same_unknown(common_pb2.QUANTITY_SHARE_OF_OUTCOME):
            share = common_pb2.Estimand(quantity=common_pb2.QUANTITY_SHARE_OF_OUTCOME, channel=estimand.channel)
            try:
                own = draws[place] if share == estimand else shares_of(quantity_name(share))
            except UnsupportedQuantity:
                continue
            of_outcome[place] = float(own.mean() / draws[place].mean())
    rows = np.stack([of_outcome, of_media])
    return np.asarray(rows[np.count_nonzero(rows, axis=1) > 1])


def whole_shares(estimands: Sequence[common_pb2.Estimand], draws: Floats) -> tuple[int, ...]:
    """Places of the shares of media if they are those of every channel: then they sum to one in every draw [k, n]."""
    shares = [i for i, estimand in enumerate(estimands) if estimand.quantity == common_pb2.QUANTITY_SHARE_OF_MEDIA]
    if len(shares) < 2 or not np.allclose(draws[shares].sum(axis=0), 1.0, atol=1e-9):
        return ()
    return tuple(shares)
