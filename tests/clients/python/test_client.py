# Generated from test_aio.py by clients/sync.py; edit the source.

"""The synchronous client against a scripted service on this machine."""

from __future__ import annotations

import array
import datetime
import hashlib
import math
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import grpc
import liftos.bayes as lb
import numpy as np
import pytest
from liftos.bayes import calls, rules, tables
from liftos.bayes.transport import Transport
from liftos.bayes.v1 import common_pb2, conflict_pb2, dataset_pb2, elicitation_pb2, model_pb2, prior_update_pb2, sbc_pb2

from tests.clients.python.scripted import UUID, Code, Content, Refusal, Run, Service, Uploads, days, refuse

EXAMPLE = Path(__file__).parents[3] / "examples" / "pymc_mmm_example.csv"
T = TypeVar("T")


@pytest.fixture
def client(target: str) -> Iterator[lb.Client]:
    with lb.Client.connect(target, client_id="acme", timeout=10) as made:
        yield made


def collect(values: Iterator[T]) -> list[T]:
    return list(values)


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
    ("elicitation.fit_prior", lambda c: c.elicitation.fit_prior("share_of_outcome", **STATED), "FitPrior"),
    ("conflicts.analyze", lambda c: c.conflicts.analyze("s", business_impact=lb.usd(2e6)), "AnalyzeConflict"),
    ("conflicts.get", lambda c: c.conflicts.get("a"), "GetConflict"),
    (
        "conflicts.record_outcome",
        lambda c: c.conflicts.record_outcome("a", "b", side="data", recorded_by="Ann"),
        "RecordConflictOutcome",
    ),
    ("conflicts.outcome_report", lambda c: c.conflicts.outcome_report(), "GetOutcomeReport"),
    ("conflicts.curve", lambda c: c.conflicts.curve("k"), "GetEvidenceCurve"),
    ("sbc.start", lambda c: c.sbc.start(model_id="m", validation_type="quick"), "StartSbcRun"),
    ("sbc.get", lambda c: c.sbc.get("r"), "GetSbcRun"),
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
    ("sbc.create_policy", lambda c: c.sbc.create_policy(**THRESHOLDS, adopted_by="Ann"), "CreateNecessityPolicy"),
    ("sbc.replay_policy", lambda c: c.sbc.replay_policy(**THRESHOLDS), "ReplayNecessityPolicy"),
    ("updates.get", lambda c: c.updates.get("u"), "GetPriorUpdate"),
    ("updates.accept", lambda c: c.updates.accept("u", etag="1", decided_by="Ann"), "AcceptPriorUpdate"),
    ("updates.reject", lambda c: c.updates.reject("u", etag="1", decided_by="Ann"), "RejectPriorUpdate"),
    ("attribution.analyze", lambda c: c.attribution.analyze("m", session_id="s", start_sbc=True), "AnalyzeAttribution"),
    ("attribution.get", lambda c: c.attribution.get("a"), "GetAttribution"),
    ("system.info", lambda c: c.system.info(), "GetServerInfo"),
]
EVERY_LIST: list[tuple[str, Callable[[Any], Any], str]] = [
    ("datasets.list", lambda c: c.datasets.list(), "ListDatasets"),
    ("models.list", lambda c: c.models.list(), "ListModels"),
    ("elicitation.list", lambda c: c.elicitation.list(), "ListElicitationSessions"),
    ("conflicts.list", lambda c: c.conflicts.list(session_id="s"), "ListConflicts"),
    ("conflicts.outcomes", lambda c: c.conflicts.outcomes(analysis_id="a"), "ListConflictOutcomes"),
    ("sbc.list", lambda c: c.sbc.list(model_id="m"), "ListSbcRuns"),
    ("sbc.policies", lambda c: c.sbc.policies(), "ListNecessityPolicies"),
    ("sbc.decisions", lambda c: c.sbc.decisions(), "ListNecessityDecisions"),
    ("updates.list", lambda c: c.updates.list(session_id="s"), "ListPriorUpdates"),
    ("attribution.list", lambda c: c.attribution.list(model_id="m"), "ListAttributions"),
]
ELSEWHERE = {"datasets.upload", "datasets.upload_csv", "datasets.read", "sbc.run", "sbc.attach", "sbc.ledger"}


def _parameters(table: list[tuple[str, Callable[[Any], Any], str]]) -> list[Any]:
    return [pytest.param(call, rpc, id=name) for name, call, rpc in table]


def _sent_one_correct_request(service: Service, rpc: str) -> bool:
    ((name, request),) = service.seen
    assert name == rpc
    assert rules.check(request) == []
    return "client_id" not in request.DESCRIPTOR.fields_by_name or request.client_id == "acme"


@pytest.mark.parametrize(("call", "rpc"), _parameters(EVERY_METHOD))
def test_each_method_sends_one_correct_request(
    client: lb.Client, service: Service, call: Callable[[lb.Client], Any], rpc: str
) -> None:
    call(client)
    assert _sent_one_correct_request(service, rpc)


@pytest.mark.parametrize(("call", "rpc"), _parameters(EVERY_LIST))
def test_each_list_sends_one_correct_request(
    client: lb.Client, service: Service, call: Callable[[lb.Client], Any], rpc: str
) -> None:
    assert collect(call(client)) == []
    assert _sent_one_correct_request(service, rpc)


def test_the_tables_of_methods_are_complete(client: lb.Client) -> None:
    namespaces = {name: of for name, of in vars(client).items() if name not in {"stubs", "_connection"}}
    public = {f"{name}.{method}" for name, of in namespaces.items() for method in dir(of) if method[0] != "_"}
    assert {name for name, _, _ in EVERY_METHOD + EVERY_LIST} | ELSEWHERE == public


def test_held_out_months_and_exploratory_use_are_asked_for(client: lb.Client, service: Service) -> None:
    months = {"data_period_months": 12, "hold_out_months": 6}
    client.conflicts.analyze("s", **months, exploratory=True)
    client.attribution.analyze("m", session_id="s", **months, exploratory=True)
    client.sbc.start(model_id="m", **months)
    client.sbc.run(model_id="m", **months)
    client.sbc.check_necessity(model_id="m", **months)
    (conflict,) = service.named("AnalyzeConflict")
    (attribution,) = service.named("AnalyzeAttribution")
    (necessity,) = service.named("CheckSbcNecessity")
    runs = [request.spec for request in service.named("StartSbcRun")]
    assert len(runs) == 2
    for request in (conflict, attribution, necessity, *runs):
        assert (request.data_period_months, request.hold_out_months) == (12, 6)
    assert conflict.exploratory
    assert attribution.exploratory
    client.conflicts.analyze("s")
    assert not service.named("AnalyzeConflict")[1].HasField("hold_out_months")


def test_an_accepted_update_is_adopted_whole_or_by_the_belief(client: lb.Client, service: Service) -> None:
    client.elicitation.adopt_update("u", "s", model_id="m", projected=True, client_confidence=0.8)
    (request,) = service.named("AdoptPriorUpdate")
    assert (request.update_id, request.session_id, request.model_id) == ("u", "s", "m")
    assert request.projected
    assert request.client_confidence == 0.8
    client.elicitation.add_belief("s", "b", lb.roi("x"), updated_prior=("u", "old"))
    (belief,) = service.named("AddBelief")
    assert (belief.statement.updated_prior.update_id, belief.statement.updated_prior.belief_id) == ("u", "old")


def test_a_summary_states_its_days(client: lb.Client, service: Service) -> None:
    for window in ((datetime.date(2023, 1, 1), datetime.date(2023, 12, 31)), ("2023-01-01", "2023-12-31")):
        client.models.register_summary(
            "m",
            estimand=lb.roi("x1"),
            estimate=1,
            standard_error=1,
            n_months=12,
            reference_prior=lb.normal(0, 10),
            window=window,
        )
    for request in service.named("RegisterModel"):
        stated = request.spec.conjugate_normal.window
        assert (stated.first_date, stated.last_date) == ("2023-01-01", "2023-12-31")


@pytest.mark.parametrize("asked", [True, False])
def test_an_attribution_starts_a_calibration_run_only_on_request(
    client: lb.Client, service: Service, asked: bool
) -> None:
    options = {"start_sbc": True} if asked else {}
    client.attribution.analyze("m", include_bayesian_validation=True, **options)
    (request,) = service.named("AnalyzeAttribution")
    assert (request.include_bayesian_validation, request.start_sbc) == (True, asked)


def test_values_arrive_as_given(client: lb.Client, service: Service) -> None:
    client.models.register_mmm(
        "m",
        dataset_id="d",
        channels=["x1", lb.channel("TV", exposure_column="grp", spend_column="tv_eur", parameterise_by="roi")],
        parameterise_by="share_of_outcome",
        controls=["event", lb.control("price", column="p", prior_sd=2.0)],
        fourier_pairs=2,
        trend=False,
    )
    (request,) = service.named("RegisterModel")
    mmm = request.spec.additive_mmm
    assert [(c.name, c.exposure_column, c.spend_column, c.parameterise_by) for c in mmm.channels] == [
        ("x1", "x1", "", model_pb2.PARAMETERISATION_SHARE_OF_OUTCOME),
        ("TV", "grp", "tv_eur", model_pb2.PARAMETERISATION_ROI),
    ]
    assert [(c.name, c.column, c.prior_sd) for c in mmm.controls] == [("event", "event", 0.0), ("price", "p", 2.0)]
    assert not mmm.controls[0].HasField("prior_sd")
    assert (mmm.fourier_pairs, mmm.no_trend) == (2, True)


def test_an_update_without_confidence_clears_it(client: lb.Client, service: Service) -> None:
    client.elicitation.update("s", client_confidence=None, etag="1")
    (request,) = service.named("UpdateElicitationSession")
    assert list(request.update_mask.paths) == ["client_confidence"]
    assert request.HasField("patch")
    assert not request.patch.HasField("client_confidence")


# Before the wire


def test_a_request_that_breaks_a_rule_is_not_sent(client: lb.Client, service: Service) -> None:
    with pytest.raises(lb.InvalidArgument) as caught:
        client.sbc.start(model_id="bad id", num_simulations=3)
    assert [v.field for v in caught.value.violations] == ["spec.model_id", "spec.num_simulations"]
    assert caught.value.reason == "INVALID_FIELD"
    assert service.seen == []


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
def test_values_that_no_message_can_hold_are_invalid_arguments(
    client: lb.Client, service: Service, call: Callable[[Any], Any]
) -> None:
    with pytest.raises(lb.InvalidArgument):
        call(client)
    assert service.seen == []


def test_an_experiment_is_sent_with_the_request(client: lb.Client, service: Service) -> None:
    about = lb.roi("tv")
    lift = lb.experiment("lift", about, estimate=1.5, standard_error=0.2, first_date="2024-01-01", scope="12 regions")
    client.updates.propose("s", update_strategy="evidence_weighted", experiments=[lift], gate=False)
    (request,) = service.named("UpdatePriors")
    assert request.without_gate
    assert request.experiments[0].estimand == about
    assert request.experiments[0].window.first_date == "2024-01-01"


@pytest.mark.parametrize("estimand", ["roi", 3, {"quantity": "ROI"}])
def test_a_value_of_another_kind_is_an_invalid_argument_and_not_a_type_error(client: lb.Client, estimand: Any) -> None:
    with pytest.raises(lb.InvalidArgument):
        client.elicitation.add_belief("s", "b", estimand, mean=1.0, plus_minus=0.1, meaning="sd")


def test_shares_are_named_like_their_channels_unless_told_otherwise(client: lb.Client, service: Service) -> None:
    shares = {"tv": (0.6, 0.1), "radio": (0.4, 0.1)}
    named = {"tv": "first"}
    client.elicitation.add_shares("s", "share_of_media", shares, meaning="sd", belief_ids=named, data_seen=True)
    (request,) = service.named("AddShareBeliefs")
    assert [(s.belief_id, s.channel, s.share.mean) for s in request.shares] == [
        ("first", "tv", 0.6),
        ("radio", "radio", 0.4),
    ]
    assert request.data_seen


def test_a_bare_number_for_money_is_answered_with_how_to_give_its_currency(client: lb.Client) -> None:
    with pytest.raises(lb.InvalidArgument, match=r"business_impact: 3000000 has no currency: give usd\(3000000\)"):
        client.sbc.check_necessity(business_impact=3_000_000)


# Errors


@pytest.mark.parametrize("code", [code for code in Code if code not in {Code.OK, Code.UNAVAILABLE}])
def test_every_status_code_has_its_exception(client: lb.Client, service: Service, code: grpc.StatusCode) -> None:
    service.on["GetModel"] = refuse(Refusal(code, message="no"), then=None)
    with pytest.raises(lb.LiftosBayesError) as caught:
        client.models.get("m")
    assert caught.value.code == code
    assert (caught.value.message, caught.value.reason) == ("no", "")
    has_class = code not in {Code.UNKNOWN, Code.OUT_OF_RANGE, Code.DATA_LOSS}
    assert (type(caught.value) is not lb.LiftosBayesError) is has_class


def test_error_details_make_the_round_trip(client: lb.Client, service: Service) -> None:
    service.on["AcceptPriorUpdate"] = refuse(
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
        client.updates.accept("u", etag="1", decided_by="Ann")
    error = caught.value
    assert (error.reason, error.message, error.retry_after) == ("LIMIT_EXCEEDED", "too much", 2.5)
    assert error.metadata == {"limit": "max_message_bytes"}
    assert error.violations == (lb.Violation("a.b[1]", "too long"), lb.Violation("c", "bad"))
    assert str(error) == "RESOURCE_EXHAUSTED (LIMIT_EXCEEDED): too much\n  a.b[1]: too long\n  c: bad"


def test_a_reason_of_another_domain_is_not_taken_for_ours(client: lb.Client, service: Service) -> None:
    service.on["GetModel"] = refuse(Refusal(Code.ABORTED, "STALE_ETAG", domain="proxy.example"), then=None)
    with pytest.raises(lb.Aborted) as caught:
        client.models.get("m")
    assert caught.value.reason == ""


# Retries


def test_an_unavailable_service_is_called_again_with_the_same_request_id(client: lb.Client, service: Service) -> None:
    away = Refusal(Code.UNAVAILABLE, "DRAINING")
    answer = model_pb2.RegisterModelResponse(model=model_pb2.Model(model_id="m"))
    service.on["RegisterModel"] = refuse(away, away, then=answer)
    assert client.models.register("m", CUSTOM).model_id == "m"
    ids = [request.request_id for request in service.named("RegisterModel")]
    assert len(ids) == 3
    assert len(set(ids)) == 1


def test_two_calls_have_two_request_ids_and_a_given_one_is_used(client: lb.Client, service: Service) -> None:
    for request_id in (None, None, UUID):
        client.conflicts.analyze("s", request_id=request_id)
    first, second, third = (request.request_id for request in service.named("AnalyzeConflict"))
    assert first != second
    assert third == UUID


def test_a_service_that_stays_away_is_given_up(client: lb.Client, service: Service) -> None:
    service.on["GetModel"] = refuse(*[Refusal(Code.UNAVAILABLE)] * 99, then=None)
    with pytest.raises(lb.Unavailable):
        client.models.get("m")
    assert len(service.seen) == calls.MAX_ATTEMPTS


@pytest.mark.parametrize("code", [Code.INVALID_ARGUMENT, Code.ABORTED, Code.INTERNAL, Code.DEADLINE_EXCEEDED])
def test_other_failures_are_not_repeated(client: lb.Client, service: Service, code: grpc.StatusCode) -> None:
    service.on["GetModel"] = refuse(Refusal(code), then=model_pb2.GetModelResponse())
    with pytest.raises(lb.LiftosBayesError):
        client.models.get("m")
    assert len(service.seen) == 1


def test_a_computation_that_outlasts_a_call_is_asked_for_again(client: lb.Client, service: Service) -> None:
    more = Refusal(Code.DEADLINE_EXCEEDED, "STILL_RUNNING", metadata={"job_id": "j"})
    answer = conflict_pb2.AnalyzeConflictResponse(analysis=conflict_pb2.ConflictAnalysis(analysis_id="a"))
    service.on["AnalyzeConflict"] = refuse(*[more] * 8, then=answer)
    assert client.conflicts.analyze("s", timeout=60).analysis_id == "a"
    assert len({request.request_id for request in service.named("AnalyzeConflict")}) == 1
    assert len(service.seen) == 9


def test_the_timeout_ends_the_asking_and_says_that_the_work_goes_on(client: lb.Client, service: Service) -> None:
    more = Refusal(Code.DEADLINE_EXCEEDED, "STILL_RUNNING", metadata={"job_id": "j"})
    service.on["AnalyzeConflict"] = refuse(*[more] * 9999, then=None)
    begun = time.monotonic()
    with pytest.raises(lb.DeadlineExceeded) as caught:
        client.conflicts.analyze("s", timeout=0.5)
    assert time.monotonic() - begun < 1.5
    assert (caught.value.reason, caught.value.metadata) == ("STILL_RUNNING", {"job_id": "j"})


def test_a_deadline_that_strikes_on_the_way_does_not_lose_the_reason(client: lb.Client, service: Service) -> None:
    release = threading.Event()

    def handler(*_: Any) -> Any:
        if len(service.seen) > 1:
            release.wait(5)
        raise Refusal(Code.DEADLINE_EXCEEDED, "STILL_RUNNING", metadata={"job_id": "j"})

    service.on["AnalyzeConflict"] = handler
    with pytest.raises(lb.DeadlineExceeded) as caught:
        client.conflicts.analyze("s", timeout=0.5)
    release.set()
    assert caught.value.reason == "STILL_RUNNING"
    assert len(service.seen) == 2


def test_the_server_learns_what_is_left_of_the_timeout(client: lb.Client, service: Service) -> None:
    left: list[float] = []

    def handler(_: Any, context: grpc.ServicerContext) -> Any:
        left.append(context.time_remaining())
        if len(left) == 1:
            time.sleep(0.2)
            raise Refusal(Code.UNAVAILABLE)
        return model_pb2.GetModelResponse()

    service.on["GetModel"] = handler
    client.models.get("m", timeout=5)
    assert left[0] < 5.5  # gRPC rounds a deadline up on its way
    assert left[1] < left[0] - 0.1


# Identity


def test_every_call_carries_version_and_token(service: Service, target: str) -> None:
    with lb.Client.connect(target, client_id="acme", token="secret") as made:
        made.system.info()
        assert service.headers["authorization"] == "Bearer secret"
        assert service.headers["x-liftos-client"].startswith("liftos-bayes-client/")
        service.headers = {}
        made.stubs.models.GetModel(model_pb2.GetModelRequest(), metadata=(("x-more", "1"),))
        assert (service.headers["authorization"], service.headers["x-more"]) == ("Bearer secret", "1")


def test_a_token_is_refused_in_plain_text() -> None:
    target = "bayes.example:50051"
    with pytest.raises(lb.InvalidArgument, match="plain text"):
        lb.Client.connect(target, client_id="acme", token="secret")
    lb.Client.connect(target, client_id="acme", token="secret", insecure=True).close()
    lb.Client.connect(target, client_id="acme", token="secret", tls=lb.Tls()).close()
    lb.Client.connect(target, client_id="acme").close()


def test_a_closed_client_says_so(client: lb.Client) -> None:
    client.close()
    with pytest.raises(lb.Cancelled, match="closed"):
        client.models.get("m")
    with pytest.raises(lb.Cancelled, match="closed"):
        collect(client.sbc.attach("r").events())


def test_tls_with_a_private_authority(service: Service, tls_target: str, certificate: Path) -> None:
    tls = lb.Tls.from_files(certificate, server_name="bayes.test")
    with lb.Client.connect(tls_target, client_id="acme", token="secret", tls=tls) as known:
        known.system.info()
    stranger = lb.Tls(server_name="bayes.test")  # without the private authority
    with lb.Client.connect(tls_target, client_id="acme", tls=stranger) as unknown, pytest.raises(lb.Unavailable):
        unknown.system.info()
    assert len(service.seen) == 1


# Lists and etags


def test_a_list_fetches_page_after_page(client: lb.Client, service: Service) -> None:
    pages = {"": (["a", "b"], "1"), "1": ([], "2"), "2": (["c"], "")}

    def handler(request: Any, _: Any) -> Any:
        names, token = pages[request.page_token]
        return model_pb2.ListModelsResponse(models=[{"model_id": n} for n in names], next_page_token=token)

    service.on["ListModels"] = handler
    models = collect(client.models.list(page_size=2))
    assert [model.model_id for model in models] == ["a", "b", "c"]
    assert [request.page_size for request in service.named("ListModels")] == [2, 2, 2]


def test_confirm_reads_the_etag_when_none_is_given(client: lb.Client, service: Service) -> None:
    session = elicitation_pb2.ElicitationSession(session_id="s", etag="7")
    service.on["GetElicitationSession"] = lambda *_: elicitation_pb2.GetElicitationSessionResponse(session=session)
    client.elicitation.confirm("s")
    client.elicitation.remove_belief("s", "b")
    client.elicitation.update("s", client_confidence=1)
    for name in ("ConfirmElicitationSession", "RemoveBelief", "UpdateElicitationSession"):
        (request,) = service.named(name)
        assert request.etag == "7"
    assert len(service.named("GetElicitationSession")) == 3


def test_a_decision_is_on_the_version_at_hand(client: lb.Client, service: Service) -> None:
    update = prior_update_pb2.PriorUpdate(update_id="u", etag="3")
    service.on["GetPriorUpdate"] = lambda *_: prior_update_pb2.GetPriorUpdateResponse(
        update=prior_update_pb2.PriorUpdate(update_id="u", etag="4")
    )
    client.updates.accept(update, decided_by="Ann")
    assert service.named("GetPriorUpdate") == []
    client.updates.reject("u", decided_by="Ann", reason="no")
    assert service.named("AcceptPriorUpdate")[0].etag == "3"
    assert service.named("RejectPriorUpdate")[0].etag == "4"


# Uploads


def test_a_csv_file_arrives_column_by_column(client: lb.Client, service: Service) -> None:
    uploads = Uploads(service)
    dataset = client.datasets.upload_csv(
        "weekly",
        EXAMPLE,
        time="date_week",
        kpi="y",
        exposures=["x1", "x2"],
        controls=["event_1", "event_2"],
        units={"y": "EUR"},
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


def test_a_panel_in_a_csv_file_arrives_with_its_geos(client: lb.Client, service: Service, tmp_path: Path) -> None:
    uploads = Uploads(service)
    path = tmp_path / "panel.csv"
    path.write_text(
        "geo,week,y,people\nwest,2024-01-01,1,9\nwest,2024-01-08,2,9\neast,2024-01-01,3,4\neast,2024-01-08,4,4\n"
    )
    dataset = client.datasets.upload_csv("panel", path, time="week", kpi="y", geo="geo", population="people")
    roles = [dataset_pb2.ColumnRole.Name(column.role).removeprefix("COLUMN_ROLE_") for column in dataset.columns]
    assert roles == ["TIME", "KPI", "POPULATION", "GEO"]
    assert list(dataset.columns[3].categories) == ["west", "east"]
    assert np.frombuffer(bytes(uploads.stored), "<i4", 4, 4 * (4 + 8 + 8)).tolist() == [0, 0, 1, 1]


def test_a_broken_upload_goes_on_where_the_server_has_stored_it(client: lb.Client, service: Service) -> None:
    uploads = Uploads(service)
    n = 40_000  # 40,000 × 20 bytes: four chunks
    uploads.breaks = [0, 2 * tables.CHUNK_BYTES, 3 * tables.CHUNK_BYTES]
    y, x = np.arange(n, dtype=float), np.sqrt(np.arange(n))
    dataset = client.datasets.upload("d", {"t": days(n), "y": y, "x": x}, time="t", kpi="y", exposures=["x"])
    dates = np.array(days(n), "datetime64[D]").astype("<i4")
    assert bytes(uploads.stored) == dates.tobytes() + y.tobytes() + x.tobytes()
    assert dataset.sha256 == hashlib.sha256(uploads.stored).hexdigest()
    assert len({header.request_id for header in uploads.headers}) == 1
    assert len(uploads.headers) == 4
    assert uploads.received == 4  # no chunk was stored twice


def test_an_upload_whose_answer_was_lost_is_found_sealed(client: lb.Client, service: Service) -> None:
    uploads = Uploads(service)
    uploads.lose_answer = True
    dataset = client.datasets.upload("d", {"t": ["2024-01-01"], "y": [1]}, time="t", kpi="y")
    assert dataset.row_count == 1
    assert uploads.received == 1
    assert len(uploads.headers) == 2


def test_an_upload_waits_for_the_handler_of_its_broken_stream_to_let_go(client: lb.Client, service: Service) -> None:
    uploads = Uploads(service)
    uploads.breaks = [tables.CHUNK_BYTES]
    state = {"state": "UPLOADING", "committed_offset": "262144"}  # another stream is writing the same upload
    uploads.broken = Refusal(Code.FAILED_PRECONDITION, "INVALID_STATE", metadata=state)
    n = 40_000
    client.datasets.upload("d", {"t": days(n), "y": range(n)}, time="t", kpi="y")
    assert uploads.sealed
    assert len(uploads.headers) == 2


def test_an_upload_that_makes_no_progress_is_given_up(client: lb.Client, service: Service) -> None:
    uploads = Uploads(service)
    uploads.breaks = [0] * 99
    with pytest.raises(lb.Unavailable):
        client.datasets.upload("d", {"t": ["2024-01-01"], "y": [1]}, time="t", kpi="y")
    assert len(uploads.headers) == calls.MAX_ATTEMPTS


def test_an_upload_that_an_earlier_process_left_unfinished_is_finished(client: lb.Client, service: Service) -> None:
    uploads = Uploads(service)
    n = 40_000
    values = {"t": days(n), "y": range(n)}
    ready = tables.upload("acme", "d", values, tables.Roles("t", "y"), request_id=UUID)
    uploads.stored += next(ready.content.chunks()).data
    client.datasets.upload("d", values, time="t", kpi="y")
    assert uploads.sealed
    assert bytes(uploads.stored) == b"".join(chunk.data for chunk in ready.content.chunks())


def test_an_upload_announces_the_digest_of_its_content(client: lb.Client, service: Service) -> None:
    # The server tells a retry from other values of the same shape by it.
    announced = []

    def take(requests: Any, _: Any) -> dataset_pb2.UploadDatasetResponse:
        sent = list(requests)
        content = b"".join(request.chunk.data for request in sent[1:])
        announced.append((sent[0].header.sha256, hashlib.sha256(content).hexdigest()))
        return dataset_pb2.UploadDatasetResponse()

    service.on["UploadDataset"] = take
    client.datasets.upload("d", {"t": ["2024-01-01"], "y": [1]}, time="t", kpi="y")
    assert [header == content for header, content in announced] == [True]


def test_refused_data_are_reported_and_not_sent_again(client: lb.Client, service: Service) -> None:
    bad = Refusal(Code.INVALID_ARGUMENT, "INVALID_DATA", violations=(("columns[1].values[0]", "NaN"),))
    service.on["UploadDataset"] = refuse(bad, then=None)
    with pytest.raises(lb.InvalidArgument) as caught:
        client.datasets.upload("d", {"t": ["2024-01-01"], "y": [float("nan")]}, time="t", kpi="y")
    assert caught.value.reason == "INVALID_DATA"
    assert caught.value.violations == (lb.Violation("columns[1].values[0]", "NaN"),)


def test_a_wrong_header_is_refused_before_the_wire(client: lb.Client, service: Service) -> None:
    with pytest.raises(lb.InvalidArgument) as caught:
        client.datasets.upload("d", {"t": [], "y[0]": []}, time="t", kpi="y[0]")
    assert [v.field for v in caught.value.violations] == ["header.columns[1].name", "header.row_count"]
    assert service.seen == []


def test_a_data_set_is_read_back_over_broken_streams(client: lb.Client, service: Service) -> None:
    Content(service)
    columns = client.datasets.read("d")
    assert columns["t"] == days(1000)
    assert columns["y"] == array.array("d", range(1000))
    assert [request.offset for request in service.named("ReadDataset")] == [0, 5000, 8000]


def test_damaged_bytes_are_noticed(client: lb.Client, service: Service) -> None:
    Content(service, damage=True)
    with pytest.raises(lb.LiftosBayesError) as caught:
        client.datasets.read("d")
    assert caught.value.code == Code.DATA_LOSS


def test_a_wrong_digest_is_noticed(client: lb.Client, service: Service) -> None:
    Content(service).dataset.sha256 = "0" * 64
    with pytest.raises(lb.LiftosBayesError, match="digest"):
        client.datasets.read("d")


# Runs


Break = Callable[[], None]


def _handle(client: lb.Client) -> Any:
    return client.sbc.run(model_id="mmm", num_simulations=100)


def test_a_run_is_started_once_and_watched_to_its_end(client: lb.Client, service: Service) -> None:
    Run(service)
    handle = _handle(client)
    events = collect(handle.events())
    assert handle.run_id == "r"
    assert [event.sequence for event in events] == [1, 2, 3, 4, 5, 6, 7]
    assert events[-1].state_changed.state == common_pb2.JOB_STATE_SUCCEEDED
    assert [name for name, _ in service.seen] == ["StartSbcRun", "WatchSbcRun"]
    assert service.named("StartSbcRun")[0].spec.num_simulations == 100


def test_a_broken_watch_goes_on_without_gap_and_repetition(client: lb.Client, service: Service) -> None:
    run = Run(service)
    run.breaks = [
        (0, Refusal(Code.UNAVAILABLE, "DRAINING")),
        (2, Refusal(Code.UNAVAILABLE)),
        (2, Refusal(Code.INTERNAL)),  # what a reset stream looks like
        (4, None),  # an orderly end before the end of the run
        (5, Refusal(Code.CANCELLED)),  # what a server that is stopped looks like
        (6, Refusal(Code.UNKNOWN)),
    ]
    events = collect(_handle(client).events())
    assert [event.sequence for event in events] == [1, 2, 3, 4, 5, 6, 7]
    assert [request.after_sequence for request in service.named("WatchSbcRun")] == [0, 0, 2, 2, 4, 5, 6]


def test_events_that_come_twice_are_dropped(client: lb.Client, service: Service) -> None:
    run = Run(service)
    run.history.insert(3, run.history[2])
    run.final.last_sequence = 7

    def watch(*_: Any) -> Iterator[Any]:
        return (sbc_pb2.WatchSbcRunResponse(event=event) for event in run.history)

    service.on["WatchSbcRun"] = watch
    events = collect(_handle(client).events())
    assert [event.sequence for event in events] == [1, 2, 3, 4, 5, 6, 7]


def test_a_watch_goes_on_past_the_end_of_a_run_that_was_resumed_even_if_it_breaks_there(
    client: lb.Client, service: Service
) -> None:
    run = Run(service, batches=1)
    ended = [event.state_changed.state for event in run.history][-1]
    run.history[1:1] = [
        sbc_pb2.SbcEvent(state_changed={"state": common_pb2.JOB_STATE_CANCELLED}),
        sbc_pb2.SbcEvent(state_changed={"state": common_pb2.JOB_STATE_QUEUED}),
    ]
    for number, event in enumerate(run.history, 1):
        event.sequence = number
    run.final.last_sequence = len(run.history)
    run.breaks = [(2, Refusal(Code.UNAVAILABLE))]
    events = collect(_handle(client).events())
    assert [event.sequence for event in events] == [1, 2, 3, 4, 5]
    assert events[-1].state_changed.state == ended


def test_a_ledger_comes_in_pages_and_an_error_in_between_as_the_service_says_it(
    client: lb.Client, service: Service
) -> None:
    def pages(request: Any, _: Any) -> Iterator[Any]:
        yield sbc_pb2.ReadSbcLedgerResponse(part=request.part, quantities=["sigma"])
        yield sbc_pb2.ReadSbcLedgerResponse(part=request.part, quantities=["sigma"])
        if request.run_id == "broken":
            raise Refusal(Code.NOT_FOUND, "NOT_FOUND")

    service.on["ReadSbcLedger"] = pages
    found = collect(client.sbc.ledger("r", part="posterior", first_simulation=100))
    assert [page.part for page in found] == [sbc_pb2.SBC_PART_POSTERIOR] * 2
    assert service.named("ReadSbcLedger")[0].first_simulation == 100
    with pytest.raises(lb.NotFound):
        collect(client.sbc.ledger("broken"))
    with pytest.raises(lb.InvalidArgument, match="part"):
        collect(client.sbc.ledger("r", part="tails"))


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (lambda c: c.sbc.start(model_id="m", num_simulations=5.5), "spec.num_simulations"),
        (lambda c: c.sbc.start(model_id="m", num_simulations="100"), "spec.num_simulations"),
        (lambda c: c.sbc.start(model_id="m", seed=2**63), "spec.seed"),
        (lambda c: c.sbc.start(model_id="m", further_quantities="sigma"), "spec.further_quantities"),
        (lambda c: c.sbc.extend("r", 1.5), "additional_simulations"),
        (lambda c: c.sbc.check_necessity(model_complexity="many"), "model_complexity"),
        (
            lambda c: c.models.register_mmm("m", dataset_id="d", channels=["tv"], fourier_pairs="two"),
            "spec.additive_mmm.fourier_pairs",
        ),
        (lambda c: c.elicitation.create("s", model_id="m", client_confidence="0.6"), "client_confidence"),
    ],
)
def test_a_value_of_another_kind_is_refused_with_its_field(
    client: lb.Client, service: Service, call: Callable[[Any], Any], field: str
) -> None:
    with pytest.raises(lb.InvalidArgument) as caught:
        call(client)
    assert [violation.field for violation in caught.value.violations] == [field]
    assert service.seen == []


def test_window_and_version_of_a_necessity_check_are_sent(client: lb.Client, service: Service) -> None:
    client.sbc.check_necessity(
        model_id="m", data_period_months=12, hold_out_months=3, policy_version=2, log_bayes_factor=math.inf
    )
    (request,) = service.named("CheckSbcNecessity")
    assert (request.data_period_months, request.hold_out_months, request.policy_version) == (12, 3, 2)
    assert request.log_bayes_factor == math.inf
    assert not request.HasField("bayes_factor")


def test_a_confidence_of_zero_is_sent_and_a_missing_threshold_is_refused(client: lb.Client, service: Service) -> None:
    client.sbc.replay_policy(**THRESHOLDS)
    (request,) = service.named("ReplayNecessityPolicy")
    assert request.thresholds.HasField("client_confidence")
    request.thresholds.ClearField("client_confidence")
    assert [v.field for v in rules.check(request)] == ["thresholds.client_confidence"]


def test_an_outcome_by_experiment_needs_no_side(client: lb.Client, service: Service) -> None:
    experiment = common_pb2.Experiment(
        experiment_id="lift-1", estimand=lb.share_of_outcome("TV"), estimate=0.2, standard_error=0.05
    )
    client.conflicts.record_outcome("a", "b", experiment=experiment, recorded_by="Ann")
    (request,) = service.named("RecordConflictOutcome")
    assert request.side == conflict_pb2.OUTCOME_SIDE_UNSPECIFIED
    assert request.experiment == experiment


def test_heartbeats_are_given_on_request_only(client: lb.Client, service: Service) -> None:
    Run(service, batches=1)
    handle = _handle(client)
    assert len(collect(handle.events())) == 3
    kinds = [event.WhichOneof("event") for event in collect(handle.events(heartbeats=True))]
    assert kinds.count("heartbeat") == 3


def test_a_watch_begins_after_the_given_sequence(client: lb.Client, service: Service) -> None:
    Run(service)
    handle = client.sbc.attach("r")
    assert [event.sequence for event in collect(handle.events(after_sequence=5))] == [6, 7]


def test_a_watch_after_the_last_event_ends(client: lb.Client, service: Service) -> None:
    run = Run(service)
    run.over = True
    assert collect(client.sbc.attach("r").events(after_sequence=7)) == []


def test_an_answer_of_the_service_ends_the_watch(client: lb.Client, service: Service) -> None:
    run = Run(service)
    run.breaks = [(2, Refusal(Code.INVALID_ARGUMENT, "INVALID_CURSOR", metadata={"last_sequence": "7"}))]
    with pytest.raises(lb.InvalidArgument) as caught:
        collect(_handle(client).events())
    assert caught.value.reason == "INVALID_CURSOR"
    run.breaks = [(2, Refusal(Code.INTERNAL, "INTERNAL", metadata={"incident_id": "i"}))]
    with pytest.raises(lb.Internal):
        collect(_handle(client).events())


def test_a_long_outage_ends_the_watch(client: lb.Client, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls.StreamRetry.__init__, "__defaults__", (None, 0.3))
    Run(service).breaks = [(2, Refusal(Code.UNAVAILABLE))] * 9999
    with pytest.raises(lb.Unavailable):
        collect(_handle(client).events())
    assert len(service.named("WatchSbcRun")) > 2


def test_leaving_the_loop_cancels_the_stream_and_not_the_run(client: lb.Client, service: Service) -> None:
    Run(service)
    gone = threading.Event()

    def watch(_: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        context.add_callback(gone.set)
        yield sbc_pb2.WatchSbcRunResponse(event={"sequence": 1, "batch_finished": {}})
        gone.wait(10)

    service.on["WatchSbcRun"] = watch
    events = _handle(client).events()
    for _ in events:
        break
    events.close()
    assert Transport.aside(gone.wait, 5)
    assert service.named("CancelSbcRun") == []


def test_the_result_is_the_finished_run(client: lb.Client, service: Service) -> None:
    run = Run(service)
    run.final.verdict.kind = sbc_pb2.VERDICT_KIND_PASS
    run.breaks = [(3, Refusal(Code.UNAVAILABLE))]
    handle = _handle(client)
    assert handle.result(timeout=10).verdict.kind == sbc_pb2.VERDICT_KIND_PASS
    watched = len(service.named("WatchSbcRun"))
    assert handle.result().verdict.kind == sbc_pb2.VERDICT_KIND_PASS
    assert len(service.named("WatchSbcRun")) == watched  # a run that is over is not watched again


def test_the_result_of_a_failed_run_is_its_reason(client: lb.Client, service: Service) -> None:
    run = Run(service, state=common_pb2.JOB_STATE_FAILED)
    run.final.error.MergeFrom(common_pb2.JobError(reason="INSUFFICIENT_DATA", message="too few rows", field="x1"))
    with pytest.raises(lb.FailedPrecondition) as caught:
        _handle(client).result()
    assert (caught.value.reason, caught.value.message) == ("INSUFFICIENT_DATA", "too few rows")
    assert caught.value.metadata == {"run_id": "r"}


def test_the_result_of_a_cancelled_run_is_the_run(client: lb.Client, service: Service) -> None:
    Run(service, state=common_pb2.JOB_STATE_CANCELLED)
    assert _handle(client).result().state == common_pb2.JOB_STATE_CANCELLED


def test_waiting_for_a_result_ends_with_the_timeout(client: lb.Client, service: Service) -> None:
    Run(service)
    done_waiting = threading.Event()

    def watch(*_: Any) -> Iterator[Any]:
        yield sbc_pb2.WatchSbcRunResponse(event={"sequence": 1, "batch_finished": {}})
        done_waiting.wait(5)

    service.on["WatchSbcRun"] = watch
    with pytest.raises(lb.DeadlineExceeded) as caught:
        _handle(client).result(timeout=0.3)
    done_waiting.set()
    assert (caught.value.reason, caught.value.metadata) == ("STILL_RUNNING", {"run_id": "r"})


def test_a_handle_cancels_its_run(client: lb.Client, service: Service) -> None:
    Run(service)
    _handle(client).cancel()
    assert [request.run_id for request in service.named("CancelSbcRun")] == ["r"]
