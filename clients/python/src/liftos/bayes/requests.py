"""Parts of requests from plain Python values, where that is more than to name the fields of a message."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import ParamSpec, TypeAlias, TypeVar

from google.protobuf.message import Message
from liftos.bayes import rules
from liftos.bayes.errors import invalid_argument
from liftos.bayes.rules import Violation
from liftos.bayes.v1 import (
    common_pb2,
    elicitation_pb2,
    model_pb2,
    prior_update_pb2,
    sbc_pb2,
)
from liftos.bayes.values import built, checked_money, enum_value, mean_plus_minus, python_values

M = TypeVar("M", bound=Message)
P = ParamSpec("P")
Name: TypeAlias = str | int | None
"""An enum value: short name in any case, full name, number, or None where the contract has a default."""


def checked(message: M) -> M:
    """Return the message, or raise the InvalidArgument that the server would answer it with."""
    if violations := rules.check(message):
        raise invalid_argument(violations)
    return message


def id_or_new(request_id: str | None) -> str:
    """The caller's request id, or a new one; retries of a call use the same."""
    return str(uuid.uuid4()) if request_id is None else request_id


def plain(kind: Callable[P, M], *args: P.args, **fields: P.kwargs) -> M:
    """The message with these fields; InvalidArgument if one cannot hold its value. `built` says which it is."""
    with python_values():
        return kind(*args, **fields)


def channel(
    name: str,
    *,
    parameterise_by: Name = None,
    exposure_column: str | None = None,
    spend_column: str | None = None,
    prior: common_pb2.Distribution | None = None,
    retention_prior: common_pb2.Distribution | None = None,
    half_saturation_prior: common_pb2.Distribution | None = None,
    slope_prior: common_pb2.Distribution | None = None,
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
        slope_prior=slope_prior,
        n_weights=n_weights,
        saturation=enum_value(model_pb2.Saturation, saturation, "saturation"),
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
    parameterise_by: Name,
    controls: Iterable[str | model_pb2.Control],
    fourier_pairs: int,
    trend: bool,
    sigma_prior_scale: float | None,
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
    return enum_value(model_pb2.Parameterisation, value, "parameterise_by")


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
    window: tuple[datetime.date | str, datetime.date | str] | None,
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


def channel_shares(
    shares: Mapping[str, tuple[float, float]],
    *,
    meaning: str | int,
    level: float | None,
    belief_ids: Mapping[str, str] | None,
) -> list[elicitation_pb2.ChannelShare]:
    """Beliefs about the shares of channels, each named like its channel unless `belief_ids` says otherwise."""
    with python_values():
        return [
            elicitation_pb2.ChannelShare(
                belief_id=(belief_ids or {}).get(name, name),
                channel=name,
                share=mean_plus_minus(
                    f"shares[{index}].share",
                    {"mean": mean, "plus_minus": plus_minus, "meaning": meaning, "level": level},
                ),
            )
            for index, (name, (mean, plus_minus)) in enumerate(shares.items())
        ]


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
    fixed_truth: Mapping[str, float],
    other_truths: Name,
) -> sbc_pb2.SbcRunSpec:
    """What a run shall be."""
    _refuse_string(further_quantities, "spec.further_quantities")
    truths = [
        built(sbc_pb2.FixedTruth, f"spec.fixed_truth[{name}]", quantity=name, value=value)
        for name, value in fixed_truth.items()
    ]
    return built(
        sbc_pb2.SbcRunSpec,
        "spec",
        model_id=model_id,
        session_id=session_id,
        validation_type=enum_value(sbc_pb2.ValidationType, validation_type, "spec.validation_type"),
        num_simulations=num_simulations,
        data_period_months=data_period_months,
        hold_out_months=hold_out_months,
        seed=seed,
        stop_on_fail=stop_on_fail,
        alpha=alpha,
        inference_method=enum_value(sbc_pb2.InferenceMethod, inference_method, "spec.inference_method"),
        further_quantities=further_quantities,
        canaries=canaries,
        fresh=fresh,
        fixed_truth=truths,
        other_truths=enum_value(sbc_pb2.OtherTruths, other_truths, "spec.other_truths"),
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


def version_of(update: prior_update_pb2.PriorUpdate | str, etag: str | None) -> tuple[str, str]:
    """Identifier and version of a recommendation that is at hand, or was named together with its etag."""
    if isinstance(update, str):
        return update, etag or ""
    return update.update_id, update.etag if etag is None else etag
