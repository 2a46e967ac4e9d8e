"""The truth of a run at a fixed one: what was stated, completed and checked against the prepared model."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import numpy as np
from google.protobuf.message import Message
from liftos.bayes.v1 import sbc_pb2
from sqlalchemy.ext.asyncio import AsyncSession

from engine.arrays import Floats
from engine.errors import InvalidInput
from engine.models.protocol import Model
from engine.sbc.fixed_truth import fixed_by, fixed_truth, prior_medians
from engine.sbc.ranked_quantities import recovered_quantities
from persistence.tables import Job, RegisteredModel
from server.contract.period import Period
from server.records.lookups import owned
from server.records.sessions import beliefs_of, confirmed_session
from server.worker.context import Commit, WorkerContext
from server.worker.fitting.fits import stored_fit

Fitted = Callable[[], Awaitable[Mapping[str, Floats]]]
"""Computes the posterior draws of the parameters, unless they are stored."""


async def _prior_medians(model: Model, _: Fitted) -> dict[str, float]:
    return prior_medians(model)


async def _posterior_means(_: Model, fitted: Fitted) -> dict[str, float]:
    return {name: float(np.mean(draws)) for name, draws in (await fitted()).items()}


OTHERS: Mapping[int, Callable[[Model, Fitted], Awaitable[dict[str, float]]]] = {
    sbc_pb2.OTHER_TRUTHS_PRIOR_MEDIAN: _prior_medians,
    sbc_pb2.OTHER_TRUTHS_POSTERIOR_MEAN: _posterior_means,
}
"""What parameters that are not named have as truth."""


async def fix_truth(context: WorkerContext, job: Job) -> Commit:
    """Answer with the truth of every parameter; InvalidInput with the field of the run's specification to blame."""
    request = sbc_pb2.RunSbcRequest.FromString(job.request)
    spec, period = request.spec, Period.asked(request.spec)
    async with context.database.session() as session:
        row = await owned(session, RegisteredModel, request.client_id, spec.model_id, field="spec.model_id")
        elicited = None
        if spec.session_id:
            elicited = await confirmed_session(session, request.client_id, spec.session_id, "spec.session_id")
        beliefs = await beliefs_of(session, elicited.pk) if elicited else []
        model = await context.models.prepared(session, row, period, beliefs)
    from_where = spec.other_truths
    if not spec.fixed_truth and not from_where:
        from_where = sbc_pb2.OTHER_TRUTHS_PRIOR_MEDIAN
    stated: dict[str, float] = {}
    for each in spec.fixed_truth:
        if each.quantity in stated:
            raise InvalidInput(f"spec.fixed_truth[{each.quantity}]", "is named twice")
        stated[each.quantity] = each.value

    async def fitted() -> Mapping[str, Floats]:
        return (await stored_fit(context, row, period, beliefs)).parameters

    try:
        recovered_quantities(model, spec.further_quantities)
        # Whatever is wrong with it is said before a fit that may take a minute.
        fixed_truth(model, stated, prior_medians(model) if from_where else None)
        truth = fixed_truth(model, stated, await OTHERS[from_where](model, fitted) if from_where else None)
    except InvalidInput as error:
        raise InvalidInput(f"spec.{error.field}", error.message) from None
    own = set(fixed_by(model, stated))
    values = [
        sbc_pb2.FixedTruth(
            quantity=name, value=value, taken_from=sbc_pb2.OTHER_TRUTHS_UNSPECIFIED if name in own else from_where
        )
        for name, value in truth.items()
    ]

    async def commit(_: AsyncSession) -> Message:
        return sbc_pb2.StartSbcRunResponse(run=sbc_pb2.SbcRun(fixed_truth=values))

    return commit
