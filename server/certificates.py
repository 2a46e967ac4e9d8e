"""The key under which a calibration result is valid, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

from liftos.bayes.v1 import elicitation_pb2

from persistence.tables import ClientPrior, Dataset, Model
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
