"""The sync and the async client against a scripted service on this machine."""

from __future__ import annotations

import array
import asyncio
import datetime
import hashlib
import inspect
import math
import shutil
import subprocess
import threading
import time
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import liftos.bayes as lb
import numpy as np
import pytest
from google.protobuf import any_pb2, descriptor_pool
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2, status_pb2
from liftos.bayes import aio, calls, client, errors, rules, tables
from liftos.bayes.v1 import common_pb2, conflict_pb2, dataset_pb2, elicitation_pb2, model_pb2, prior_update_pb2, sbc_pb2

EXAMPLE = Path(__file__).parents[2] / "examples" / "pymc_mmm_example.csv"
UUID = "01234567-89ab-cdef-0123-456789abcdef"
Code = grpc.StatusCode


class Refusal(Exception):
    """What a scripted handler raises in order to end a call with a status and details."""

    def __init__(
        self,
        code: grpc.StatusCode,
        reason: str = "",
        message: str = "",
        violations: tuple[tuple[str, str], ...] = (),
        metadata: dict[str, str] | None = None,
        retry_after: float | None = None,
        domain: str = "liftos.bayes",
    ) -> None:
        super().__init__(message)
        self.code, self.message, self.details = code, message, list[Any]()
        if reason:
            self.details.append(error_details_pb2.ErrorInfo(reason=reason, domain=domain, metadata=metadata or {}))
        if violations:
            bad = [error_details_pb2.BadRequest.FieldViolation(field=f, description=d) for f, d in violations]
            self.details.append(error_details_pb2.BadRequest(field_violations=bad))
        if retry_after is not None:
            info = error_details_pb2.RetryInfo()
            info.retry_delay.FromTimedelta(datetime.timedelta(seconds=retry_after))
            self.details.append(info)

    def abort(self, context: grpc.ServicerContext) -> None:
        status = status_pb2.Status(code=self.code.value[0], message=self.message)
        for detail in self.details:
            packed = any_pb2.Any()
            packed.Pack(detail)
            status.details.append(packed)
        if self.details:
            context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        context.abort(self.code, self.message)


class Service(grpc.GenericRpcHandler):
    """Every RPC of the contract; answers with an empty response unless the test sets a handler."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, Any]] = []
        self.headers: dict[str, str] = {}
        self.on: dict[str, Callable[..., Any]] = {}

    def named(self, name: str) -> list[Any]:
        """The requests of one RPC."""
        return [request for seen, request in self.seen if seen == name]

    def service(self, details: Any) -> Any:
        path, _, name = details.method.removeprefix("/").rpartition("/")
        method = descriptor_pool.Default().FindServiceByName(path).methods_by_name[name]
        request_type, response_type = GetMessageClass(method.input_type), GetMessageClass(method.output_type)

        def start(context: grpc.ServicerContext, request: Any) -> None:
            self.headers = dict(context.invocation_metadata())  # type: ignore[arg-type]
            self.seen.append((name, request))

        def unary(request: Any, context: grpc.ServicerContext) -> Any:
            if not method.client_streaming:
                start(context, request)
            try:
                return self.on.get(name, lambda *_: response_type())(request, context)
            except Refusal as refusal:
                refusal.abort(context)

        def stream(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            start(context, request)
            try:
                yield from self.on[name](request, context)
            except Refusal as refusal:
                refusal.abort(context)

        codec: Any = {
            "request_deserializer": request_type.FromString,
            "response_serializer": response_type.SerializeToString,
        }
        if method.client_streaming:
            return grpc.stream_unary_rpc_method_handler(unary, **codec)
        if method.server_streaming:
            return grpc.unary_stream_rpc_method_handler(stream, **codec)
        return grpc.unary_unary_rpc_method_handler(unary, **codec)


class Served:
    """A scripted service that listens, and a client of it."""

    def __init__(self, service: Service, target: str, client: Any) -> None:
        self.service, self.target, self.client = service, target, client


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def target(service: Service) -> Iterator[str]:
    server = grpc.server(futures.ThreadPoolExecutor(8), handlers=[service])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


@pytest.fixture(params=["sync", "async"])
async def served(request: pytest.FixtureRequest, service: Service, target: str) -> AsyncIterator[Served]:
    kind: Any = lb.Client if request.param == "sync" else lb.AsyncClient
    made = kind.connect(target, client_id="acme", timeout=10)
    yield Served(service, target, made)
    await done(made.close())


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The backoff of the clients, shortened; its true length has its own test."""
    slow = calls.Backoff.next
    monkeypatch.setattr(calls.Backoff, "next", lambda self, error: slow(self, error) / 50)


async def done(value: Any) -> Any:
    """The value of a sync call, or of an async one when it is there."""
    return await value if inspect.isawaitable(value) else value


async def collect(values: Any) -> list[Any]:
    """All items of a sync or async iterator."""
    return [value async for value in values] if hasattr(values, "__aiter__") else list(values)


def refuse(*refusals: Refusal, then: Any) -> Callable[..., Any]:
    """A handler that refuses a few times and answers `then`."""
    left = list(refusals)

    def handler(_: Any, __: Any) -> Any:
        if left:
            raise left.pop(0)
        return then

    return handler


# Every method


STATED = {"mean": 0.5, "plus_minus": 0.1, "meaning": "sd"}
THRESHOLDS: dict[str, Any] = {
    "model_complexity": 20,
    "bayes_factor": 30.0,
    "business_impact": lb.usd(500_000),
    "client_confidence": 0.0,
}
CUSTOM = model_pb2.ModelSpec(custom=model_pb2.CustomModelSpec(family="x/1"))
EVERY_METHOD: list[tuple[str, Callable[[Any], Any], str]] = [
    ("datasets.get", lambda c: c.datasets.get("d"), "GetDataset"),
    ("datasets.list", lambda c: c.datasets.list(), "ListDatasets"),
    ("datasets.delete", lambda c: c.datasets.delete("d"), "DeleteDataset"),
    (
        "models.register",
        lambda c: c.models.register("m", model_pb2.ModelSpec(custom={"family": "x/1"})),
        "RegisterModel",
    ),
    (
        "models.register_mmm",
        lambda c: c.models.register_mmm("m", dataset_id="d", channels=["x1"], parameterise_by="roi"),
        "RegisterModel",
    ),
    (
        "models.register_summary",
        lambda c: c.models.register_summary(
            "m",
            estimand=lb.roi("x1"),
            estimate=1,
            standard_error=1,
            n_months=24,
            reference_prior=lb.normal(0, 10),
        ),
        "RegisterModel",
    ),
    ("models.get", lambda c: c.models.get("m"), "GetModel"),
    ("models.list", lambda c: c.models.list(), "ListModels"),
    ("models.delete", lambda c: c.models.delete("m"), "DeleteModel"),
    ("elicitation.create", lambda c: c.elicitation.create("s", model_id="m"), "CreateElicitationSession"),
    (
        "elicitation.add_belief",
        lambda c: c.elicitation.add_belief("s", "b", lb.share_of_outcome("x1"), **STATED),
        "AddBelief",
    ),
    (
        "elicitation.add_shares",
        lambda c: c.elicitation.add_shares(
            "s", "share_of_media", {"x1": (0.6, 0.1), "x2": (0.4, 0.1)}, meaning="sd", data_seen=False
        ),
        "AddShareBeliefs",
    ),
    (
        "elicitation.feedback",
        lambda c: c.elicitation.feedback("s", data_period_months=12, hold_out_months=3),
        "GetElicitationFeedback",
    ),
    ("elicitation.remove_belief", lambda c: c.elicitation.remove_belief("s", "b", etag="1"), "RemoveBelief"),
    (
        "elicitation.update",
        lambda c: c.elicitation.update("s", client_confidence=0.5, etag="1"),
        "UpdateElicitationSession",
    ),
    ("elicitation.confirm", lambda c: c.elicitation.confirm("s", etag="1"), "ConfirmElicitationSession"),
    ("elicitation.adopt_update", lambda c: c.elicitation.adopt_update("u", "s"), "AdoptPriorUpdate"),
    ("elicitation.get", lambda c: c.elicitation.get("s"), "GetElicitationSession"),
    ("elicitation.list", lambda c: c.elicitation.list(), "ListElicitationSessions"),
    ("elicitation.fit_prior", lambda c: c.elicitation.fit_prior("share_of_outcome", **STATED), "FitPrior"),
    ("conflicts.analyze", lambda c: c.conflicts.analyze("s", business_impact=lb.usd(2e6)), "AnalyzeConflict"),
    ("conflicts.get", lambda c: c.conflicts.get("a"), "GetConflict"),
    ("conflicts.list", lambda c: c.conflicts.list(session_id="s"), "ListConflicts"),
    (
        "conflicts.record_outcome",
        lambda c: c.conflicts.record_outcome("a", "b", side="data", recorded_by="Ann"),
        "RecordConflictOutcome",
    ),
    ("conflicts.outcomes", lambda c: c.conflicts.outcomes(analysis_id="a"), "ListConflictOutcomes"),
    ("conflicts.outcome_report", lambda c: c.conflicts.outcome_report(), "GetOutcomeReport"),
    ("conflicts.curve", lambda c: c.conflicts.curve("k"), "GetEvidenceCurve"),
    ("sbc.start", lambda c: c.sbc.start(model_id="m", validation_type="quick"), "StartSbcRun"),
    ("sbc.get", lambda c: c.sbc.get("r"), "GetSbcRun"),
    ("sbc.list", lambda c: c.sbc.list(model_id="m"), "ListSbcRuns"),
    ("sbc.cancel", lambda c: c.sbc.cancel("r"), "CancelSbcRun"),
    ("sbc.extend", lambda c: c.sbc.extend("r", 100), "ExtendSbcRun"),
    ("sbc.resume", lambda c: c.sbc.resume("r"), "ResumeSbcRun"),
    (
        "sbc.check_necessity",
        lambda c: c.sbc.check_necessity(model_complexity=12, conflict_severity="very strong"),
        "CheckSbcNecessity",
    ),
    (
        "updates.propose",
        lambda c: c.updates.propose("s", update_strategy="power_prior", power=0.5, project_to="log_normal"),
        "UpdatePriors",
    ),
    ("sbc.policies", lambda c: c.sbc.policies(), "ListNecessityPolicies"),
    ("sbc.create_policy", lambda c: c.sbc.create_policy(**THRESHOLDS, adopted_by="Ann"), "CreateNecessityPolicy"),
    ("sbc.decisions", lambda c: c.sbc.decisions(), "ListNecessityDecisions"),
    ("sbc.replay_policy", lambda c: c.sbc.replay_policy(**THRESHOLDS), "ReplayNecessityPolicy"),
    ("updates.get", lambda c: c.updates.get("u"), "GetPriorUpdate"),
    ("updates.list", lambda c: c.updates.list(session_id="s"), "ListPriorUpdates"),
    ("updates.accept", lambda c: c.updates.accept("u", etag="1", decided_by="Ann"), "AcceptPriorUpdate"),
    ("updates.reject", lambda c: c.updates.reject("u", etag="1", decided_by="Ann"), "RejectPriorUpdate"),
    ("attribution.analyze", lambda c: c.attribution.analyze("m", session_id="s", start_sbc=True), "AnalyzeAttribution"),
    ("attribution.get", lambda c: c.attribution.get("a"), "GetAttribution"),
    ("attribution.list", lambda c: c.attribution.list(model_id="m"), "ListAttributions"),
    ("system.info", lambda c: c.system.info(), "GetServerInfo"),
]
ELSEWHERE = {"datasets.upload", "datasets.upload_csv", "datasets.read", "sbc.run", "sbc.attach", "sbc.ledger"}


@pytest.mark.parametrize(("call", "rpc"), [pytest.param(c, rpc, id=name) for name, c, rpc in EVERY_METHOD])
async def test_each_method_sends_one_correct_request(served: Served, call: Callable[[Any], Any], rpc: str) -> None:
    result = call(served.client)
    await (collect(result) if hasattr(result, "__next__") or hasattr(result, "__aiter__") else done(result))
    ((name, request),) = served.service.seen
    assert name == rpc
    assert rules.check(request) == []
    if "client_id" in request.DESCRIPTOR.fields_by_name:
        assert request.client_id == "acme"


def _methods(of: Any) -> dict[str, list[tuple[str, Any, Any]]]:
    """Public methods with their parameters: name, default and kind."""
    return {
        name: [(p.name, p.default, p.kind) for p in inspect.signature(member).parameters.values()]
        for name, member in inspect.getmembers(of, callable)
        if not name.startswith("_")
    }


NAMESPACES = ("Datasets", "Models", "Elicitation", "Conflicts", "Sbc", "Updates", "Attribution", "System")


@pytest.mark.parametrize("name", [*NAMESPACES, "SbcRunHandle", "Client"])
def test_sync_and_async_have_the_same_methods(name: str) -> None:
    assert _methods(getattr(client, name)) == _methods(getattr(aio, f"Async{name}"))


def test_the_table_of_methods_is_complete() -> None:
    public = {f"{name.lower()}.{method}" for name in NAMESPACES for method in _methods(getattr(client, name))}
    assert {name for name, _, _ in EVERY_METHOD} | ELSEWHERE == public


async def test_held_out_months_and_exploratory_use_are_asked_for(served: Served) -> None:
    months = {"data_period_months": 12, "hold_out_months": 6}
    await done(served.client.conflicts.analyze("s", **months, exploratory=True))
    await done(served.client.attribution.analyze("m", session_id="s", **months, exploratory=True))
    await done(served.client.sbc.start(model_id="m", **months))
    await done(served.client.sbc.run(model_id="m", **months))
    await done(served.client.sbc.check_necessity(model_id="m", **months))
    (conflict,) = served.service.named("AnalyzeConflict")
    (attribution,) = served.service.named("AnalyzeAttribution")
    (necessity,) = served.service.named("CheckSbcNecessity")
    runs = [request.spec for request in served.service.named("StartSbcRun")]
    assert len(runs) == 2
    for request in (conflict, attribution, necessity, *runs):
        assert (request.data_period_months, request.hold_out_months) == (12, 6)
    assert conflict.exploratory
    assert attribution.exploratory
    await done(served.client.conflicts.analyze("s"))
    assert not served.service.named("AnalyzeConflict")[1].HasField("hold_out_months")


async def test_an_accepted_update_is_adopted_whole_or_by_the_belief(served: Served) -> None:
    await done(served.client.elicitation.adopt_update("u", "s", model_id="m", projected=True, client_confidence=0.8))
    (request,) = served.service.named("AdoptPriorUpdate")
    assert (request.update_id, request.session_id, request.model_id) == ("u", "s", "m")
    assert request.projected
    assert request.client_confidence == 0.8
    await done(served.client.elicitation.add_belief("s", "b", lb.roi("x"), updated_prior=("u", "old")))
    (belief,) = served.service.named("AddBelief")
    assert (belief.statement.updated_prior.update_id, belief.statement.updated_prior.belief_id) == ("u", "old")


async def test_a_summary_states_its_days(served: Served) -> None:
    for window in ((datetime.date(2023, 1, 1), datetime.date(2023, 12, 31)), ("2023-01-01", "2023-12-31")):
        await done(
            served.client.models.register_summary(
                "m",
                estimand=lb.roi("x1"),
                estimate=1,
                standard_error=1,
                n_months=12,
                reference_prior=lb.normal(0, 10),
                window=window,
            )
        )
    for request in served.service.named("RegisterModel"):
        stated = request.spec.conjugate_normal.window
        assert (stated.first_date, stated.last_date) == ("2023-01-01", "2023-12-31")


@pytest.mark.parametrize("asked", [True, False])
async def test_an_attribution_starts_a_calibration_run_only_on_request(served: Served, asked: bool) -> None:
    options = {"start_sbc": True} if asked else {}
    await done(served.client.attribution.analyze("m", include_bayesian_validation=True, **options))
    (request,) = served.service.named("AnalyzeAttribution")
    assert (request.include_bayesian_validation, request.start_sbc) == (True, asked)


async def test_values_arrive_as_given(served: Served) -> None:
    await done(
        served.client.models.register_mmm(
            "m",
            dataset_id="d",
            channels=["x1", lb.channel("TV", exposure_column="grp", spend_column="tv_eur", parameterise_by="roi")],
            parameterise_by="share_of_outcome",
            controls=["event", lb.control("price", column="p", prior_sd=2.0)],
            fourier_pairs=2,
            trend=False,
        )
    )
    (request,) = served.service.named("RegisterModel")
    mmm = request.spec.additive_mmm
    assert [(c.name, c.exposure_column, c.spend_column, c.parameterise_by) for c in mmm.channels] == [
        ("x1", "x1", "", model_pb2.PARAMETERISATION_SHARE_OF_OUTCOME),
        ("TV", "grp", "tv_eur", model_pb2.PARAMETERISATION_ROI),
    ]
    assert [(c.name, c.column, c.prior_sd) for c in mmm.controls] == [("event", "event", 0.0), ("price", "p", 2.0)]
    assert not mmm.controls[0].HasField("prior_sd")
    assert (mmm.fourier_pairs, mmm.no_trend) == (2, True)


async def test_an_update_without_confidence_clears_it(served: Served) -> None:
    await done(served.client.elicitation.update("s", client_confidence=None, etag="1"))
    (request,) = served.service.named("UpdateElicitationSession")
    assert list(request.update_mask.paths) == ["client_confidence"]
    assert request.HasField("patch")
    assert not request.patch.HasField("client_confidence")


# Before the wire


async def test_a_request_that_breaks_a_rule_is_not_sent(served: Served) -> None:
    with pytest.raises(lb.InvalidArgument) as caught:
        await done(served.client.sbc.start(model_id="bad id", num_simulations=3))
    assert [v.field for v in caught.value.violations] == ["spec.model_id", "spec.num_simulations"]
    assert caught.value.reason == "INVALID_FIELD"
    assert served.service.seen == []


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda c: c.sbc.start(model_id="m", num_simulations=2**31), id="int32"),
        pytest.param(lambda c: c.sbc.start(model_id="m", seed=2**63), id="int64"),
        pytest.param(lambda c: c.models.get("\ud800"), id="surrogate"),
        pytest.param(lambda c: c.models.register_mmm("m", dataset_id="d", channels="x1"), id="string for list"),
        pytest.param(lambda c: c.updates.propose("s", update_strategy="magic"), id="unknown name"),
        pytest.param(lambda c: c.updates.propose("s", update_strategy=77), id="unknown number"),
        pytest.param(lambda c: c.updates.propose("s", min_evidence_strength=float("nan")), id="nan"),
        pytest.param(lambda c: c.models.register_mmm("m", dataset_id="d", channels=["x"]), id="no parameterisation"),
        pytest.param(lambda c: c.elicitation.add_belief("s", "b", lb.roi("x"), mean=1, plus_minus=1), id="no meaning"),
        pytest.param(lambda c: c.elicitation.add_belief("s", "b", lb.roi("x")), id="no statement"),
        pytest.param(lambda c: c.elicitation.fit_prior("share", **STATED), id="no denominator"),
        pytest.param(lambda c: c.sbc.attach(""), id="no run"),
    ],
)
async def test_values_that_no_message_can_hold_are_invalid_arguments(
    served: Served, call: Callable[[Any], Any]
) -> None:
    with pytest.raises(lb.InvalidArgument):
        await done(call(served.client))
    assert served.service.seen == []


def test_an_experiment_is_a_value_of_the_request_and_a_wrong_one_names_its_field() -> None:
    about = lb.roi("tv")
    lift = lb.experiment("lift", about, estimate=1.5, standard_error=0.2, first_date="2024-01-01", scope="12 regions")
    request = lb.requests.update_priors(
        "acme",
        "s",
        update_strategy="evidence_weighted",
        min_evidence_strength=None,
        analysis_id="",
        experiments=[lift],
        power=None,
        robust_weight=None,
        gate=False,
        conservative_p_value=None,
        project_to=None,
        request_id=None,
    )
    assert request.without_gate
    assert request.experiments[0].estimand == about
    assert request.experiments[0].window.first_date == "2024-01-01"
    assert not lb.experiment("lift", about, estimate=1.5, standard_error=0.2).HasField("window")
    with pytest.raises(lb.InvalidArgument) as caught:
        lb.experiment("lift", about, estimate="much", standard_error=0.2)  # type: ignore[arg-type]
    assert [v.field for v in caught.value.violations] == ["estimate"]


def test_mean_and_give_or_take_need_their_meaning() -> None:
    with pytest.raises(lb.InvalidArgument) as caught:
        lb.values.statement(mean=0.5, plus_minus=0.1)
    assert [v.field for v in caught.value.violations] == ["statement.mean_plus_minus.meaning"]


def test_enum_names_are_taken_in_any_case_with_and_without_prefix() -> None:
    enum = prior_update_pb2.UpdateStrategy
    for name in ("evidence_weighted", "Evidence-Weighted", "EVIDENCE WEIGHTED", "UPDATE_STRATEGY_EVIDENCE_WEIGHTED", 1):
        assert lb.values.enum_value(enum, name, "f") == 1
    with pytest.raises(lb.InvalidArgument, match="evidence_weighted, full_bayesian"):
        lb.values.enum_value(enum, "bayes", "f")


def test_money_in_dollars_is_exact() -> None:
    assert lb.usd("1000000.01").minor_units == 100_000_001
    with pytest.raises(lb.InvalidArgument):
        lb.usd(0.001)


# Errors


@pytest.mark.parametrize("code", [code for code in Code if code not in {Code.OK, Code.UNAVAILABLE}])
async def test_every_status_code_has_its_exception(served: Served, code: grpc.StatusCode) -> None:
    served.service.on["GetModel"] = refuse(Refusal(code, message="no"), then=None)
    with pytest.raises(lb.LiftosBayesError) as caught:
        await done(served.client.models.get("m"))
    assert caught.value.code == code
    assert (caught.value.message, caught.value.reason) == ("no", "")
    has_class = code not in {Code.UNKNOWN, Code.OUT_OF_RANGE, Code.DATA_LOSS}
    assert (type(caught.value) is not lb.LiftosBayesError) is has_class


async def test_error_details_make_the_round_trip(served: Served) -> None:
    served.service.on["AcceptPriorUpdate"] = refuse(
        Refusal(
            Code.RESOURCE_EXHAUSTED,
            "LIMIT_EXCEEDED",
            "too much",
            violations=(("a.b[1]", "too long"), ("c", "bad")),
            metadata={"limit": "max_message_bytes"},
            retry_after=2.5,
        ),
        then=None,
    )
    with pytest.raises(lb.ResourceExhausted) as caught:
        await done(served.client.updates.accept("u", etag="1", decided_by="Ann"))
    error = caught.value
    assert (error.reason, error.message, error.retry_after) == ("LIMIT_EXCEEDED", "too much", 2.5)
    assert error.metadata == {"limit": "max_message_bytes"}
    assert error.violations == (lb.Violation("a.b[1]", "too long"), lb.Violation("c", "bad"))
    assert str(error) == "RESOURCE_EXHAUSTED (LIMIT_EXCEEDED): too much\n  a.b[1]: too long\n  c: bad"


async def test_a_reason_of_another_domain_is_not_taken_for_ours(served: Served) -> None:
    served.service.on["GetModel"] = refuse(Refusal(Code.ABORTED, "STALE_ETAG", domain="proxy.example"), then=None)
    with pytest.raises(lb.Aborted) as caught:
        await done(served.client.models.get("m"))
    assert caught.value.reason == ""


def test_damaged_details_do_not_hide_the_error() -> None:
    class Call(grpc.RpcError):
        def __init__(self, details: bytes) -> None:
            self._details = details

        def code(self) -> grpc.StatusCode:
            return Code.NOT_FOUND

        def details(self) -> None:
            return None

        def trailing_metadata(self) -> list[tuple[str, bytes]]:
            return [("grpc-status-details-bin", self._details)]

    broken = status_pb2.Status(
        details=[any_pb2.Any(type_url="type.googleapis.com/google.rpc.ErrorInfo", value=b"\xff")]
    )
    for details in (b"\xff\xff", broken.SerializeToString()):
        assert isinstance(errors.from_rpc_error(Call(details)), lb.NotFound)


# Retries


async def test_an_unavailable_service_is_called_again_with_the_same_request_id(served: Served) -> None:
    away = Refusal(Code.UNAVAILABLE, "DRAINING")
    answer = model_pb2.RegisterModelResponse(model=model_pb2.Model(model_id="m"))
    served.service.on["RegisterModel"] = refuse(away, away, then=answer)
    assert (await done(served.client.models.register("m", CUSTOM))).model_id == "m"
    ids = [request.request_id for request in served.service.named("RegisterModel")]
    assert len(ids) == 3
    assert len(set(ids)) == 1


async def test_two_calls_have_two_request_ids_and_a_given_one_is_used(served: Served) -> None:
    for request_id in (None, None, UUID):
        await done(served.client.conflicts.analyze("s", request_id=request_id))
    first, second, third = (request.request_id for request in served.service.named("AnalyzeConflict"))
    assert first != second
    assert third == UUID


async def test_a_service_that_stays_away_is_given_up(served: Served) -> None:
    served.service.on["GetModel"] = refuse(*[Refusal(Code.UNAVAILABLE)] * 99, then=None)
    with pytest.raises(lb.Unavailable):
        await done(served.client.models.get("m"))
    assert len(served.service.seen) == calls.MAX_ATTEMPTS


@pytest.mark.parametrize("code", [Code.INVALID_ARGUMENT, Code.ABORTED, Code.INTERNAL, Code.DEADLINE_EXCEEDED])
async def test_other_failures_are_not_repeated(served: Served, code: grpc.StatusCode) -> None:
    served.service.on["GetModel"] = refuse(Refusal(code), then=model_pb2.GetModelResponse())
    with pytest.raises(lb.LiftosBayesError):
        await done(served.client.models.get("m"))
    assert len(served.service.seen) == 1


async def test_a_computation_that_outlasts_a_call_is_asked_for_again(served: Served) -> None:
    more = Refusal(Code.DEADLINE_EXCEEDED, "STILL_RUNNING", metadata={"job_id": "j"})
    answer = conflict_pb2.AnalyzeConflictResponse(analysis=conflict_pb2.ConflictAnalysis(analysis_id="a"))
    served.service.on["AnalyzeConflict"] = refuse(*[more] * 8, then=answer)
    assert (await done(served.client.conflicts.analyze("s", timeout=60))).analysis_id == "a"
    assert len({request.request_id for request in served.service.named("AnalyzeConflict")}) == 1
    assert len(served.service.seen) == 9


async def test_the_timeout_ends_the_asking_and_says_that_the_work_goes_on(served: Served) -> None:
    more = Refusal(Code.DEADLINE_EXCEEDED, "STILL_RUNNING", metadata={"job_id": "j"})
    served.service.on["AnalyzeConflict"] = refuse(*[more] * 9999, then=None)
    begun = time.monotonic()
    with pytest.raises(lb.DeadlineExceeded) as caught:
        await done(served.client.conflicts.analyze("s", timeout=0.5))
    assert time.monotonic() - begun < 1.5
    assert (caught.value.reason, caught.value.metadata) == ("STILL_RUNNING", {"job_id": "j"})


async def test_a_deadline_that_strikes_on_the_way_does_not_lose_the_reason(served: Served) -> None:
    release = threading.Event()

    def handler(*_: Any) -> Any:
        if len(served.service.seen) > 1:
            release.wait(5)
        raise Refusal(Code.DEADLINE_EXCEEDED, "STILL_RUNNING", metadata={"job_id": "j"})

    served.service.on["AnalyzeConflict"] = handler
    with pytest.raises(lb.DeadlineExceeded) as caught:
        await done(served.client.conflicts.analyze("s", timeout=0.5))
    release.set()
    assert caught.value.reason == "STILL_RUNNING"
    assert len(served.service.seen) == 2


async def test_the_server_learns_what_is_left_of_the_timeout(served: Served) -> None:
    left: list[float] = []

    def handler(_: Any, context: grpc.ServicerContext) -> Any:
        left.append(context.time_remaining())
        if len(left) == 1:
            time.sleep(0.2)
            raise Refusal(Code.UNAVAILABLE)
        return model_pb2.GetModelResponse()

    served.service.on["GetModel"] = handler
    await done(served.client.models.get("m", timeout=5))
    assert left[0] < 5.5  # gRPC rounds a deadline up on its way
    assert left[1] < left[0] - 0.1


def test_the_backoff_doubles_within_its_limit_and_honours_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    backoff = calls.Backoff(limit=5)
    waits = [backoff.next(lb.Unavailable("")) for _ in range(12)]
    for n, wait in enumerate(waits):
        full = min(0.1 * 2**n, 5)
        assert full / 2 <= wait <= full
    assert backoff.next(lb.Unavailable("", retry_after=30)) == 30


# Identity


async def test_every_call_carries_version_and_token(service: Service, target: str) -> None:
    with lb.Client.connect(target, client_id="acme", token="secret") as sync:
        sync.system.info()
        assert service.headers["authorization"] == "Bearer secret"
        assert service.headers["x-liftos-client"].startswith("liftos-bayes-client/")
        service.headers = {}
        sync.stubs.models.GetModel(model_pb2.GetModelRequest(), metadata=(("x-more", "1"),))
        assert (service.headers["authorization"], service.headers["x-more"]) == ("Bearer secret", "1")
        sync.stubs.models.GetModel.with_call(model_pb2.GetModelRequest())
        sync.stubs.models.GetModel.future(model_pb2.GetModelRequest()).result()
    async with lb.AsyncClient.connect(target, client_id="acme", token="other") as other:
        await other.system.info()
        assert service.headers["authorization"] == "Bearer other"
        await other.stubs.models.GetModel(model_pb2.GetModelRequest())
        assert service.headers["authorization"] == "Bearer other"


@pytest.mark.parametrize("kind", [lb.Client, lb.AsyncClient])
async def test_a_token_is_refused_in_plain_text(kind: Any) -> None:
    with pytest.raises(lb.InvalidArgument, match="plain text"):
        kind.connect("bayes.example:50051", client_id="acme", token="secret")
    await done(kind.connect("bayes.example:50051", client_id="acme", token="secret", insecure=True).close())
    await done(kind.connect("bayes.example:50051", client_id="acme", token="secret", tls=lb.Tls()).close())
    await done(kind.connect("bayes.example:50051", client_id="acme").close())


@pytest.mark.parametrize(
    ("target", "loopback"),
    [
        ("127.0.0.1:50051", True),
        ("127.8.9.1:1", True),
        ("localhost:1", True),
        ("localhost", True),
        ("[::1]:1", True),
        ("unix:/run/bayes.sock", True),
        ("unix-abstract:bayes", True),
        ("dns:///localhost:1", True),
        ("dns:///bayes.example:1", False),
        ("dns://127.0.0.1/bayes.example:1", False),
        ("ipv4:127.0.0.1:1", True),
        ("ipv4:127.0.0.1:1,10.0.0.1:1", False),
        ("ipv6:[::1]:1", True),
        ("bayes.example:1", False),
        ("127.0.0.1.evil.example:1", False),
        ("localhost.evil.example:1", False),
        ("10.0.0.1:1", False),
        ("0.0.0.0:1", False),
        ("xds:///localhost", False),
    ],
)
def test_only_this_machine_is_loopback(target: str, loopback: bool) -> None:
    assert calls.is_loopback(target) is loopback


async def test_a_closed_client_says_so(served: Served) -> None:
    await done(served.client.close())
    with pytest.raises(lb.Cancelled, match="closed"):
        await done(served.client.models.get("m"))
    with pytest.raises(lb.Cancelled, match="closed"):
        await collect(served.client.sbc.attach("r").events())


def _hang(service: Service) -> tuple[threading.Event, threading.Event]:
    """Let GetModel hang: events for when it was entered and for letting it go."""
    entered, release = threading.Event(), threading.Event()

    def handler(*_: Any) -> Any:
        entered.set()
        release.wait(5)
        return model_pb2.GetModelResponse()

    service.on["GetModel"] = handler
    return entered, release


async def test_closing_an_async_client_ends_a_call_with_an_error_and_not_with_a_cancellation(
    service: Service, target: str
) -> None:
    entered, release = _hang(service)
    other = lb.AsyncClient.connect(target, client_id="acme")
    task = asyncio.create_task(other.models.get("m"))
    await asyncio.to_thread(entered.wait, 5)
    await other.close()
    with pytest.raises(lb.Cancelled):
        await task
    release.set()


async def test_cancelling_a_task_stays_a_cancellation(service: Service, target: str) -> None:
    entered, release = _hang(service)
    async with lb.AsyncClient.connect(target, client_id="acme") as other:
        task = asyncio.create_task(other.models.get("m"))
        await asyncio.to_thread(entered.wait, 5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    release.set()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate of this test")
async def test_tls_with_a_private_authority(service: Service, tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=bayes.test"
    command += f" -addext subjectAltName=DNS:bayes.test -keyout {key} -out {certificate}"
    await asyncio.to_thread(subprocess.run, command.split(), check=True, capture_output=True)
    server = grpc.server(futures.ThreadPoolExecutor(2), handlers=[service])
    credentials = grpc.ssl_server_credentials([(key.read_bytes(), certificate.read_bytes())])
    port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    tls = lb.Tls.from_files(certificate, server_name="bayes.test")
    with lb.Client.connect(f"127.0.0.1:{port}", client_id="acme", token="secret", tls=tls) as sync:
        sync.system.info()
    async with lb.AsyncClient.connect(f"127.0.0.1:{port}", client_id="acme", token="secret", tls=tls) as other:
        await other.system.info()
    stranger = lb.Tls(server_name="bayes.test")  # without the private authority
    with (
        lb.Client.connect(f"127.0.0.1:{port}", client_id="acme", tls=stranger) as sync,
        pytest.raises(lb.Unavailable),
    ):
        sync.system.info()
    assert len(service.seen) == 2
    server.stop(None).wait()


# Lists and etags


async def test_a_list_fetches_page_after_page(served: Served) -> None:
    pages = {"": (["a", "b"], "1"), "1": ([], "2"), "2": (["c"], "")}

    def handler(request: Any, _: Any) -> Any:
        names, token = pages[request.page_token]
        return model_pb2.ListModelsResponse(models=[{"model_id": n} for n in names], next_page_token=token)

    served.service.on["ListModels"] = handler
    models = await collect(served.client.models.list(page_size=2))
    assert [model.model_id for model in models] == ["a", "b", "c"]
    assert [request.page_size for request in served.service.named("ListModels")] == [2, 2, 2]


async def test_confirm_reads_the_etag_when_none_is_given(served: Served) -> None:
    session = elicitation_pb2.ElicitationSession(session_id="s", etag="7")
    served.service.on["GetElicitationSession"] = lambda *_: elicitation_pb2.GetElicitationSessionResponse(
        session=session
    )
    await done(served.client.elicitation.confirm("s"))
    await done(served.client.elicitation.remove_belief("s", "b"))
    await done(served.client.elicitation.update("s", client_confidence=1))
    for name in ("ConfirmElicitationSession", "RemoveBelief", "UpdateElicitationSession"):
        (request,) = served.service.named(name)
        assert request.etag == "7"
    assert len(served.service.named("GetElicitationSession")) == 3


async def test_a_decision_is_on_the_version_at_hand(served: Served) -> None:
    update = prior_update_pb2.PriorUpdate(update_id="u", etag="3")
    served.service.on["GetPriorUpdate"] = lambda *_: prior_update_pb2.GetPriorUpdateResponse(
        update=prior_update_pb2.PriorUpdate(update_id="u", etag="4")
    )
    await done(served.client.updates.accept(update, decided_by="Ann"))
    assert served.service.named("GetPriorUpdate") == []
    await done(served.client.updates.reject("u", decided_by="Ann", reason="no"))
    assert served.service.named("AcceptPriorUpdate")[0].etag == "3"
    assert served.service.named("RejectPriorUpdate")[0].etag == "4"


# Uploads


class Uploads:
    """The dataset service: commits each chunk, breaks where it is told to."""

    def __init__(self, service: Service) -> None:
        self.headers: list[dataset_pb2.DatasetHeader] = []
        self.stored = bytearray()
        self.sealed = False
        self.breaks: list[int] = []
        self.received = 0
        self.lose_answer = False
        self.broken = Refusal(Code.UNAVAILABLE)
        service.on |= {"UploadDataset": self.upload, "GetUpload": self.offset}

    def upload(self, requests: Iterator[Any], _: Any) -> Any:
        header = next(requests).header
        self.headers.append(header)
        sizes = [8 if column.element_type == common_pb2.ELEMENT_TYPE_FLOAT64 else 4 for column in header.columns]
        total = sum(sizes) * header.row_count
        for request in requests:
            assert rules.check(request) == []
            chunk = request.chunk
            if self.breaks and self.breaks[0] <= len(self.stored):
                self.breaks.pop(0)
                raise self.broken
            if chunk.offset != len(self.stored):
                raise Refusal(Code.INVALID_ARGUMENT, "INVALID_FIELD", violations=(("chunk.offset", "go on"),))
            assert zlib.crc32(chunk.data) == chunk.crc32
            assert len(chunk.data) <= tables.CHUNK_BYTES
            self.stored += chunk.data
            self.received += 1
        assert len(self.stored) == total
        self.sealed = True
        if self.lose_answer:
            self.lose_answer = False
            raise Refusal(Code.UNAVAILABLE)
        sha256 = hashlib.sha256(self.stored).hexdigest()
        return dataset_pb2.UploadDatasetResponse(
            dataset=dataset_pb2.Dataset(
                dataset_id=header.dataset_id, columns=header.columns, row_count=header.row_count, sha256=sha256
            )
        )

    def offset(self, *_: Any) -> Any:
        if not self.stored:
            raise Refusal(Code.NOT_FOUND, "NOT_FOUND")
        return dataset_pb2.GetUploadResponse(committed_offset=len(self.stored), sealed=self.sealed)


def _weeks(n: int) -> list[datetime.date]:
    return [datetime.date(1990, 1, 1) + datetime.timedelta(days=i) for i in range(n)]


async def test_a_csv_file_arrives_column_by_column(served: Served) -> None:
    uploads = Uploads(served.service)
    dataset = await done(
        served.client.datasets.upload_csv(
            "weekly",
            EXAMPLE,
            time="date_week",
            kpi="y",
            exposures=["x1", "x2"],
            controls=["event_1", "event_2"],
            units={"y": "EUR"},
        )
    )
    assert [(c.name, dataset_pb2.ColumnRole.Name(c.role), c.unit) for c in dataset.columns] == [
        ("date_week", "COLUMN_ROLE_TIME", ""),
        ("y", "COLUMN_ROLE_KPI", "EUR"),
        ("x1", "COLUMN_ROLE_EXPOSURE", ""),
        ("x2", "COLUMN_ROLE_EXPOSURE", ""),
        ("event_1", "COLUMN_ROLE_CONTROL", ""),
        ("event_2", "COLUMN_ROLE_CONTROL", ""),
    ]
    assert dataset.row_count == 179  # lines of the example file without its header
    dates = np.frombuffer(bytes(uploads.stored), "<i4", 179)
    assert str(dates[0].astype("datetime64[D]")) == "2018-04-02"
    assert np.frombuffer(bytes(uploads.stored), "<f8", 179, 179 * 4)[0] == 3984.662237343649


async def test_a_panel_in_a_csv_file_arrives_with_its_geos(served: Served, tmp_path: Path) -> None:
    uploads = Uploads(served.service)
    path = tmp_path / "panel.csv"
    path.write_text(
        "geo,week,y,people\nwest,2024-01-01,1,9\nwest,2024-01-08,2,9\neast,2024-01-01,3,4\neast,2024-01-08,4,4\n"
    )
    dataset = await done(
        served.client.datasets.upload_csv("panel", path, time="week", kpi="y", geo="geo", population="people")
    )
    roles = [dataset_pb2.ColumnRole.Name(column.role).removeprefix("COLUMN_ROLE_") for column in dataset.columns]
    assert roles == ["TIME", "KPI", "POPULATION", "GEO"]
    assert list(dataset.columns[3].categories) == ["west", "east"]
    assert np.frombuffer(bytes(uploads.stored), "<i4", 4, 4 * (4 + 8 + 8)).tolist() == [0, 0, 1, 1]


async def test_a_broken_upload_goes_on_where_the_server_has_stored_it(served: Served) -> None:
    uploads = Uploads(served.service)
    n = 40_000  # 40,000 × 20 bytes: four chunks
    uploads.breaks = [0, 2 * tables.CHUNK_BYTES, 3 * tables.CHUNK_BYTES]
    y, x = np.arange(n, dtype=float), np.sqrt(np.arange(n))
    dataset = await done(
        served.client.datasets.upload("d", {"t": _weeks(n), "y": y, "x": x}, time="t", kpi="y", exposures=["x"])
    )
    dates = np.array(_weeks(n), "datetime64[D]").astype("<i4")
    assert bytes(uploads.stored) == dates.tobytes() + y.tobytes() + x.tobytes()
    assert dataset.sha256 == hashlib.sha256(uploads.stored).hexdigest()
    assert len({header.request_id for header in uploads.headers}) == 1
    assert len(uploads.headers) == 4
    assert uploads.received == 4  # no chunk was stored twice


async def test_an_upload_whose_answer_was_lost_is_found_sealed(served: Served) -> None:
    uploads = Uploads(served.service)
    uploads.lose_answer = True
    dataset = await done(served.client.datasets.upload("d", {"t": ["2024-01-01"], "y": [1]}, time="t", kpi="y"))
    assert dataset.row_count == 1
    assert uploads.received == 1
    assert len(uploads.headers) == 2


async def test_an_upload_waits_for_the_handler_of_its_broken_stream_to_let_go(served: Served) -> None:
    uploads = Uploads(served.service)
    uploads.breaks = [tables.CHUNK_BYTES]
    state = {"state": "UPLOADING", "committed_offset": "262144"}  # another stream is writing the same upload
    uploads.broken = Refusal(Code.FAILED_PRECONDITION, "INVALID_STATE", metadata=state)
    n = 40_000
    await done(served.client.datasets.upload("d", {"t": _weeks(n), "y": range(n)}, time="t", kpi="y"))
    assert uploads.sealed
    assert len(uploads.headers) == 2


async def test_an_upload_that_makes_no_progress_is_given_up(served: Served) -> None:
    uploads = Uploads(served.service)
    uploads.breaks = [0] * 99
    with pytest.raises(lb.Unavailable):
        await done(served.client.datasets.upload("d", {"t": ["2024-01-01"], "y": [1]}, time="t", kpi="y"))
    assert len(uploads.headers) == calls.MAX_ATTEMPTS


async def test_an_upload_that_an_earlier_process_left_unfinished_is_finished(served: Served) -> None:
    uploads = Uploads(served.service)
    n = 40_000
    values = {"t": _weeks(n), "y": range(n)}
    ready = tables.upload("acme", "d", values, tables.Roles("t", "y"), request_id=UUID)
    uploads.stored += next(ready.content.chunks()).data
    await done(served.client.datasets.upload("d", values, time="t", kpi="y"))
    assert uploads.sealed
    assert bytes(uploads.stored) == b"".join(chunk.data for chunk in ready.content.chunks())


async def test_an_upload_announces_the_digest_of_its_content(served: Served) -> None:
    # The server tells a retry from other values of the same shape by it.
    announced = []

    def take(requests: Any, _: Any) -> dataset_pb2.UploadDatasetResponse:
        sent = list(requests)
        content = b"".join(request.chunk.data for request in sent[1:])
        announced.append((sent[0].header.sha256, hashlib.sha256(content).hexdigest()))
        return dataset_pb2.UploadDatasetResponse()

    served.service.on["UploadDataset"] = take
    await done(served.client.datasets.upload("d", {"t": ["2024-01-01"], "y": [1]}, time="t", kpi="y"))
    assert [header == content for header, content in announced] == [True]


async def test_refused_data_are_reported_and_not_sent_again(served: Served) -> None:
    bad = Refusal(Code.INVALID_ARGUMENT, "INVALID_DATA", violations=(("columns[1].values[0]", "NaN"),))
    served.service.on["UploadDataset"] = refuse(bad, then=None)
    with pytest.raises(lb.InvalidArgument) as caught:
        await done(served.client.datasets.upload("d", {"t": ["2024-01-01"], "y": [float("nan")]}, time="t", kpi="y"))
    assert caught.value.reason == "INVALID_DATA"
    assert caught.value.violations == (lb.Violation("columns[1].values[0]", "NaN"),)


async def test_a_wrong_header_is_refused_before_the_wire(served: Served) -> None:
    with pytest.raises(lb.InvalidArgument) as caught:
        await done(served.client.datasets.upload("d", {"t": [], "y[0]": []}, time="t", kpi="y[0]"))
    assert [v.field for v in caught.value.violations] == ["header.columns[1].name", "header.row_count"]
    assert served.service.seen == []


class Content:
    """The content of a stored data set, in chunks that break where it is told to."""

    def __init__(self, service: Service, *, damage: bool = False) -> None:
        values = {"t": _weeks(1000), "y": [float(i) for i in range(1000)]}
        ready = tables.upload("acme", "d", values, tables.Roles("t", "y"), request_id=UUID)
        self.whole = b"".join(chunk.data for chunk in ready.content.chunks())
        self.dataset = dataset_pb2.Dataset(
            columns=ready.header.columns, row_count=1000, sha256=hashlib.sha256(self.whole).hexdigest()
        )
        self.damage = damage
        self.breaks = [5000, 8000]
        service.on |= {"GetDataset": self.get, "ReadDataset": self.read}

    def get(self, *_: Any) -> Any:
        return dataset_pb2.GetDatasetResponse(dataset=self.dataset)

    def read(self, request: Any, _: Any) -> Iterator[Any]:
        for offset in range(request.offset, len(self.whole), 1000):
            if self.breaks and offset >= self.breaks[0]:
                self.breaks.pop(0)
                raise Refusal(Code.UNAVAILABLE)
            data = self.whole[offset : offset + 1000]
            crc32 = zlib.crc32(data) ^ int(self.damage)
            yield dataset_pb2.ReadDatasetResponse(chunk={"offset": offset, "data": data, "crc32": crc32})


async def test_a_data_set_is_read_back_over_broken_streams(served: Served) -> None:
    Content(served.service)
    columns = await done(served.client.datasets.read("d"))
    assert columns["t"] == _weeks(1000)
    assert columns["y"] == array.array("d", range(1000))
    assert [request.offset for request in served.service.named("ReadDataset")] == [0, 5000, 8000]


async def test_damaged_bytes_are_noticed(served: Served) -> None:
    Content(served.service, damage=True)
    with pytest.raises(lb.LiftosBayesError) as caught:
        await done(served.client.datasets.read("d"))
    assert caught.value.code == Code.DATA_LOSS


async def test_a_wrong_digest_is_noticed(served: Served) -> None:
    Content(served.service).dataset.sha256 = "0" * 64
    with pytest.raises(lb.LiftosBayesError, match="digest"):
        await done(served.client.datasets.read("d"))


# Runs


Break = Callable[[], None]


class Run:
    """A run with a fixed history; a script says after which event a stream breaks, and how."""

    def __init__(
        self,
        service: Service,
        *,
        batches: int = 5,
        state: common_pb2.JobState.ValueType = common_pb2.JOB_STATE_SUCCEEDED,
    ) -> None:
        self.history = [sbc_pb2.SbcEvent(sequence=1, state_changed={"state": common_pb2.JOB_STATE_RUNNING})]
        for i in range(batches):
            self.history.append(sbc_pb2.SbcEvent(sequence=i + 2, batch_finished={"n_simulations": 20}))
        self.history.append(sbc_pb2.SbcEvent(sequence=batches + 2, state_changed={"state": state}))
        self.run = sbc_pb2.SbcRun(run_id="r", state=common_pb2.JOB_STATE_RUNNING)
        self.final = sbc_pb2.SbcRun(run_id="r", state=state, last_sequence=len(self.history))
        self.breaks: list[tuple[int, Refusal | None]] = []
        self.over = False
        service.on |= {
            "StartSbcRun": lambda *_: sbc_pb2.StartSbcRunResponse(run=self.run),
            "GetSbcRun": lambda *_: sbc_pb2.GetSbcRunResponse(run=self.final if self.over else self.run),
            "WatchSbcRun": self.watch,
        }

    def watch(self, request: Any, _: Any) -> Iterator[Any]:
        for event in self.history:
            if event.sequence <= request.after_sequence:
                continue
            if self.breaks and event.sequence > self.breaks[0][0]:
                _, refusal = self.breaks.pop(0)
                if refusal is not None:
                    raise refusal
                return
            self.over = event.sequence == len(self.history)
            yield sbc_pb2.WatchSbcRunResponse(event={"sequence": event.sequence - 1, "heartbeat": {}})
            yield sbc_pb2.WatchSbcRunResponse(event=event)


async def _handle(served: Served) -> Any:
    return await done(served.client.sbc.run(model_id="mmm", num_simulations=100))


async def test_a_run_is_started_once_and_watched_to_its_end(served: Served) -> None:
    Run(served.service)
    handle = await _handle(served)
    events = await collect(handle.events())
    assert handle.run_id == "r"
    assert [event.sequence for event in events] == [1, 2, 3, 4, 5, 6, 7]
    assert events[-1].state_changed.state == common_pb2.JOB_STATE_SUCCEEDED
    assert [name for name, _ in served.service.seen] == ["StartSbcRun", "WatchSbcRun"]
    assert served.service.named("StartSbcRun")[0].spec.num_simulations == 100


async def test_a_broken_watch_goes_on_without_gap_and_repetition(served: Served) -> None:
    run = Run(served.service)
    run.breaks = [
        (0, Refusal(Code.UNAVAILABLE, "DRAINING")),
        (2, Refusal(Code.UNAVAILABLE)),
        (2, Refusal(Code.INTERNAL)),  # what a reset stream looks like
        (4, None),  # an orderly end before the end of the run
        (5, Refusal(Code.CANCELLED)),  # what a server that is stopped looks like
        (6, Refusal(Code.UNKNOWN)),
    ]
    events = await collect((await _handle(served)).events())
    assert [event.sequence for event in events] == [1, 2, 3, 4, 5, 6, 7]
    assert [request.after_sequence for request in served.service.named("WatchSbcRun")] == [0, 0, 2, 2, 4, 5, 6]


async def test_events_that_come_twice_are_dropped(served: Served) -> None:
    run = Run(served.service)
    run.history.insert(3, run.history[2])
    run.final.last_sequence = 7

    def watch(*_: Any) -> Iterator[Any]:
        return (sbc_pb2.WatchSbcRunResponse(event=event) for event in run.history)

    served.service.on["WatchSbcRun"] = watch
    events = await collect((await _handle(served)).events())
    assert [event.sequence for event in events] == [1, 2, 3, 4, 5, 6, 7]


async def test_a_watch_goes_on_past_the_end_of_a_run_that_was_resumed_even_if_it_breaks_there(served: Served) -> None:
    run = Run(served.service, batches=1)
    ended = [event.state_changed.state for event in run.history][-1]
    run.history[1:1] = [
        sbc_pb2.SbcEvent(state_changed={"state": common_pb2.JOB_STATE_CANCELLED}),
        sbc_pb2.SbcEvent(state_changed={"state": common_pb2.JOB_STATE_QUEUED}),
    ]
    for number, event in enumerate(run.history, 1):
        event.sequence = number
    run.final.last_sequence = len(run.history)
    run.breaks = [(2, Refusal(Code.UNAVAILABLE))]
    events = await collect((await _handle(served)).events())
    assert [event.sequence for event in events] == [1, 2, 3, 4, 5]
    assert events[-1].state_changed.state == ended


async def test_a_ledger_comes_in_pages_and_an_error_in_between_as_the_service_says_it(served: Served) -> None:
    def pages(request: Any, _: Any) -> Iterator[Any]:
        yield sbc_pb2.ReadSbcLedgerResponse(part=request.part, quantities=["sigma"])
        yield sbc_pb2.ReadSbcLedgerResponse(part=request.part, quantities=["sigma"])
        if request.run_id == "broken":
            raise Refusal(Code.NOT_FOUND, "NOT_FOUND")

    served.service.on["ReadSbcLedger"] = pages
    found = await collect(served.client.sbc.ledger("r", part="posterior", first_simulation=100))
    assert [page.part for page in found] == [sbc_pb2.SBC_PART_POSTERIOR] * 2
    assert served.service.named("ReadSbcLedger")[0].first_simulation == 100
    with pytest.raises(lb.NotFound):
        await collect(served.client.sbc.ledger("broken"))
    with pytest.raises(lb.InvalidArgument, match="part"):
        await collect(served.client.sbc.ledger("r", part="tails"))


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (lambda c: c.sbc.start(model_id="m", num_simulations=5.5), "spec.num_simulations"),
        (lambda c: c.sbc.start(model_id="m", num_simulations="100"), "spec.num_simulations"),
        (lambda c: c.sbc.start(model_id="m", seed=2**63), "spec.seed"),
        (lambda c: c.sbc.start(model_id="m", further_quantities="sigma"), "spec.further_quantities"),
        (lambda c: c.sbc.extend("r", 1.5), "additional_simulations"),
        (lambda c: c.sbc.check_necessity(model_complexity="many"), "model_complexity"),
    ],
)
async def test_a_value_of_another_kind_is_refused_with_its_field(
    served: Served, call: Callable[[Any], Any], field: str
) -> None:
    with pytest.raises(lb.InvalidArgument) as caught:
        await done(call(served.client))
    assert [violation.field for violation in caught.value.violations] == [field]
    assert served.service.seen == []


async def test_window_and_version_of_a_necessity_check_are_sent(served: Served) -> None:
    await done(
        served.client.sbc.check_necessity(
            model_id="m", data_period_months=12, hold_out_months=3, policy_version=2, log_bayes_factor=math.inf
        )
    )
    (request,) = served.service.named("CheckSbcNecessity")
    assert (request.data_period_months, request.hold_out_months, request.policy_version) == (12, 3, 2)
    assert request.log_bayes_factor == math.inf
    assert not request.HasField("bayes_factor")


async def test_a_confidence_of_zero_is_sent_and_a_missing_threshold_is_refused(served: Served) -> None:
    await done(served.client.sbc.replay_policy(**THRESHOLDS))
    (request,) = served.service.named("ReplayNecessityPolicy")
    assert request.thresholds.HasField("client_confidence")
    request.thresholds.ClearField("client_confidence")
    assert [v.field for v in rules.check(request)] == ["thresholds.client_confidence"]


async def test_an_outcome_by_experiment_needs_no_side(served: Served) -> None:
    experiment = common_pb2.Experiment(
        experiment_id="lift-1", estimand=lb.share_of_outcome("TV"), estimate=0.2, standard_error=0.05
    )
    await done(served.client.conflicts.record_outcome("a", "b", experiment=experiment, recorded_by="Ann"))
    (request,) = served.service.named("RecordConflictOutcome")
    assert request.side == conflict_pb2.OUTCOME_SIDE_UNSPECIFIED
    assert request.experiment == experiment


async def test_heartbeats_are_given_on_request_only(served: Served) -> None:
    Run(served.service, batches=1)
    handle = await _handle(served)
    assert len(await collect(handle.events())) == 3
    kinds = [event.WhichOneof("event") for event in await collect(handle.events(heartbeats=True))]
    assert kinds.count("heartbeat") == 3


async def test_a_watch_begins_after_the_given_sequence(served: Served) -> None:
    Run(served.service)
    handle = served.client.sbc.attach("r")
    assert [event.sequence for event in await collect(handle.events(after_sequence=5))] == [6, 7]


async def test_a_watch_after_the_last_event_ends(served: Served) -> None:
    run = Run(served.service)
    run.over = True
    assert await collect(served.client.sbc.attach("r").events(after_sequence=7)) == []


async def test_an_answer_of_the_service_ends_the_watch(served: Served) -> None:
    run = Run(served.service)
    run.breaks = [(2, Refusal(Code.INVALID_ARGUMENT, "INVALID_CURSOR", metadata={"last_sequence": "7"}))]
    with pytest.raises(lb.InvalidArgument) as caught:
        await collect((await _handle(served)).events())
    assert caught.value.reason == "INVALID_CURSOR"
    run.breaks = [(2, Refusal(Code.INTERNAL, "INTERNAL", metadata={"incident_id": "i"}))]
    with pytest.raises(lb.Internal):
        await collect((await _handle(served)).events())


async def test_a_long_outage_ends_the_watch(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls.StreamRetry.__init__, "__defaults__", (None, 0.3))
    Run(served.service).breaks = [(2, Refusal(Code.UNAVAILABLE))] * 9999
    with pytest.raises(lb.Unavailable):
        await collect((await _handle(served)).events())
    assert len(served.service.named("WatchSbcRun")) > 2


async def test_leaving_the_loop_cancels_the_stream_and_not_the_run(served: Served) -> None:
    Run(served.service)
    gone = threading.Event()

    def watch(_: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        context.add_callback(gone.set)
        yield sbc_pb2.WatchSbcRunResponse(event={"sequence": 1, "batch_finished": {}})
        gone.wait(10)

    served.service.on["WatchSbcRun"] = watch
    events = (await _handle(served)).events()
    if hasattr(events, "__aiter__"):
        async for _ in events:
            break
        await events.aclose()
    else:
        for _ in events:
            break
        events.close()
    assert await asyncio.to_thread(gone.wait, 5)
    assert served.service.named("CancelSbcRun") == []


async def test_the_result_is_the_finished_run(served: Served) -> None:
    run = Run(served.service)
    run.final.verdict.kind = sbc_pb2.VERDICT_KIND_PASS
    run.breaks = [(3, Refusal(Code.UNAVAILABLE))]
    handle = await _handle(served)
    assert (await done(handle.result(timeout=10))).verdict.kind == sbc_pb2.VERDICT_KIND_PASS
    watched = len(served.service.named("WatchSbcRun"))
    assert (await done(handle.result())).verdict.kind == sbc_pb2.VERDICT_KIND_PASS
    assert len(served.service.named("WatchSbcRun")) == watched  # a run that is over is not watched again


async def test_the_result_of_a_failed_run_is_its_reason(served: Served) -> None:
    run = Run(served.service, state=common_pb2.JOB_STATE_FAILED)
    run.final.error.MergeFrom(common_pb2.JobError(reason="INSUFFICIENT_DATA", message="too few rows", field="x1"))
    with pytest.raises(lb.FailedPrecondition) as caught:
        await done((await _handle(served)).result())
    assert (caught.value.reason, caught.value.message) == ("INSUFFICIENT_DATA", "too few rows")
    assert caught.value.metadata == {"run_id": "r"}


async def test_the_result_of_a_cancelled_run_is_the_run(served: Served) -> None:
    Run(served.service, state=common_pb2.JOB_STATE_CANCELLED)
    assert (await done((await _handle(served)).result())).state == common_pb2.JOB_STATE_CANCELLED


async def test_waiting_for_a_result_ends_with_the_timeout(served: Served) -> None:
    Run(served.service)
    done_waiting = threading.Event()

    def watch(*_: Any) -> Iterator[Any]:
        yield sbc_pb2.WatchSbcRunResponse(event={"sequence": 1, "batch_finished": {}})
        done_waiting.wait(5)

    served.service.on["WatchSbcRun"] = watch
    with pytest.raises(lb.DeadlineExceeded) as caught:
        await done((await _handle(served)).result(timeout=0.3))
    done_waiting.set()
    assert (caught.value.reason, caught.value.metadata) == ("STILL_RUNNING", {"run_id": "r"})


async def test_a_handle_cancels_its_run(served: Served) -> None:
    Run(served.service)
    await done((await _handle(served)).cancel())
    assert [request.run_id for request in served.service.named("CancelSbcRun")] == ["r"]
