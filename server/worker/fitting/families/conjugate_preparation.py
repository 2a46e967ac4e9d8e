"""The summary-level conjugate model, from its specification alone."""

from __future__ import annotations

from liftos.bayes.v1 import model_pb2

from engine.models.conjugate_normal import FAMILY, ConjugateNormal, ConjugateNormalSpec, prepare
from server.contract.wire import quantity_name
from server.worker.conversion import to_law
from server.worker.fitting.preparation import Data, Preparation


def _prepare(spec: model_pb2.ModelSpec, data: Data | None) -> ConjugateNormal:
    summary = spec.conjugate_normal
    return prepare(
        ConjugateNormalSpec(
            quantity=quantity_name(summary.estimand),
            estimate=summary.estimate,
            standard_error=summary.standard_error,
            n_observations=summary.n_months,
            prior=to_law(summary.reference_prior, "spec.conjugate_normal.reference_prior"),
        )
    )


CONJUGATE = Preparation(FAMILY, _prepare)
