"""Under which key a calibration result is valid, and which run decides about a fit."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from liftos.bayes.v1 import elicitation_pb2, sbc_pb2
from sqlalchemy import ColumnElement, and_, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from engine.rules.sbc_presets import Part
from persistence.tables import ClientPrior, Dataset, Job, RegisteredModel, SbcValidation
from server.contract.period import Period
from server.contract.version import SERVER_VERSION
from server.contract.wire import digest, from_json, label, to_json
from server.records.lookups import by_pk, dataset_of
from server.records.rows import dataset_window, shares_rows
from server.records.sessions import beliefs_of
from server.texts.shared_number_notes import shares

PRODUCTION = "PRODUCTION"
RECOVERY = "RECOVERY"


def fit_key(
    model: RegisteredModel,
    dataset: Dataset | None,
    period: Period,
    beliefs: Sequence[ClientPrior],
    inference: str = PRODUCTION,
) -> str:
    """Digest of everything a fit depends on: model, data, window, priors, inference and the version of the code.

    The same key identifies a stored fit and the calibration runs that are valid for it. Fits of the service are those
    of PRODUCTION; a run that checked another inference says nothing about them.
    """
    priors = []
    for row in beliefs:
        belief = from_json(row.belief, elicitation_pb2.Belief())
        prior: list[Any] = [to_json(belief.estimand), to_json(belief.compiled)]
        if belief.role == elicitation_pb2.BELIEF_ROLE_EXTRA_FACTOR:
            prior.append("EXTRA_FACTOR")
        priors.append(prior)
    priors.sort(key=str)  # the order in which beliefs were added changes nothing
    other = [] if inference == PRODUCTION else [inference]
    window = period.key if dataset else []  # a summary is what it is, whatever window is asked for
    return digest(model.model_hash, dataset.sha256 if dataset else "", *window, priors, SERVER_VERSION, *other)


async def run_key(session: AsyncSession, run: SbcValidation) -> str:
    """The key that this version of the code gives a run."""
    model = await by_pk(session, RegisteredModel, run.model_pk)
    beliefs = await beliefs_of(session, run.session_pk) if run.session_pk else []
    dataset = await dataset_of(session, model)
    return fit_key(model, dataset, Period.of(run), beliefs, run.inference_method)


async def finished_run(session: AsyncSession, plan: SbcValidation, seed: int | None) -> SbcValidation | None:
    """A run that answers the same question: same key, plan and size, and the same seed where one is given.

    What was computed under the same key would come out the same for the same seed, and is as good for another. Where
    there are several, the one that decides answers.
    """
    same = [
        SbcValidation.plan_key == plan.plan_key,
        SbcValidation.num_simulations == plan.num_simulations,
        *([] if seed is None else [SbcValidation.seed == seed]),
    ]
    if plan.validation_type == RECOVERY:
        return await _finished_recovery(session, plan, same)
    runs = await _with_verdict(session, plan.client_id, plan.model_pk, plan.certificate_key, *same)
    # A run that ended with its first evidence is no answer to who wants to see all of it.
    return deciding([run for run in runs if plan.stop_on_fail or not (run.stop_on_fail and run.verdict_kind == "FAIL")])


async def _finished_recovery(
    session: AsyncSession, plan: SbcValidation, same: Sequence[ColumnElement[bool]]
) -> SbcValidation | None:
    """The newest finished run at the same truth; it has no verdict, so that nothing else here ever finds it."""
    statement = (
        select(SbcValidation)
        .join(Job, Job.pk == SbcValidation.job_pk)
        .where(
            SbcValidation.client_id == plan.client_id,
            SbcValidation.model_pk == plan.model_pk,
            SbcValidation.certificate_key == plan.certificate_key,
            Job.state == "SUCCEEDED",
            *same,
        )
        .order_by(SbcValidation.create_time.desc(), SbcValidation.pk.desc())
        .limit(1)
    )
    return (await session.scalars(statement)).one_or_none()


def deciding(runs: Sequence[SbcValidation]) -> SbcValidation | None:
    """The run that decides, of runs about one key in the order of their creation.

    A FAIL stands until a larger run passes that ranked every quantity that failed, in the same part: it is undone
    neither by other seeds nor by a run that asks another question. Otherwise the largest PASS decides. Inconclusive
    runs count only where there is nothing else.
    """
    passed = [run for run in runs if run.verdict_kind == "PASS"]
    standing = [
        run
        for run in runs
        if run.verdict_kind == "FAIL"
        and not any(
            larger.num_simulations > run.num_simulations and _failing(run) <= _ranked(larger) for larger in passed
        )
    ]
    candidates = standing or passed or list(runs)
    return max(candidates, key=lambda run: (run.num_simulations, runs.index(run)), default=None)


def _failing(run: SbcValidation) -> set[tuple[str, str]]:
    """Parts and quantities of a FAIL; of shared random numbers the quantity where they were seen."""
    verdict = from_json(run.verdict or {}, sbc_pb2.SbcVerdict())
    failing = {(label(sbc_pb2.SbcPart, q.part), q.quantity) for q in verdict.quantities if q.failing}
    return failing | {
        (label(sbc_pb2.SbcPart, test.part), test.quantity) for test in verdict.shared_numbers if shares(test)
    }


def _ranked(run: SbcValidation) -> set[tuple[str, str]]:
    return {(part["part"], name) for part in run.parts for name in part["quantities"] or ()}


async def certificate(
    session: AsyncSession, client_id: str, model_pk: uuid.UUID, certificate_key: str
) -> SbcValidation | None:
    """The run that decides about exactly this key."""
    return deciding(await _with_verdict(session, client_id, model_pk, certificate_key))


async def _with_verdict(
    session: AsyncSession, client_id: str, model_pk: uuid.UUID, key: str, *further: ColumnElement[bool]
) -> list[SbcValidation]:
    statement = (
        select(SbcValidation)
        .where(
            SbcValidation.client_id == client_id,
            SbcValidation.model_pk == model_pk,
            SbcValidation.certificate_key == key,
            SbcValidation.verdict_kind.in_(["PASS", "FAIL", "INCONCLUSIVE"]),
            *further,
        )
        .order_by(SbcValidation.create_time, SbcValidation.pk)
    )
    return list(await session.scalars(statement))


async def reference_key(session: AsyncSession, model: RegisteredModel, period: Period) -> str:
    """The key of the model's reference fit over a period."""
    return fit_key(model, await dataset_of(session, model), period, [])


async def reference_certificate(session: AsyncSession, model: RegisteredModel, period: Period) -> SbcValidation | None:
    """The run that decides about the model's reference fit over a period."""
    return await certificate(session, model.client_id, model.pk, await reference_key(session, model, period))


async def failed_elsewhere(session: AsyncSession, model: RegisteredModel, period: Period) -> SbcValidation | None:
    """A FAIL that stands about the model's reference fit to rows that a period takes too, under another key.

    Keys tell windows apart by what was asked for, and versions of the service: neither mends a miscalibrated model.
    """
    dataset = await dataset_of(session, model)
    key = fit_key(model, dataset, period, [])
    window = dataset_window(dataset, period) if dataset else None
    statement = (
        select(SbcValidation)
        .where(
            SbcValidation.client_id == model.client_id,
            SbcValidation.model_pk == model.pk,
            SbcValidation.session_pk.is_(None),
            SbcValidation.inference_method == PRODUCTION,
            SbcValidation.verdict_kind == "FAIL",
            SbcValidation.certificate_key != key,
        )
        .order_by(SbcValidation.create_time.desc(), SbcValidation.pk.desc())
    )
    for run in await session.scalars(statement):
        if dataset and window and not shares_rows(window, dataset_window(dataset, Period.of(run))):
            continue
        decides = await certificate(session, model.client_id, model.pk, run.certificate_key)
        if decides is not None and decides.verdict_kind == "FAIL":
            return decides
    return None


@dataclass(frozen=True)
class Standing:
    """What calibration says about a model's reference fit over a period.

    run: the one that decides about exactly this fit; posterior: whether it holds and a run about this fit has passed
    with truths from the posterior; elsewhere: where no run has passed for this fit, the newest one that has for the
    same model under another key, or for another model of its family on the same data set
    """

    run: SbcValidation | None
    posterior: bool
    elsewhere: SbcValidation | None

    @property
    def passed(self) -> bool:
        """Whether the fit is certified."""
        return self.run is not None and self.run.verdict_kind == "PASS"


async def standing(session: AsyncSession, model: RegisteredModel, period: Period) -> Standing:
    """What calibration says about the model's reference fit over a period."""
    key = await reference_key(session, model, period)
    runs = await _with_verdict(session, model.client_id, model.pk, key)
    run = deciding(runs)
    if run is not None and run.verdict_kind == "PASS":
        posterior = any(
            other.verdict_kind == "PASS" and any(part["part"] == Part.POSTERIOR.value for part in other.parts)
            for other in runs
        )
        return Standing(run, posterior, None)
    related = SbcValidation.model_pk == model.pk
    if model.dataset_pk is not None:
        related = or_(
            related, and_(RegisteredModel.dataset_pk == model.dataset_pk, RegisteredModel.family == model.family)
        )
    statement = (
        select(SbcValidation)
        .join(RegisteredModel, RegisteredModel.pk == SbcValidation.model_pk)
        .where(
            SbcValidation.client_id == model.client_id,
            SbcValidation.inference_method == PRODUCTION,
            SbcValidation.verdict_kind == "PASS",
            SbcValidation.certificate_key != key,
            related,
        )
        .order_by(SbcValidation.create_time.desc(), SbcValidation.pk.desc())
        .limit(1)
    )
    return Standing(run, False, (await session.scalars(statement)).one_or_none())
