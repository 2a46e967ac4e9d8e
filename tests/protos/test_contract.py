"""What the contract promises of itself, for every RPC and every field of a request."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from liftos.bayes import rules
from liftos.bayes.v1 import (
    attribution_pb2,
    conflict_pb2,
    dataset_pb2,
    elicitation_pb2,
    errors_pb2,
    model_pb2,
    options_pb2,
    prior_update_pb2,
    sbc_pb2,
    system_pb2,
)

FILES = (
    attribution_pb2,
    conflict_pb2,
    dataset_pb2,
    elicitation_pb2,
    model_pb2,
    prior_update_pb2,
    sbc_pb2,
    system_pb2,
)
METHODS: list[MethodDescriptor] = [
    method for file in FILES for service in file.DESCRIPTOR.services_by_name.values() for method in service.methods
]
NUMBERS = {
    FieldDescriptor.CPPTYPE_INT32,
    FieldDescriptor.CPPTYPE_INT64,
    FieldDescriptor.CPPTYPE_UINT32,
    FieldDescriptor.CPPTYPE_UINT64,
    FieldDescriptor.CPPTYPE_DOUBLE,
    FieldDescriptor.CPPTYPE_FLOAT,
}


def _request_fields() -> Iterator[FieldDescriptor]:
    """Every field that is reachable from a request, once; not the insides of google.protobuf messages."""
    todo: list[Descriptor] = [method.input_type for method in METHODS]
    seen: set[str] = set()
    while todo:
        descriptor = todo.pop()
        if descriptor.full_name in seen or descriptor.full_name.startswith("google.protobuf."):
            continue
        seen.add(descriptor.full_name)
        for field in descriptor.fields:
            yield field
            if field.message_type is not None:
                todo.append(field.message_type)


FIELDS = list(_request_fields())


def _rules(field: FieldDescriptor) -> options_pb2.FieldRules:
    return field.GetOptions().Extensions[options_pb2.rules]


def _named(items: list[MethodDescriptor]) -> list[object]:
    return [pytest.param(item, id=item.name) for item in items]


def test_the_walk_sees_the_whole_contract() -> None:
    assert len(METHODS) == 52
    names = {field.full_name for field in FIELDS}
    assert "liftos.bayes.v1.Beta.alpha" in names
    assert "liftos.bayes.v1.Money.minor_units" in names


@pytest.mark.parametrize("method", _named(METHODS))
def test_every_rpc_declares_a_scope(method: MethodDescriptor) -> None:
    assert rules.scope_of(method) != options_pb2.SCOPE_UNSPECIFIED


def test_every_number_of_a_request_has_a_rule() -> None:
    bare = [
        field.full_name
        for field in FIELDS
        if field.cpp_type in NUMBERS
        and not any(_rules(field).HasField(bound) for bound in ("gt", "gte", "lt", "lte"))  # type: ignore[arg-type]
        and not _rules(field).any
    ]
    assert bare == []


def test_every_string_of_a_request_has_a_greatest_length() -> None:
    unbounded = [
        field.full_name
        for field in FIELDS
        if field.cpp_type == FieldDescriptor.CPPTYPE_STRING
        and not _rules(field).HasField("max_len")
        and not _rules(field).format
    ]
    assert unbounded == []


def test_every_list_of_a_request_has_a_greatest_length() -> None:
    assert [f.full_name for f in FIELDS if f.is_repeated and not _rules(f).HasField("max_items")] == []


def test_an_upper_bound_is_not_below_the_lower_one() -> None:
    for field in FIELDS:
        rule = _rules(field)
        low = max(rule.gt, rule.gte) if rule.HasField("gt") or rule.HasField("gte") else float("-inf")
        high = rule.lt if rule.HasField("lt") else rule.lte if rule.HasField("lte") else float("inf")
        assert low <= high, field.full_name
        assert not rule.HasField("max_items") or rule.min_items <= rule.max_items, field.full_name


CHANGING = [m for m in METHODS if not rules.idempotent(m) and not m.client_streaming]


@pytest.mark.parametrize("method", _named(CHANGING))
def test_every_rpc_with_side_effects_takes_a_required_request_id(method: MethodDescriptor) -> None:
    rule = _rules(method.input_type.fields_by_name["request_id"])
    assert rule.required
    assert rule.format == options_pb2.FORMAT_UUID


def test_the_upload_carries_its_request_id_in_the_header() -> None:
    assert _rules(dataset_pb2.DatasetHeader.DESCRIPTOR.fields_by_name["request_id"]).required


@pytest.mark.parametrize("method", _named([m for m in METHODS if m.name.startswith("List")]))
def test_every_list_is_paged_and_a_read(method: MethodDescriptor) -> None:
    assert {"page_size", "page_token"} <= set(method.input_type.fields_by_name)
    assert "next_page_token" in method.output_type.fields_by_name
    assert rules.idempotent(method)
    assert rules.scope_of(method) == options_pb2.SCOPE_READ


@pytest.mark.parametrize("method", _named([m for m in METHODS if m.name.startswith(("Get", "List"))]))
def test_every_get_and_list_is_declared_free_of_side_effects(method: MethodDescriptor) -> None:
    assert rules.idempotent(method)


@pytest.mark.parametrize("method", _named([m for m in METHODS if m.name not in {"GetServerInfo", "UploadDataset"}]))
def test_every_other_rpc_names_its_client(method: MethodDescriptor) -> None:
    assert _rules(method.input_type.fields_by_name["client_id"]).required


@pytest.mark.parametrize("method", _named(METHODS))
def test_every_request_type_can_be_checked_when_empty(method: MethodDescriptor) -> None:
    message: Message = GetMessageClass(method.input_type)()
    required = any(_rules(field).required for field in method.input_type.fields) or any(
        oneof.GetOptions().Extensions[options_pb2.oneof_required] for oneof in method.input_type.oneofs
    )
    assert bool(rules.check(message)) == required


def test_every_reason_has_the_prefix_of_its_enum() -> None:
    assert all(name.startswith("ERROR_REASON_") for name in errors_pb2.ErrorReason.keys())  # noqa: SIM118 - an enum wrapper
