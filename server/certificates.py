"""The key under which a calibration result is valid, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

from liftos.bayes.v1 import elicitation_pb2
from sqlalchemy.ext.asyncio import AsyncSession

from persistence.tables import ClientPrior, Dataset, Model, SbcValidation
from server.resources import certificate, dataset_of
from server.version import SERVER_VERSION
from server.wire import digest, from_json, to_json


def fit_key(model: Model, dataset: Dataset | None, months: int, beliefs: Sequence[ClientPrior]) -> str:
    """Digest of everything a fit depends on: model, data, window, priors and the version of the code.

    The same key identifies a stored fit and the calibration runs that are valid for it.
    """
    priors = []
    for row in beliefs:
        belief = from_json(row.belief, elicitation_pb2.Belief())
        priors.append([to_json(belief.estimand), to_json(belief.compiled)])
    priors.sort(key=str)  # the order in which beliefs were added changes nothing
    return digest(model.model_hash, dataset.sha256 if dataset else "", months, priors, SERVER_VERSION)


async def reference_certificate(session: AsyncSession, model: Model, months: int) -> SbcValidation | None:
    """The run that decides about the model's reference fit over a window."""
    key = fit_key(model, await dataset_of(session, model), months, [])
    return await certificate(session, model.client_id, model.pk, key)
