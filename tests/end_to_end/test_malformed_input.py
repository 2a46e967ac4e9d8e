"""Malformed input gets the right code, a reason and the field's path from the server itself, not only the client."""

from __future__ import annotations

import hashlib
import uuid
import zlib
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2, status_pb2
from liftos.bayes import Client
from liftos.bayes.v1 import (
    common_pb2,
    dataset_pb2,
    dataset_pb2_grpc,
    elicitation_pb2,
    elicitation_pb2_grpc,
    model_pb2,
    model_pb2_grpc,
    sbc_pb2,
    sbc_pb2_grpc,
)

CLIENT = f"malformed-{uuid.uuid4().hex[:8]}"
WEEKS = 30
SHARE = common_pb2.QUANTITY_SHARE_OF_OUTCOME


@pytest.fixture(scope="module")
def channel(service: Any) -> Iterator[grpc.Channel]:
    """A bare channel: the client library would refuse most of this before it is sent."""
    with grpc.insecure_channel(service.address) as opened:
        yield opened


@pytest.fixture(scope="module")
def models(service: Any) -> None:
    """A data set, a model and a summary model of this module's client."""
    with Client.connect(service.address, client_id=CLIENT) as client:
        rng = np.random.default_rng(1)
        client.datasets.upload(
            "good",
            {
                "week": weeks(),
                "y": rng.normal(100, 5, WEEKS),
                "tv": rng.gamma(2, 1, WEEKS),
            },
            time="week",
            kpi="y",
            exposures=["tv"],
        )
        client.models.register_summary(
            "summary",
            estimand=common_pb2.Estimand(quantity=SHARE, channel="TV"),
            estimate=0.25,
            standard_error=0.05,
            n_months=24,
            reference_prior=common_pb2.Distribution(normal=common_pb2.Normal(mean=0.5, sd=1.0)),
        )
        client.elicitation.create("open", model_id="summary")


def fails(call: object, request: object) -> tuple[grpc.StatusCode, str, list[str]]:
    """Code, reason and field paths of a call that must fail."""
    with pytest.raises(grpc.RpcError) as caught:
        call(request, timeout=30)  # type: ignore[operator]
    return details(caught.value)


def details(error: grpc.RpcError) -> tuple[grpc.StatusCode, str, list[str]]:
    packed = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin")
    assert packed is not None, f"{error.code()} {error.details()} has no details"
    reason, fields = "", []
    for detail in status_pb2.Status.FromString(packed).details:
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            info = error_details_pb2.ErrorInfo()
            detail.Unpack(info)
            assert info.domain == "liftos.bayes"
            reason = info.reason
        if detail.Is(error_details_pb2.BadRequest.DESCRIPTOR):
            bad = error_details_pb2.BadRequest()
            detail.Unpack(bad)
            fields = [violation.field for violation in bad.field_violations]
    return error.code(), reason, fields


def rid() -> str:
    return str(uuid.uuid4())


def parts(
    dates: np.ndarray, columns: dict[str, tuple[int, np.ndarray]], *, rows: int | None = None
) -> Iterator[dataset_pb2.UploadDatasetRequest]:
    """An upload as the wire wants it, whatever its content."""
    described = [
        dataset_pb2.Column(name="week", role=dataset_pb2.COLUMN_ROLE_TIME, element_type=common_pb2.ELEMENT_TYPE_DATE32)
    ]
    content = dates.astype("datetime64[D]").astype("<i4").tobytes()
    for name, (role, values) in columns.items():
        described.append(dataset_pb2.Column(name=name, role=role, element_type=common_pb2.ELEMENT_TYPE_FLOAT64))
        content += values.astype("<f8").tobytes()
    header = dataset_pb2.DatasetHeader(
        client_id=CLIENT,
        dataset_id=f"bad-{uuid.uuid4().hex[:8]}",
        request_id=rid(),
        columns=described,
        row_count=len(dates) if rows is None else rows,
        sha256=hashlib.sha256(content).hexdigest(),
    )
    yield dataset_pb2.UploadDatasetRequest(header=header)
    if content:
        chunk = dataset_pb2.DatasetChunk(offset=0, data=content, crc32=zlib.crc32(content))
        yield dataset_pb2.UploadDatasetRequest(chunk=chunk)


def weeks(n: int = WEEKS) -> np.ndarray:
    return np.datetime64("2024-01-01") + np.timedelta64(7, "D") * np.arange(n)


def kpi(n: int = WEEKS) -> np.ndarray:
    return np.linspace(100.0, 120.0, n)


def upload(channel: grpc.Channel, requests: Iterator[object]) -> tuple[grpc.StatusCode, str, list[str]]:
    return fails(dataset_pb2_grpc.DatasetServiceStub(channel).UploadDataset, requests)


KPI, TV = dataset_pb2.COLUMN_ROLE_KPI, dataset_pb2.COLUMN_ROLE_EXPOSURE
SPEND = dataset_pb2.COLUMN_ROLE_SPEND


def test_an_empty_data_set(channel: grpc.Channel) -> None:
    empty = np.array([], dtype="datetime64[D]")
    found = upload(channel, parts(empty, {"y": (KPI, np.array([]))}))
    assert found == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", ["header.row_count"])


def test_nan_in_the_kpi(channel: grpc.Channel) -> None:
    values = kpi()
    values[17] = np.nan
    found = upload(channel, parts(weeks(), {"y": (KPI, values)}))
    assert found == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_DATA", ["columns[1].values[17]"])


def test_negative_spend(channel: grpc.Channel) -> None:
    spend = np.ones(WEEKS)
    spend[3] = -0.01
    found = upload(channel, parts(weeks(), {"y": (KPI, kpi()), "tv": (SPEND, spend)}))
    assert found == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_DATA", ["columns[2].values[3]"])


def test_duplicate_dates(channel: grpc.Channel) -> None:
    dates = weeks()
    dates[5] = dates[4]
    found = upload(channel, parts(dates, {"y": (KPI, kpi())}))
    assert found == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_DATA", ["columns[0].values[5]"])


def test_a_gap_in_the_weeks(channel: grpc.Channel) -> None:
    dates = np.delete(weeks(WEEKS + 1), 9)
    found = upload(channel, parts(dates, {"y": (KPI, kpi())}))
    assert found == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_DATA", ["columns[0].values[9]"])


def test_no_kpi_column(channel: grpc.Channel) -> None:
    found = upload(channel, parts(weeks(), {"tv": (TV, np.ones(WEEKS))}))
    assert found == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", ["header.columns"])


def test_a_damaged_chunk(channel: grpc.Channel) -> None:
    def requests() -> Iterator[dataset_pb2.UploadDatasetRequest]:
        for request in parts(weeks(), {"y": (KPI, kpi())}):
            if request.HasField("chunk"):
                request.chunk.crc32 ^= 1
            yield request

    assert upload(channel, requests()) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_DATA", ["chunk.crc32"])


def test_a_chunk_over_its_limit(channel: grpc.Channel) -> None:
    def requests() -> Iterator[dataset_pb2.UploadDatasetRequest]:
        yield next(parts(weeks(), {"y": (KPI, kpi())}))
        data = bytes(2 << 20)
        yield dataset_pb2.UploadDatasetRequest(
            chunk=dataset_pb2.DatasetChunk(offset=0, data=data, crc32=zlib.crc32(data))
        )

    assert upload(channel, requests()) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", ["chunk.data"])


def test_a_message_over_the_limit(channel: grpc.Channel) -> None:
    def requests() -> Iterator[dataset_pb2.UploadDatasetRequest]:
        yield next(parts(weeks(), {"y": (KPI, kpi())}))
        yield dataset_pb2.UploadDatasetRequest(chunk=dataset_pb2.DatasetChunk(data=bytes(5 << 20)))

    code, reason, _ = upload(channel, requests())
    assert (code, reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT_EXCEEDED")


def test_an_unknown_id(channel: grpc.Channel) -> None:
    stub = model_pb2_grpc.ModelServiceStub(channel)
    found = fails(stub.GetModel, model_pb2.GetModelRequest(client_id=CLIENT, model_id="nobody"))
    assert found == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND", ["model_id"])
    runs = sbc_pb2_grpc.SbcServiceStub(channel)
    found = fails(runs.GetSbcRun, sbc_pb2.GetSbcRunRequest(client_id=CLIENT, run_id="not-a-uuid"))
    assert found == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND", ["run_id"])


def test_another_clients_resource_looks_like_none(channel: grpc.Channel, models: None) -> None:
    stub = model_pb2_grpc.ModelServiceStub(channel)
    found = fails(stub.GetModel, model_pb2.GetModelRequest(client_id="somebody-else", model_id="summary"))
    assert found == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND", ["model_id"])


def test_a_channel_that_the_data_set_lacks(channel: grpc.Channel, models: None) -> None:
    spec = model_pb2.ModelSpec(
        dataset_id="good",
        additive_mmm=model_pb2.AdditiveMmmSpec(
            channels=[
                model_pb2.Channel(
                    name="radio",
                    exposure_column="radio",
                    parameterise_by=model_pb2.PARAMETERISATION_SHARE_OF_OUTCOME,
                )
            ]
        ),
    )
    request = model_pb2.RegisterModelRequest(request_id=rid(), client_id=CLIENT, model_id="m", spec=spec)
    found = fails(model_pb2_grpc.ModelServiceStub(channel).RegisterModel, request)
    path = "spec.additive_mmm.channels[0].exposure_column"
    assert found == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", [path])


@pytest.mark.parametrize("number", [0, 10**9, -5])
def test_an_impossible_number_of_simulations(channel: grpc.Channel, models: None, number: int) -> None:
    request = sbc_pb2.StartSbcRunRequest(
        request_id=rid(), client_id=CLIENT, spec=sbc_pb2.SbcRunSpec(model_id="summary", num_simulations=number)
    )
    found = fails(sbc_pb2_grpc.SbcServiceStub(channel).StartSbcRun, request)
    assert found == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", ["spec.num_simulations"])


def belief(**statement: object) -> elicitation_pb2.AddBeliefRequest:
    return elicitation_pb2.AddBeliefRequest(
        request_id=rid(),
        client_id=CLIENT,
        session_id="open",
        belief_id="b",
        estimand=common_pb2.Estimand(quantity=SHARE, channel="TV"),
        statement=elicitation_pb2.BeliefStatement(**statement),  # type: ignore[arg-type]
    )


def test_a_belief_with_sd_zero(channel: grpc.Channel, models: None) -> None:
    request = belief(
        mean_plus_minus=elicitation_pb2.MeanPlusMinus(
            mean=0.5, plus_minus=0.0, meaning=elicitation_pb2.PLUS_MINUS_MEANING_SD
        )
    )
    found = fails(elicitation_pb2_grpc.ElicitationServiceStub(channel).AddBelief, request)
    assert found == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "INVALID_FIELD",
        ["statement.mean_plus_minus.plus_minus"],
    )


def test_a_belief_without_the_meaning_of_plus_minus(channel: grpc.Channel, models: None) -> None:
    request = belief(mean_plus_minus=elicitation_pb2.MeanPlusMinus(mean=0.5, plus_minus=0.1))
    found = fails(elicitation_pb2_grpc.ElicitationServiceStub(channel).AddBelief, request)
    assert found == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", ["statement.mean_plus_minus.meaning"])


def test_a_belief_about_a_channel_that_the_model_lacks(channel: grpc.Channel, models: None) -> None:
    request = belief(
        mean_plus_minus=elicitation_pb2.MeanPlusMinus(
            mean=0.5, plus_minus=0.1, meaning=elicitation_pb2.PLUS_MINUS_MEANING_SD
        )
    )
    request.estimand.channel = "radio"
    found = fails(elicitation_pb2_grpc.ElicitationServiceStub(channel).AddBelief, request)
    assert found == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", ["estimand.channel"])


def test_nul_in_a_name(channel: grpc.Channel, models: None) -> None:
    request = belief(distribution=common_pb2.Distribution(normal=common_pb2.Normal(mean=0.5, sd=0.1)))
    request.estimand.channel = "T\0V"
    code, reason, fields = fails(elicitation_pb2_grpc.ElicitationServiceStub(channel).AddBelief, request)
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert set(fields) == {"estimand.channel"}


def test_nan_in_a_distribution(channel: grpc.Channel, models: None) -> None:
    request = belief(distribution=common_pb2.Distribution(normal=common_pb2.Normal(mean=float("nan"), sd=0.1)))
    found = fails(elicitation_pb2_grpc.ElicitationServiceStub(channel).AddBelief, request)
    assert found == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", ["statement.distribution.normal.mean"])


def test_a_request_id_with_another_payload(channel: grpc.Channel, models: None) -> None:
    stub = sbc_pb2_grpc.SbcServiceStub(channel)
    request = sbc_pb2.StartSbcRunRequest(
        request_id=rid(), client_id=CLIENT, spec=sbc_pb2.SbcRunSpec(model_id="summary", num_simulations=20)
    )
    first = stub.StartSbcRun(request, timeout=30)
    assert stub.StartSbcRun(request, timeout=30).run.run_id == first.run.run_id
    request.spec.num_simulations = 21
    code, reason, _ = fails(stub.StartSbcRun, request)
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_ID_REUSED")


def test_a_cursor_beyond_the_last_event(channel: grpc.Channel, models: None) -> None:
    stub = sbc_pb2_grpc.SbcServiceStub(channel)
    spec = sbc_pb2.SbcRunSpec(model_id="summary", num_simulations=20)
    run = stub.StartSbcRun(sbc_pb2.StartSbcRunRequest(request_id=rid(), client_id=CLIENT, spec=spec), timeout=30).run
    watch = stub.WatchSbcRun(
        sbc_pb2.WatchSbcRunRequest(client_id=CLIENT, run_id=run.run_id, after_sequence=10**6), timeout=30
    )
    with pytest.raises(grpc.RpcError) as caught:
        next(watch)
    assert details(caught.value)[:2] == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_CURSOR")


@pytest.mark.parametrize(
    ("call", "request_"),
    [
        ("ExtendSbcRun", sbc_pb2.ExtendSbcRunRequest(run_id="x", additional_simulations=5)),
        ("ResumeSbcRun", sbc_pb2.ResumeSbcRunRequest(run_id="x")),
    ],
)
def test_going_on_with_an_unknown_run(channel: grpc.Channel, call: str, request_: object) -> None:
    request_.client_id = CLIENT  # type: ignore[attr-defined]
    request_.request_id = rid()  # type: ignore[attr-defined]
    code, reason, fields = fails(getattr(sbc_pb2_grpc.SbcServiceStub(channel), call), request_)
    assert (code, reason, fields) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND", ["run_id"])


def test_further_quantities_that_are_too_many_or_hold_nul(channel: grpc.Channel, models: None) -> None:
    stub = sbc_pb2_grpc.SbcServiceStub(channel)
    for names, path in ((["x"] * 51, "spec.further_quantities"), (["a\0b"], "spec.further_quantities[0]")):
        spec = sbc_pb2.SbcRunSpec(model_id="summary", further_quantities=names)
        request = sbc_pb2.StartSbcRunRequest(request_id=rid(), client_id=CLIENT, spec=spec)
        code, reason, fields = fails(stub.StartSbcRun, request)
        assert (code, reason, fields) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", [path])


def test_an_analysis_of_an_unconfirmed_session(service: Any, models: None) -> None:
    from liftos.bayes import FailedPrecondition

    with Client.connect(service.address, client_id=CLIENT) as client, pytest.raises(FailedPrecondition) as caught:
        client.conflicts.analyze("open")
    assert caught.value.reason == "INVALID_STATE"


def test_content_with_another_digest_is_refused_and_leaves_nothing_behind(channel: grpc.Channel) -> None:
    sent = list(parts(weeks(), {"y": (KPI, kpi())}))
    sent[0].header.sha256 = "0" * 64
    assert upload(channel, iter(sent)) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_DATA", ["header.sha256"])
    sent[0].header.sha256 = hashlib.sha256(sent[1].chunk.data).hexdigest()
    sent[0].header.request_id = rid()
    stub = dataset_pb2_grpc.DatasetServiceStub(channel)
    assert stub.UploadDataset(iter(sent), timeout=30).dataset.sha256 == sent[0].header.sha256


def test_other_content_of_the_same_shape_is_not_taken_for_the_data_set(channel: grpc.Channel) -> None:
    first = list(parts(weeks(), {"y": (KPI, kpi())}))
    stub = dataset_pb2_grpc.DatasetServiceStub(channel)
    stub.UploadDataset(iter(first), timeout=30)
    other = list(parts(weeks(), {"y": (KPI, kpi() + 1)}))
    other[0].header.dataset_id = first[0].header.dataset_id
    found = upload(channel, iter(other))
    assert found == (grpc.StatusCode.ALREADY_EXISTS, "ALREADY_EXISTS", ["header.dataset_id"])
