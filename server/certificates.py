"""The key under which a calibration result is valid, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

from liftos.bayes.v1 import elicitation_pb2
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from persistence.tables import ClientPrior, Dataset, Model, SbcValidation
from server.resources import beliefs_of, by_pk, certificate, dataset_of
from server.version import SERVER_VERSION
from server.wire import digest, from_json, to_json

PRODUCTION = "PRODUCTION"


def fit_key(
    model: Model, dataset: Dataset | None, months: int, beliefs: Sequence[ClientPrior], inference: str = PRODUCTION
) -> str:
    """Digest of everything a fit depends on: model, data, window, priors, inference and the version of the code.

    The same key identifies a stored fit and the calibration runs that are valid for it. Fits of the service are those
    of PRODUCTION; a run that checked another inference says nothing about them.
    """
    priors = []
    for row in beliefs:
        belief = from_json(row.belief, elicitation_pb2.Belief())
        priors.append([to_json(belief.estimand), to_json(belief.compiled)])
    priors.sort(key=str)  # the order in which beliefs were added changes nothing
    other = [] if inference == PRODUCTION else [inference]
    return digest(model.model_hash, dataset.sha256 if dataset else "", months, priors, SERVER_VERSION, *other)


async def run_key(session: AsyncSession, run: SbcValidation) -> str:
    """The key that this version of the code gives a run."""
    model = await by_pk(session, Model, run.model_pk)
    beliefs = await beliefs_of(session, run.session_pk) if run.session_pk else []
    dataset = await dataset_of(session, model)
    return fit_key(model, dataset, run.data_period_months, beliefs, run.inference_method)


async def finished_run(session: AsyncSession, plan: SbcValidation, seed: int | None) -> SbcValidation | None:
    """The newest run with a verdict of the same key and plan, and of the same seed where one is given.

    What was computed under the same key would come out the same for the same seed, and is as good for another.
    """
    statement = (
        select(SbcValidation)
        .where(
            SbcValidation.client_id == plan.client_id,
            SbcValidation.model_pk == plan.model_pk,
            SbcValidation.certificate_key == plan.certificate_key,
            SbcValidation.plan_key == plan.plan_key,
            SbcValidation.verdict_kind.in_(["PASS", "FAIL", "INCONCLUSIVE"]),
        )
        .order_by(SbcValidation.create_time.desc(), SbcValidation.pk.desc())
        .limit(1)
    )
    if seed is not None:
        statement = statement.where(SbcValidation.seed == seed)
    return (await session.scalars(statement)).one_or_none()


async def reference_certificate(session: AsyncSession, model: Model, months: int) -> SbcValidation | None:
    """The run that decides about the model's reference fit over a window."""
    key = fit_key(model, await dataset_of(session, model), months, [])
    return await certificate(session, model.client_id, model.pk, key)
