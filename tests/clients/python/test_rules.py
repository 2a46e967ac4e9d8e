"""The checker of the contract's rules."""

from __future__ import annotations

import time
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from liftos.bayes import rules
from liftos.bayes.rules import Violation
from liftos.bayes.v1 import (
    common_pb2,
    dataset_pb2,
    elicitation_pb2,
    model_pb2,
    options_pb2,
    prior_update_pb2,
    sbc_pb2,
)

UUID = "01234567-89ab-cdef-0123-456789ABCDEF"


def _start(**spec: object) -> sbc_pb2.StartSbcRunRequest:
    return sbc_pb2.StartSbcRunRequest(
        request_id=UUID,
        client_id="acme",
        spec=sbc_pb2.SbcRunSpec(**{"model_id": "mmm", **spec}),  # type: ignore[arg-type]
    )


def _register(*priors: common_pb2.Distribution) -> model_pb2.RegisterModelRequest:
    channels = [
        model_pb2.Channel(name=f"x{i}", exposure_column=f"x{i}", parameterise_by=2, prior=prior)  # type: ignore[arg-type]
        for i, prior in enumerate(priors)
    ]
    return model_pb2.RegisterModelRequest(
        request_id=UUID,
        client_id="acme",
        model_id="mmm",
        spec=model_pb2.ModelSpec(additive_mmm=model_pb2.AdditiveMmmSpec(channels=channels), dataset_id="d"),
    )


def _fields(message: object) -> list[str]:
    return [violation.field for violation in rules.check(message)]  # type: ignore[arg-type]


def _fit(distribution: common_pb2.Distribution) -> elicitation_pb2.FitPriorRequest:
    return elicitation_pb2.FitPriorRequest(
        client_id="acme",
        quantity=common_pb2.QUANTITY_ROI,
        statement=elicitation_pb2.BeliefStatement(distribution=distribution),
    )


def test_a_correct_request_has_no_violations() -> None:
    assert rules.check(_start(num_simulations=200)) == []
    assert rules.check(_register(common_pb2.Distribution(beta=common_pb2.Beta(alpha=1, beta=3)))) == []


def test_an_empty_request_lacks_every_required_field() -> None:
    assert rules.check(sbc_pb2.StartSbcRunRequest()) == [
        Violation(name, "is required") for name in ("request_id", "client_id", "spec")
    ]


def test_the_path_leads_through_lists_and_messages() -> None:
    good = common_pb2.Distribution(beta=common_pb2.Beta(alpha=1, beta=3))
    bad = common_pb2.Distribution(beta=common_pb2.Beta(alpha=-1, beta=3))
    assert rules.check(_register(good, good, bad)) == [
        Violation("spec.additive_mmm.channels[2].prior.beta.alpha", "must be greater than 0, is -1.0")
    ]


@pytest.mark.parametrize(("value", "ok"), [(19, False), (20, True), (100_000, True), (100_001, False)])
def test_bounds_are_inclusive_where_the_contract_says_so(value: int, ok: bool) -> None:
    assert (_fields(_start(num_simulations=value)) == []) is ok


def test_an_unset_optional_number_is_not_checked_but_an_explicit_zero_is() -> None:
    assert _fields(_start()) == []
    assert _fields(_start(num_simulations=0)) == ["spec.num_simulations"]


def test_a_number_that_cannot_be_absent_is_always_checked() -> None:
    header = dataset_pb2.DatasetHeader(client_id="a", dataset_id="d", request_id=UUID, sha256="0" * 64)
    header.columns.add(name="t", role=1, element_type=4)  # type: ignore[arg-type]
    header.columns.add(name="y", role=3, element_type=1)  # type: ignore[arg-type]
    assert _fields(header) == ["row_count"]


def test_bounds_beyond_the_precision_of_a_double_are_compared_exactly() -> None:
    assert _fields(_start(seed=9_200_000_000_000_000_000)) == []
    assert _fields(_start(seed=9_200_000_000_000_000_001)) == ["spec.seed"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_must_be_finite_also_without_bounds(value: float) -> None:
    assert _fields(_fit(common_pb2.Distribution(normal=common_pb2.Normal(mean=value, sd=1)))) == [
        "statement.distribution.normal.mean"
    ]


def test_infinity_passes_where_it_is_allowed_and_nan_does_not() -> None:
    def truncated(upper: float) -> elicitation_pb2.FitPriorRequest:
        kind = common_pb2.TruncatedNormal(location=0, scale=1, lower=0, upper=upper)
        return _fit(common_pb2.Distribution(truncated_normal=kind))

    assert _fields(truncated(float("inf"))) == []
    assert _fields(truncated(float("nan"))) == ["statement.distribution.truncated_normal.upper"]


def test_infinity_is_allowed_for_a_bayes_factor_but_stays_bounded_below() -> None:
    assert _fields(sbc_pb2.CheckSbcNecessityRequest(client_id="a", bayes_factor=float("inf"))) == []
    assert _fields(sbc_pb2.CheckSbcNecessityRequest(client_id="a", bayes_factor=-float("inf"))) == ["bayes_factor"]


def test_nul_is_refused_in_strings_without_any_rule_and_in_keys_of_a_struct() -> None:
    request = model_pb2.RegisterModelRequest(request_id=UUID, client_id="a", model_id="m")
    request.spec.custom.family = "x/1"
    request.spec.custom.options.update({"k\0": 1, "v": "a\0b"})
    found = rules.check(request)
    assert {v.description for v in found} == {"must not contain NUL characters"}
    assert len(found) == 2
    belief = elicitation_pb2.AddBeliefRequest(wording="a\0b")
    assert "wording" in _fields(belief)


def test_undefined_enum_values_are_refused_and_unspecified_only_where_required() -> None:
    update = prior_update_pb2.UpdatePriorsRequest(request_id=UUID, client_id="a", session_id="s")
    assert _fields(update) == []
    update.update_strategy = 99  # type: ignore[assignment]
    assert rules.check(update) == [Violation("update_strategy", "99 is not a value of UpdateStrategy")]
    assert _fields(common_pb2.Estimand(channel="x1")) == ["quantity"]


@pytest.mark.parametrize(
    ("client_id", "ok"),
    [
        ("a", True),
        ("A1.b_c-d", True),
        ("a" * 64, True),
        ("a" * 65, False),
        ("-a", False),
        ("a b", False),
        ("ä", False),
        ("a\n", False),
        ("٣", False),
    ],
)
def test_identifiers_have_a_narrow_shape(client_id: str, ok: bool) -> None:
    assert (_fields(sbc_pb2.GetSbcRunRequest(client_id=client_id, run_id="r")) == []) is ok


@pytest.mark.parametrize(
    ("name", "ok"), [("TV & Radio (Süd) – 1", True), ("x[1]", False), ("a\tb", False), ("a\x85b", False), ("", False)]
)
def test_names_are_free_text_without_brackets_and_control_characters(name: str, ok: bool) -> None:
    assert (_fields(model_pb2.Control(name=name, column="price")) == []) is ok


@pytest.mark.parametrize(
    ("date", "ok"),
    [("2024-02-29", True), ("2023-02-29", False), ("20240229", False), ("2024-02-29\n", False), ("", True)],
)
def test_dates_must_exist(date: str, ok: bool) -> None:
    assert (_fields(common_pb2.DateRange(first_date=date)) == []) is ok


def test_a_currency_is_three_capitals() -> None:
    assert _fields(common_pb2.Money(minor_units=1, currency="usd")) == ["currency"]


def test_a_list_has_its_length_checked_before_its_items() -> None:
    statement = elicitation_pb2.QuantileStatement(probabilities=[7.0] * 21, values=[1.0])
    assert rules.check(statement) == [
        Violation("probabilities", "must have at most 20 items, has 21"),
        Violation("values", "must have at least 2 items, has 1"),
    ]


def test_number_rules_of_a_list_hold_for_each_item() -> None:
    statement = elicitation_pb2.QuantileStatement(probabilities=[0.1, 1.0, 0.5], values=[1, 2, 3])
    assert _fields(statement) == ["probabilities[1]"]


def test_length_rules_of_a_list_of_strings_hold_for_each_item() -> None:
    column = dataset_pb2.Column(name="g", role=2, element_type=2, categories=["a", "b" * 129])  # type: ignore[arg-type]
    assert rules.check(column) == [Violation("categories[1]", "must have at most 128 characters, has 129")]


def test_a_required_oneof_names_its_choices() -> None:
    (violation,) = rules.check(dataset_pb2.UploadDatasetRequest())
    assert violation == Violation("part", "is required: one of header, chunk")


def test_empty_bytes_break_a_least_length() -> None:
    assert _fields(dataset_pb2.DatasetChunk()) == ["data"]
    assert _fields(dataset_pb2.DatasetChunk(data=b"x" * ((1 << 20) + 1))) == ["data"]


def test_the_checker_stops_after_64_violations() -> None:
    bad = common_pb2.Distribution(beta=common_pb2.Beta(alpha=-1, beta=-1))
    request = _register(*[bad] * 15)
    for channel in request.spec.additive_mmm.channels:
        channel.retention_prior.CopyFrom(bad)
        channel.half_saturation_prior.CopyFrom(bad)
    assert len(rules.check(request)) == rules.MAX_VIOLATIONS == 64


def test_nesting_is_bounded() -> None:
    outer = common_pb2.Distribution()
    inner = outer
    for _ in range(6):  # three messages each
        inner = inner.mixture.components.add(weight=1).distribution
    (violation,) = rules.check(_fit(outer))
    assert violation.description == "messages are nested more than 16 deep"


def test_the_deepest_correct_request_is_not_too_deep() -> None:
    gridded = common_pb2.Gridded(lower=0, upper=1)
    for array in (gridded.grid, gridded.log_density):
        array.MergeFrom(common_pb2.NumericArray(data=b"", element_type=1, shape=[0]))  # type: ignore[arg-type]
    component = common_pb2.MixtureComponent(weight=1, distribution=common_pb2.Distribution(gridded=gridded))
    assert rules.check(_register(common_pb2.Distribution(mixture=common_pb2.Mixture(components=[component])))) == []


def test_a_struct_is_bounded_by_size_and_must_hold_finite_numbers() -> None:
    request = model_pb2.CustomModelSpec(family="x/1")
    request.options.update({"a": [1.0, {"b": float("inf")}]})
    (violation,) = rules.check(request)
    assert violation.description == "must be finite"
    request.options.Clear()
    request.options.update({"a": "x" * rules.MAX_WELL_KNOWN_BYTES})
    assert rules.check(request) == [Violation("options", "must have at most 65536 bytes")]


def test_a_hostile_message_of_four_mebibytes_is_checked_quickly() -> None:
    # A validator that walks cel-python expressions took 932 ms for 1,000 numbers (methods/service.md §4.5).
    statement = elicitation_pb2.QuantileStatement(probabilities=[0.5] * 500_000, values=[1, 2])
    mixture = common_pb2.Mixture()
    for _ in range(100_000):
        mixture.components.add(weight=-1)
    begun = time.perf_counter()
    assert rules.check(statement)
    assert rules.check(mixture)
    assert time.perf_counter() - begun < 0.5


@pytest.fixture(scope="module")
def extra() -> type[Message]:
    """A message with what the checker knows and the contract does not use yet: unique items and maps."""
    file = descriptor_pb2.FileDescriptorProto(name="tests/rules.proto", package="tests", syntax="proto3")
    file.dependency.append("liftos/bayes/v1/options.proto")
    message = file.message_type.add(name="Extra")
    kind = descriptor_pb2.FieldDescriptorProto
    tags = message.field.add(name="tags", number=1, type=kind.TYPE_STRING, label=kind.LABEL_REPEATED)
    tags.options.Extensions[options_pb2.rules].unique = True
    entry = message.nested_type.add(name="LabelsEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=kind.TYPE_STRING, label=kind.LABEL_OPTIONAL)
    entry.field.add(name="value", number=2, type=kind.TYPE_DOUBLE, label=kind.LABEL_OPTIONAL)
    labels = message.field.add(
        name="labels",
        number=2,
        type=kind.TYPE_MESSAGE,
        type_name=".tests.Extra.LabelsEntry",
        label=kind.LABEL_REPEATED,
    )
    labels.options.Extensions[options_pb2.rules].max_items = 2
    labels.options.Extensions[options_pb2.rules].gte = 0
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(file.SerializeToString())
    return GetMessageClass(pool.FindMessageTypeByName("tests.Extra"))


def test_unique_items_must_differ(extra: type[Any]) -> None:
    assert rules.check(extra(tags=["a", "b"])) == []
    assert rules.check(extra(tags=["a", "b", "a"])) == [Violation("tags[2]", "must differ from item 0")]


def test_the_values_of_a_map_are_checked_by_key(extra: type[Any]) -> None:
    assert rules.check(extra(labels={"a": 1})) == []
    assert rules.check(extra(labels={"a": -1})) == [Violation("labels['a']", "must be at least 0, is -1.0")]
    assert rules.check(extra(labels={"a\0": 1})) == [Violation("labels['a\\x00']", "must not contain NUL characters")]
    assert rules.check(extra(labels=dict.fromkeys("abc", 1))) == [
        Violation("labels", "must have at most 2 items, has 3")
    ]


def test_scope_and_idempotency_are_read_from_the_contract() -> None:
    methods = sbc_pb2.DESCRIPTOR.services_by_name["SbcService"].methods_by_name
    assert rules.scope_of(methods["StartSbcRun"]) == options_pb2.SCOPE_ANALYZE
    assert rules.scope_of(methods["WatchSbcRun"]) == options_pb2.SCOPE_READ
    assert not rules.idempotent(methods["StartSbcRun"])
    assert rules.idempotent(methods["WatchSbcRun"])
