"""Requests of the contract from plain Python values; the sync and the async client build their messages here alone."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias, TypeVar

from google.protobuf import field_mask_pb2
from google.protobuf.message import Message
from liftos.bayes import rules
from liftos.bayes.errors import invalid_argument
from liftos.bayes.rules import Violation
from liftos.bayes.v1 import (
    attribution_pb2,
    common_pb2,
    conflict_pb2,
    dataset_pb2,
    elicitation_pb2,
    model_pb2,
    prior_update_pb2,
    sbc_pb2,
)
from liftos.bayes.values import built, checked_money, enum_value, mean_plus_minus, python_values

M = TypeVar("M", bound=Message)
Name: TypeAlias = str | int | None
"""An enum value: short name in any case, full name, number, or None where the contract has a default."""


def checked(message: M) -> M:
    """Return the message, or raise the InvalidArgument that the server would answer it with."""
    if violations := rules.check(message):
        raise invalid_argument(violations)
    return message


def fresh(request_id: str | None) -> str:
    """The caller's request id, or a new one; retries of a call use the same."""
    return str(uuid.uuid4()) if request_id is None else request_id


# Data sets


def get_upload(client_id: str, dataset_id: str) -> dataset_pb2.GetUploadRequest:
    """Ask how far an upload has come."""
    with python_values():
        return dataset_pb2.GetUploadRequest(client_id=client_id, dataset_id=dataset_id)


def get_dataset(client_id: str, dataset_id: str) -> dataset_pb2.GetDatasetRequest:
    """Ask for a data set."""
    with python_values():
        return dataset_pb2.GetDatasetRequest(client_id=client_id, dataset_id=dataset_id)


def list_datasets(client_id: str, page_size: int) -> dataset_pb2.ListDatasetsRequest:
    """Ask for the first page of data sets."""
    with python_values():
        return dataset_pb2.ListDatasetsRequest(client_id=client_id, page_size=page_size)


def read_dataset(client_id: str, dataset_id: str, offset: int) -> dataset_pb2.ReadDatasetRequest:
    """Ask for the content of a data set from a byte on."""
    with python_values():
        return dataset_pb2.ReadDatasetRequest(client_id=client_id, dataset_id=dataset_id, offset=offset)


def delete_dataset(client_id: str, dataset_id: str, *, request_id: str | None) -> dataset_pb2.DeleteDatasetRequest:
    """Ask for the deletion of a data set."""
    with python_values():
        return dataset_pb2.DeleteDatasetRequest(
            client_id=client_id, dataset_id=dataset_id, request_id=fresh(request_id)
        )


# Models


def channel(
    name: str,
    *,
    parameterise_by: Name = None,
    exposure_column: str | None = None,
    spend_column: str | None = None,
    prior: common_pb2.Distribution | None = None,
    retention_prior: common_pb2.Distribution | None = None,
    half_saturation_prior: common_pb2.Distribution | None = None,
    n_weights: int = 0,
    saturation: Name = None,
) -> model_pb2.Channel:
    """A media channel for `models.register_mmm`; its exposure is the column of the same name unless said otherwise."""
    return built(
        model_pb2.Channel,
        "",
        name=name,
        exposure_column=name if exposure_column is None else exposure_column,
        spend_column=spend_column or "",
        parameterise_by=_parameterisation(parameterise_by),
        prior=prior,
        retention_prior=retention_prior,
        half_saturation_prior=half_saturation_prior,
        n_weights=n_weights,
        saturation=model_pb2.Saturation.ValueType(enum_value(model_pb2.Saturation, saturation, "saturation")),
    )


def control(name: str, *, column: str | None = None, prior_sd: float | None = None) -> model_pb2.Control:
    """A control variable for `models.register_mmm`; its column is the one of the same name unless said otherwise."""
    return built(
        model_pb2.Control,
        "",
        name=name,
        column=name if column is None else column,
        prior_sd=prior_sd,
    )


def mmm_spec(
    *,
    dataset_id: str,
    channels: Iterable[str | model_pb2.Channel],
    parameterise_by: Name = None,
    controls: Iterable[str | model_pb2.Control] = (),
    fourier_pairs: int = 0,
    trend: bool = True,
    sigma_prior_scale: float | None = None,
) -> model_pb2.ModelSpec:
    """Specification of the additive marketing-mix model; see `models.register_mmm`."""
    _refuse_string(channels, "channels")
    _refuse_string(controls, "controls")
    default = _parameterisation(parameterise_by)
    listed = []
    for item in channels:
        wanted = channel(item) if isinstance(item, str) else model_pb2.Channel()
        if not isinstance(item, str):
            wanted.CopyFrom(item)
        if wanted.parameterise_by == model_pb2.PARAMETERISATION_UNSPECIFIED:
            wanted.parameterise_by = default
        listed.append(wanted)
    with python_values():
        return model_pb2.ModelSpec(
            additive_mmm=built(
                model_pb2.AdditiveMmmSpec,
                "spec.additive_mmm",
                channels=listed,
                controls=[control(item) if isinstance(item, str) else item for item in controls],
                fourier_pairs=fourier_pairs,
                no_trend=not trend,
                sigma_prior_scale=sigma_prior_scale,
            ),
            dataset_id=dataset_id,
        )


def _parameterisation(value: Name) -> model_pb2.Parameterisation.ValueType:
    return model_pb2.Parameterisation.ValueType(enum_value(model_pb2.Parameterisation, value, "parameterise_by"))


def _refuse_string(values: object, field: str) -> None:
    if isinstance(values, str):  # a string is an iterable of strings too: "x1" would become channels "x" and "1"
        raise invalid_argument([Violation(field, "must be a list of names, not one string")])


def summary_spec(
    *,
    estimand: common_pb2.Estimand,
    estimate: float,
    standard_error: float,
    n_months: int,
    reference_prior: common_pb2.Distribution,
    window: tuple[datetime.date | str, datetime.date | str] | None = None,
) -> model_pb2.ModelSpec:
    """Specification of the summary-level conjugate model; see `models.register_summary`."""
    with python_values():
        return model_pb2.ModelSpec(
            conjugate_normal=built(
                model_pb2.ConjugateNormalSpec,
                "spec.conjugate_normal",
                estimand=estimand,
                estimate=estimate,
                standard_error=standard_error,
                n_months=n_months,
                reference_prior=reference_prior,
                window=None if window is None else _date_range(*window),
            )
        )


def _date_range(first: datetime.date | str, last: datetime.date | str) -> common_pb2.DateRange:
    return common_pb2.DateRange(first_date=str(first), last_date=str(last))


def register_model(
    client_id: str, model_id: str, spec: model_pb2.ModelSpec, *, request_id: str | None
) -> model_pb2.RegisterModelRequest:
    """Ask for the registration of a model."""
    with python_values():
        return model_pb2.RegisterModelRequest(
            request_id=fresh(request_id), client_id=client_id, model_id=model_id, spec=spec
        )


def get_model(client_id: str, model_id: str) -> model_pb2.GetModelRequest:
    """Ask for a model."""
    with python_values():
        return model_pb2.GetModelRequest(client_id=client_id, model_id=model_id)


def list_models(client_id: str, page_size: int) -> model_pb2.ListModelsRequest:
    """Ask for the first page of models."""
    with python_values():
        return model_pb2.ListModelsRequest(client_id=client_id, page_size=page_size)


def delete_model(client_id: str, model_id: str, *, request_id: str | None) -> model_pb2.DeleteModelRequest:
    """Ask for the deletion of a model."""
    with python_values():
        return model_pb2.DeleteModelRequest(client_id=client_id, model_id=model_id, request_id=fresh(request_id))


# Elicitation


def create_session(
    client_id: str, session_id: str, *, model_id: str, client_confidence: float | None, request_id: str | None
) -> elicitation_pb2.CreateElicitationSessionRequest:
    """Ask for a new session."""
    return built(
        elicitation_pb2.CreateElicitationSessionRequest,
        "",
        request_id=fresh(request_id),
        client_id=client_id,
        session_id=session_id,
        model_id=model_id,
        client_confidence=client_confidence,
    )


def get_session(client_id: str, session_id: str) -> elicitation_pb2.GetElicitationSessionRequest:
    """Ask for a session."""
    with python_values():
        return elicitation_pb2.GetElicitationSessionRequest(client_id=client_id, session_id=session_id)


def list_sessions(client_id: str, page_size: int) -> elicitation_pb2.ListElicitationSessionsRequest:
    """Ask for the first page of sessions."""
    with python_values():
        return elicitation_pb2.ListElicitationSessionsRequest(client_id=client_id, page_size=page_size)


def update_session(
    client_id: str, session_id: str, *, client_confidence: float | None, etag: str, request_id: str | None
) -> elicitation_pb2.UpdateElicitationSessionRequest:
    """Ask for another confidence, None for none."""
    with python_values():
        return elicitation_pb2.UpdateElicitationSessionRequest(
            request_id=fresh(request_id),
            client_id=client_id,
            session_id=session_id,
            etag=etag,
            patch=built(elicitation_pb2.ElicitationSessionPatch, "patch", client_confidence=client_confidence),
            update_mask=field_mask_pb2.FieldMask(paths=["client_confidence"]),
        )


def add_belief(
    client_id: str,
    session_id: str,
    belief_id: str,
    estimand: common_pb2.Estimand,
    statement: elicitation_pb2.BeliefStatement,
    *,
    wording: str,
    stated_by: str,
    role: Name,
    data_seen: bool | None,
    request_id: str | None,
) -> elicitation_pb2.AddBeliefRequest:
    """Ask for a belief to be added."""
    return built(
        elicitation_pb2.AddBeliefRequest,
        "",
        request_id=fresh(request_id),
        client_id=client_id,
        session_id=session_id,
        belief_id=belief_id,
        estimand=estimand,
        statement=statement,
        wording=wording,
        stated_by=stated_by,
        role=elicitation_pb2.BeliefRole.ValueType(enum_value(elicitation_pb2.BeliefRole, role, "role")),
        data_seen=data_seen,
    )


def add_shares(
    client_id: str,
    session_id: str,
    quantity: str | int,
    shares: Mapping[str, tuple[float, float]],
    *,
    meaning: str | int,
    level: float | None,
    belief_ids: Mapping[str, str] | None,
    wording: str,
    stated_by: str,
    data_seen: bool | None,
    request_id: str | None,
) -> elicitation_pb2.AddShareBeliefsRequest:
    """Ask for shares of several channels to be added together."""
    with python_values():
        return elicitation_pb2.AddShareBeliefsRequest(
            request_id=fresh(request_id),
            client_id=client_id,
            session_id=session_id,
            quantity=common_pb2.Quantity.ValueType(enum_value(common_pb2.Quantity, quantity, "quantity")),
            shares=[
                elicitation_pb2.ChannelShare(
                    belief_id=(belief_ids or {}).get(name, name),
                    channel=name,
                    share=mean_plus_minus(
                        f"shares[{index}].share",
                        {"mean": mean, "plus_minus": plus_minus, "meaning": meaning, "level": level},
                    ),
                )
                for index, (name, (mean, plus_minus)) in enumerate(shares.items())
            ],
            wording=wording,
            stated_by=stated_by,
            data_seen=data_seen,
        )


def elicitation_feedback(
    client_id: str,
    session_id: str,
    *,
    data_period_months: int | None,
    hold_out_months: int | None,
    request_id: str | None,
) -> elicitation_pb2.GetElicitationFeedbackRequest:
    """Ask what the beliefs of a session imply."""
    return built(
        elicitation_pb2.GetElicitationFeedbackRequest,
        "",
        client_id=client_id,
        session_id=session_id,
        data_period_months=data_period_months,
        hold_out_months=hold_out_months,
        request_id=fresh(request_id),
    )


def remove_belief(
    client_id: str, session_id: str, belief_id: str, *, etag: str, request_id: str | None
) -> elicitation_pb2.RemoveBeliefRequest:
    """Ask for a belief to be removed."""
    with python_values():
        return elicitation_pb2.RemoveBeliefRequest(
            request_id=fresh(request_id), client_id=client_id, session_id=session_id, belief_id=belief_id, etag=etag
        )


def confirm_session(
    client_id: str, session_id: str, *, etag: str, request_id: str | None
) -> elicitation_pb2.ConfirmElicitationSessionRequest:
    """Ask for the confirmation of a session."""
    with python_values():
        return elicitation_pb2.ConfirmElicitationSessionRequest(
            request_id=fresh(request_id), client_id=client_id, session_id=session_id, etag=etag
        )


def adopt_update(
    client_id: str,
    update_id: str,
    session_id: str,
    *,
    model_id: str,
    projected: bool,
    client_confidence: float | None,
    request_id: str | None,
) -> elicitation_pb2.AdoptPriorUpdateRequest:
    """Ask for a session with the priors of an accepted update."""
    return built(
        elicitation_pb2.AdoptPriorUpdateRequest,
        "",
        request_id=fresh(request_id),
        client_id=client_id,
        update_id=update_id,
        session_id=session_id,
        model_id=model_id,
        projected=projected,
        client_confidence=client_confidence,
    )


def fit_prior(
    client_id: str, quantity: str | int, statement: elicitation_pb2.BeliefStatement
) -> elicitation_pb2.FitPriorRequest:
    """Ask for a statement to be compiled."""
    with python_values():
        return elicitation_pb2.FitPriorRequest(
            client_id=client_id,
            quantity=common_pb2.Quantity.ValueType(enum_value(common_pb2.Quantity, quantity, "quantity")),
            statement=statement,
        )


# Conflict


def analyze_conflict(
    client_id: str,
    session_id: str,
    *,
    data_period_months: int | None,
    hold_out_months: int | None,
    confidence_threshold: float | None,
    business_impact: common_pb2.Money | None,
    expert_session_id: str,
    replicates: int | None,
    without_causes: bool,
    exploratory: bool,
    request_id: str | None,
) -> conflict_pb2.AnalyzeConflictRequest:
    """Ask for a conflict analysis."""
    return built(
        conflict_pb2.AnalyzeConflictRequest,
        "",
        request_id=fresh(request_id),
        client_id=client_id,
        session_id=session_id,
        data_period_months=data_period_months,
        hold_out_months=hold_out_months,
        confidence_threshold=confidence_threshold,
        business_impact=checked_money(business_impact, "business_impact"),
        expert_session_id=expert_session_id,
        replicates=replicates,
        without_causes=without_causes,
        exploratory=exploratory,
    )


def get_conflict(client_id: str, analysis_id: str) -> conflict_pb2.GetConflictRequest:
    """Ask for a conflict analysis by its identifier."""
    with python_values():
        return conflict_pb2.GetConflictRequest(client_id=client_id, analysis_id=analysis_id)


def list_conflicts(client_id: str, session_id: str, page_size: int) -> conflict_pb2.ListConflictsRequest:
    """Ask for the first page of conflict analyses."""
    with python_values():
        return conflict_pb2.ListConflictsRequest(client_id=client_id, session_id=session_id, page_size=page_size)


def record_outcome(
    client_id: str,
    analysis_id: str,
    belief_id: str,
    *,
    side: Name,
    experiment: common_pb2.Experiment | None,
    reason: str,
    recorded_by: str,
    request_id: str | None,
) -> conflict_pb2.RecordConflictOutcomeRequest:
    """Ask for an outcome to be recorded."""
    return built(
        conflict_pb2.RecordConflictOutcomeRequest,
        "",
        request_id=fresh(request_id),
        client_id=client_id,
        analysis_id=analysis_id,
        belief_id=belief_id,
        side=conflict_pb2.OutcomeSide.ValueType(enum_value(conflict_pb2.OutcomeSide, side, "side")),
        experiment=experiment,
        reason=reason,
        recorded_by=recorded_by,
    )


def list_outcomes(client_id: str, analysis_id: str, page_size: int) -> conflict_pb2.ListConflictOutcomesRequest:
    """Ask for the first page of outcomes."""
    with python_values():
        return conflict_pb2.ListConflictOutcomesRequest(
            client_id=client_id, analysis_id=analysis_id, page_size=page_size
        )


def outcome_report(client_id: str) -> conflict_pb2.GetOutcomeReportRequest:
    """Ask for the report on outcomes."""
    with python_values():
        return conflict_pb2.GetOutcomeReportRequest(client_id=client_id)


def get_curve(client_id: str, curve_id: str) -> conflict_pb2.GetEvidenceCurveRequest:
    """Ask for an evidence curve."""
    with python_values():
        return conflict_pb2.GetEvidenceCurveRequest(client_id=client_id, curve_id=curve_id)


# Simulation-based calibration


def run_spec(
    *,
    model_id: str,
    session_id: str,
    validation_type: Name,
    num_simulations: int | None,
    data_period_months: int | None,
    hold_out_months: int | None,
    seed: int | None,
    stop_on_fail: bool,
    alpha: float | None,
    inference_method: Name,
    further_quantities: Sequence[str],
    canaries: bool,
    fresh: bool,
) -> sbc_pb2.SbcRunSpec:
    """What a run shall be."""
    _refuse_string(further_quantities, "spec.further_quantities")
    return built(
        sbc_pb2.SbcRunSpec,
        "spec",
        model_id=model_id,
        session_id=session_id,
        validation_type=sbc_pb2.ValidationType.ValueType(
            enum_value(sbc_pb2.ValidationType, validation_type, "spec.validation_type")
        ),
        num_simulations=num_simulations,
        data_period_months=data_period_months,
        hold_out_months=hold_out_months,
        seed=seed,
        stop_on_fail=stop_on_fail,
        alpha=alpha,
        inference_method=sbc_pb2.InferenceMethod.ValueType(
            enum_value(sbc_pb2.InferenceMethod, inference_method, "spec.inference_method")
        ),
        further_quantities=further_quantities,
        canaries=canaries,
        fresh=fresh,
    )


def start_run(
    client_id: str, spec: sbc_pb2.SbcRunSpec, *, validate_only: bool, request_id: str | None
) -> sbc_pb2.StartSbcRunRequest:
    """Ask for a run."""
    with python_values():
        return sbc_pb2.StartSbcRunRequest(
            request_id=fresh(request_id), client_id=client_id, spec=spec, validate_only=validate_only
        )


def watch_run(client_id: str, run_id: str, after_sequence: int) -> sbc_pb2.WatchSbcRunRequest:
    """Ask for the events of a run after a sequence number."""
    return built(sbc_pb2.WatchSbcRunRequest, "", client_id=client_id, run_id=run_id, after_sequence=after_sequence)


def get_run(client_id: str, run_id: str) -> sbc_pb2.GetSbcRunRequest:
    """Ask for a run."""
    with python_values():
        return sbc_pb2.GetSbcRunRequest(client_id=client_id, run_id=run_id)


def list_runs(client_id: str, model_id: str, page_size: int) -> sbc_pb2.ListSbcRunsRequest:
    """Ask for the first page of runs."""
    with python_values():
        return sbc_pb2.ListSbcRunsRequest(client_id=client_id, model_id=model_id, page_size=page_size)


def cancel_run(client_id: str, run_id: str, *, request_id: str | None) -> sbc_pb2.CancelSbcRunRequest:
    """Ask for the cancellation of a run."""
    with python_values():
        return sbc_pb2.CancelSbcRunRequest(request_id=fresh(request_id), client_id=client_id, run_id=run_id)


def resume_run(client_id: str, run_id: str, *, request_id: str | None) -> sbc_pb2.ResumeSbcRunRequest:
    """Ask to go on with a run."""
    with python_values():
        return sbc_pb2.ResumeSbcRunRequest(request_id=fresh(request_id), client_id=client_id, run_id=run_id)


def read_ledger(client_id: str, run_id: str, part: Name, first_simulation: int) -> sbc_pb2.ReadSbcLedgerRequest:
    """Ask for the ledger of a part of a run."""
    return built(
        sbc_pb2.ReadSbcLedgerRequest,
        "",
        client_id=client_id,
        run_id=run_id,
        part=sbc_pb2.SbcPart.ValueType(enum_value(sbc_pb2.SbcPart, part, "part")),
        first_simulation=first_simulation,
    )


def extend_run(
    client_id: str, run_id: str, additional_simulations: int, *, request_id: str | None
) -> sbc_pb2.ExtendSbcRunRequest:
    """Ask for more simulations."""
    return built(
        sbc_pb2.ExtendSbcRunRequest,
        "",
        request_id=fresh(request_id),
        client_id=client_id,
        run_id=run_id,
        additional_simulations=additional_simulations,
    )


def check_necessity(
    client_id: str,
    *,
    model_complexity: int | None,
    bayes_factor: float | None,
    log_bayes_factor: float | None,
    conflict_severity: Name,
    business_impact: common_pb2.Money | None,
    client_confidence: float | None,
    model_id: str,
    data_period_months: int | None,
    hold_out_months: int | None,
    policy_version: int | None,
) -> sbc_pb2.CheckSbcNecessityRequest:
    """Ask whether simulation-based calibration is essential."""
    return built(
        sbc_pb2.CheckSbcNecessityRequest,
        "",
        client_id=client_id,
        model_complexity=model_complexity,
        bayes_factor=bayes_factor,
        log_bayes_factor=log_bayes_factor,
        conflict_severity=sbc_pb2.ConflictSeverity.ValueType(
            enum_value(sbc_pb2.ConflictSeverity, conflict_severity, "conflict_severity")
        ),
        business_impact=checked_money(business_impact, "business_impact"),
        client_confidence=client_confidence,
        model_id=model_id,
        data_period_months=data_period_months,
        hold_out_months=hold_out_months,
        policy_version=policy_version,
    )


def thresholds(
    model_complexity: int, bayes_factor: float, business_impact: common_pb2.Money, client_confidence: float
) -> sbc_pb2.NecessityThresholds:
    """Thresholds of the policy; all four, since leaving one out would be a decision too."""
    return built(
        sbc_pb2.NecessityThresholds,
        "thresholds",
        model_complexity=model_complexity,
        bayes_factor=bayes_factor,
        business_impact=checked_money(business_impact, "thresholds.business_impact"),
        client_confidence=client_confidence,
    )


def create_policy(
    client_id: str,
    wanted: sbc_pb2.NecessityThresholds,
    *,
    adopted_by: str,
    reason: str,
    request_id: str | None,
) -> sbc_pb2.CreateNecessityPolicyRequest:
    """Ask for a new version of the policy."""
    with python_values():
        return sbc_pb2.CreateNecessityPolicyRequest(
            request_id=fresh(request_id), client_id=client_id, thresholds=wanted, adopted_by=adopted_by, reason=reason
        )


def list_policies(client_id: str, page_size: int) -> sbc_pb2.ListNecessityPoliciesRequest:
    """Ask for the first page of versions of the policy."""
    with python_values():
        return sbc_pb2.ListNecessityPoliciesRequest(client_id=client_id, page_size=page_size)


def list_decisions(client_id: str, page_size: int) -> sbc_pb2.ListNecessityDecisionsRequest:
    """Ask for the first page of stored decisions."""
    with python_values():
        return sbc_pb2.ListNecessityDecisionsRequest(client_id=client_id, page_size=page_size)


def replay_policy(
    client_id: str, wanted: sbc_pb2.NecessityThresholds, *, request_id: str | None
) -> sbc_pb2.ReplayNecessityPolicyRequest:
    """Ask for past decisions under other thresholds."""
    with python_values():
        return sbc_pb2.ReplayNecessityPolicyRequest(
            client_id=client_id, thresholds=wanted, request_id=fresh(request_id)
        )


# Prior updates


def update_priors(
    client_id: str,
    session_id: str,
    *,
    update_strategy: Name,
    min_evidence_strength: float | None,
    analysis_id: str,
    experiments: Sequence[common_pb2.Experiment],
    power: float | None,
    robust_weight: float | None,
    gate: bool,
    conservative_p_value: float | None,
    project_to: Name,
    request_id: str | None,
) -> prior_update_pb2.UpdatePriorsRequest:
    """Ask for a recommendation."""
    return built(
        prior_update_pb2.UpdatePriorsRequest,
        "",
        request_id=fresh(request_id),
        client_id=client_id,
        session_id=session_id,
        update_strategy=prior_update_pb2.UpdateStrategy.ValueType(
            enum_value(prior_update_pb2.UpdateStrategy, update_strategy, "update_strategy")
        ),
        min_evidence_strength=min_evidence_strength,
        analysis_id=analysis_id,
        experiments=experiments,
        power=power,
        robust_weight=robust_weight,
        without_gate=not gate,
        conservative_p_value=conservative_p_value,
        project_to=common_pb2.PriorFamily.ValueType(enum_value(common_pb2.PriorFamily, project_to, "project_to")),
    )


def get_update(client_id: str, update_id: str) -> prior_update_pb2.GetPriorUpdateRequest:
    """Ask for a recommendation by its identifier."""
    with python_values():
        return prior_update_pb2.GetPriorUpdateRequest(client_id=client_id, update_id=update_id)


def list_updates(client_id: str, session_id: str, page_size: int) -> prior_update_pb2.ListPriorUpdatesRequest:
    """Ask for the first page of recommendations."""
    with python_values():
        return prior_update_pb2.ListPriorUpdatesRequest(client_id=client_id, session_id=session_id, page_size=page_size)


def version_of(update: prior_update_pb2.PriorUpdate | str, etag: str | None) -> tuple[str, str]:
    """Identifier and version of a recommendation that is at hand, or was named together with its etag."""
    if isinstance(update, str):
        return update, etag or ""
    return update.update_id, update.etag if etag is None else etag


def accept_update(
    client_id: str, update_id: str, *, etag: str, decided_by: str, reason: str, request_id: str | None
) -> prior_update_pb2.AcceptPriorUpdateRequest:
    """Ask for the acceptance of a recommendation."""
    with python_values():
        return prior_update_pb2.AcceptPriorUpdateRequest(
            request_id=fresh(request_id),
            client_id=client_id,
            update_id=update_id,
            etag=etag,
            decided_by=decided_by,
            reason=reason,
        )


def reject_update(
    client_id: str, update_id: str, *, etag: str, decided_by: str, reason: str, request_id: str | None
) -> prior_update_pb2.RejectPriorUpdateRequest:
    """Ask for the rejection of a recommendation."""
    with python_values():
        return prior_update_pb2.RejectPriorUpdateRequest(
            request_id=fresh(request_id),
            client_id=client_id,
            update_id=update_id,
            etag=etag,
            decided_by=decided_by,
            reason=reason,
        )


# Attribution


def analyze_attribution(
    client_id: str,
    model_id: str,
    *,
    session_id: str,
    include_bayesian_validation: bool,
    start_sbc: bool,
    data_period_months: int | None,
    hold_out_months: int | None,
    business_impact: common_pb2.Money | None,
    exploratory: bool,
    request_id: str | None,
) -> attribution_pb2.AnalyzeAttributionRequest:
    """Ask for an attribution."""
    return built(
        attribution_pb2.AnalyzeAttributionRequest,
        "",
        request_id=fresh(request_id),
        client_id=client_id,
        model_id=model_id,
        session_id=session_id,
        include_bayesian_validation=include_bayesian_validation,
        start_sbc=start_sbc,
        data_period_months=data_period_months,
        hold_out_months=hold_out_months,
        business_impact=checked_money(business_impact, "business_impact"),
        exploratory=exploratory,
    )


def get_attribution(client_id: str, attribution_id: str) -> attribution_pb2.GetAttributionRequest:
    """Ask for an attribution by its identifier."""
    with python_values():
        return attribution_pb2.GetAttributionRequest(client_id=client_id, attribution_id=attribution_id)


def list_attributions(client_id: str, model_id: str, page_size: int) -> attribution_pb2.ListAttributionsRequest:
    """Ask for the first page of attributions."""
    with python_values():
        return attribution_pb2.ListAttributionsRequest(client_id=client_id, model_id=model_id, page_size=page_size)
