"""The one checker of the contract's field rules, run by the client before the wire and by the server behind it."""

from __future__ import annotations

import contextlib
import datetime
import functools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, MethodDescriptor, OneofDescriptor
from google.protobuf.message import Message
from liftos.bayes.v1 import options_pb2

MAX_VIOLATIONS = 64
"""The checker stops here: a caller corrects a few mistakes at a time, and a hostile message must not cost more."""
MAX_DEPTH = 16
"""Deepest nesting of messages; the contract's types may contain themselves (a mixture holds distributions)."""
MAX_WELL_KNOWN_BYTES = 64 << 10
"""Largest `google.protobuf.Struct`, `FieldMask` or the like: they carry no rules, so their size is what bounds them."""

_INTEGERS = frozenset(
    {
        FieldDescriptor.CPPTYPE_INT32,
        FieldDescriptor.CPPTYPE_INT64,
        FieldDescriptor.CPPTYPE_UINT32,
        FieldDescriptor.CPPTYPE_UINT64,
    }
)
_FLOATS = frozenset({FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT})

# Each format: the greatest length, looked at first, then the pattern (simple classes, nothing to backtrack over).
_FORMATS: Mapping[int, tuple[int, re.Pattern[str], str]] = {
    options_pb2.FORMAT_ID: (
        64,
        re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*"),
        "must be 1 to 64 letters, digits, '.', '_' or '-', starting with a letter or a digit",
    ),
    options_pb2.FORMAT_UUID: (
        36,
        re.compile(r"[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}"),
        "must be a UUID of 36 characters",
    ),
    options_pb2.FORMAT_DATE: (10, re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}"), "must be a calendar date YYYY-MM-DD"),
    options_pb2.FORMAT_CURRENCY: (3, re.compile(r"[A-Z]{3}"), "must be three capital letters, for example USD"),
    options_pb2.FORMAT_NAME: (
        128,
        re.compile(r"[^\x00-\x1f\x7f-\x9f\[\]]+"),
        "must be 1 to 128 characters without control characters and square brackets",
    ),
}


@dataclass(frozen=True)
class Violation:
    """One field that breaks a rule."""

    field: str
    """Path of the field, for example `spec.channels[2].prior.beta.alpha`."""
    description: str
    """What is wrong with it, for a person."""


@dataclass(frozen=True)
class _Field:
    """What the checker needs to know of one field."""

    descriptor: FieldDescriptor
    name: str
    rules: options_pb2.FieldRules
    repeated: bool
    mapping: bool
    presence: bool
    required: bool


@dataclass(frozen=True)
class _Plan:
    """What the checker needs to know of one message type."""

    fields: tuple[_Field, ...]
    required_oneofs: tuple[OneofDescriptor, ...]
    well_known: bool


class _Full(Exception):
    """Enough violations were found."""


def check(message: Message) -> list[Violation]:
    """Check a message against the rules that its contract declares.

    Linear in the size of the message. Returns at most `MAX_VIOLATIONS` violations in the order of the fields, none if
    the message keeps all rules. Beside the declared rules every string must be free of NUL, every floating-point value
    finite (unless `allow_infinite`; NaN never passes), every enum value defined, and messages nested at most
    `MAX_DEPTH` deep.
    """
    violations: list[Violation] = []
    with contextlib.suppress(_Full):
        _check_message(message, "", 1, violations)
    return violations


def scope_of(method: MethodDescriptor) -> options_pb2.Scope.ValueType:
    """The scope that a principal needs in order to call an RPC; SCOPE_UNSPECIFIED if the contract declares none."""
    return method.GetOptions().Extensions[options_pb2.scope]


def idempotent(method: MethodDescriptor) -> bool:
    """Whether the contract declares that an RPC may be called again without further effect."""
    level: int = method.GetOptions().idempotency_level
    return level != descriptor_pb2.MethodOptions.IDEMPOTENCY_UNKNOWN


@functools.cache
def _plan(descriptor: Descriptor) -> _Plan:
    fields = []
    for field in descriptor.fields:
        rules = field.GetOptions().Extensions[options_pb2.rules]
        nested = field.message_type
        fields.append(
            _Field(
                descriptor=field,
                name=field.name,
                rules=rules,
                repeated=field.is_repeated,
                mapping=nested is not None and nested.GetOptions().map_entry,
                presence=field.has_presence,
                required=rules.required,
            )
        )
    return _Plan(
        fields=tuple(fields),
        required_oneofs=tuple(
            oneof for oneof in descriptor.oneofs if oneof.GetOptions().Extensions[options_pb2.oneof_required]
        ),
        well_known=descriptor.full_name.startswith("google.protobuf."),
    )


def _add(violations: list[Violation], path: str, description: str) -> None:
    violations.append(Violation(path, description))
    if len(violations) >= MAX_VIOLATIONS:
        raise _Full


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _check_message(message: Message, path: str, depth: int, violations: list[Violation]) -> None:
    if depth > MAX_DEPTH:
        _add(violations, path, f"messages are nested more than {MAX_DEPTH} deep")
        return
    plan = _plan(message.DESCRIPTOR)
    # The values inside a Struct are measured again; MAX_DEPTH bounds how often, so the cost stays linear.
    if plan.well_known and message.ByteSize() > MAX_WELL_KNOWN_BYTES:
        _add(violations, path, f"must have at most {MAX_WELL_KNOWN_BYTES} bytes")
        return
    for oneof in plan.required_oneofs:
        if message.WhichOneof(oneof.name) is None:
            choices = ", ".join(field.name for field in oneof.fields)
            _add(violations, _join(path, oneof.name), f"is required: one of {choices}")
    for field in plan.fields:
        _check_field(message, field, _join(path, field.name), depth, violations)


def _check_field(message: Message, field: _Field, path: str, depth: int, violations: list[Violation]) -> None:
    if field.repeated:
        _check_items(getattr(message, field.name), field, path, depth, violations)
        return
    if field.presence and not message.HasField(field.name):
        if field.required:
            _add(violations, path, "is required")
        return
    value = getattr(message, field.name)
    if isinstance(value, Message):
        _check_message(value, path, depth + 1, violations)
    else:
        _check_scalar(value, field, field.descriptor, path, violations, item=False)


def _check_items(items: Any, field: _Field, path: str, depth: int, violations: list[Violation]) -> None:
    rules, count = field.rules, len(items)
    if field.required and count == 0:
        _add(violations, path, "is required")
        return
    if rules.HasField("min_items") and count < rules.min_items:
        _add(violations, path, f"must have at least {rules.min_items} items, has {count}")
        return
    if rules.HasField("max_items") and count > rules.max_items:
        _add(violations, path, f"must have at most {rules.max_items} items, has {count}")
        return
    if field.mapping:
        _check_mapping(items, field, path, depth, violations)
    elif field.descriptor.message_type is not None:
        for index, item in enumerate(items):
            _check_message(item, f"{path}[{index}]", depth + 1, violations)
    else:
        for index, item in enumerate(items):
            _check_scalar(item, field, field.descriptor, f"{path}[{index}]", violations, item=True)
        if rules.unique:
            _check_unique(items, path, violations)


def _check_mapping(items: Any, field: _Field, path: str, depth: int, violations: list[Violation]) -> None:
    entry = field.descriptor.message_type
    assert entry is not None  # a map field is a repeated field of entry messages
    value_type = entry.fields_by_name["value"]
    for key in items:
        # A key may be long and may hold anything; the path must stay readable.
        here = f"{path}[{str(key)[:64]!r}]"
        if isinstance(key, str) and "\0" in key:
            _add(violations, here, "must not contain NUL characters")
        value = items[key]
        if isinstance(value, Message):
            _check_message(value, here, depth + 1, violations)
        else:
            _check_scalar(value, field, value_type, here, violations, item=True)


def _check_unique(items: Iterable[Any], path: str, violations: list[Violation]) -> None:
    seen: dict[Any, int] = {}
    for index, item in enumerate(items):
        if item in seen:
            _add(violations, f"{path}[{index}]", f"must differ from item {seen[item]}")
        else:
            seen[item] = index


def _check_scalar(
    value: Any, field: _Field, descriptor: FieldDescriptor, path: str, violations: list[Violation], *, item: bool
) -> None:
    """Check one scalar; `item` says that it is an item of a list, whose `required` is about the list."""
    required = field.required and not item
    kind = descriptor.cpp_type
    if kind == FieldDescriptor.CPPTYPE_STRING:
        if isinstance(value, str):
            problem = _string_problem(value, field.rules, required=required, item=item)
        else:
            problem = _length_problem(value, field.rules, "bytes", required=required)
    elif kind == FieldDescriptor.CPPTYPE_ENUM:
        problem = _enum_problem(value, descriptor.enum_type, required=required)
    elif kind in _FLOATS:
        problem = _float_problem(value, field.rules)
    elif kind in _INTEGERS:
        problem = _bound_problem(value, field.rules)
    else:  # bool: both values are meaningful
        problem = None
    if problem is not None:
        _add(violations, path, problem)


def _string_problem(value: str, rules: options_pb2.FieldRules, *, required: bool, item: bool) -> str | None:
    if not value and not item:
        return "is required" if required else None
    if (problem := _length_problem(value, rules, "characters", required=False)) is not None:
        return problem
    if rules.format:
        longest, pattern, description = _FORMATS[rules.format]
        if len(value) > longest or pattern.fullmatch(value) is None:
            return description
        if rules.format == options_pb2.FORMAT_DATE and not _is_date(value):
            return description
    return "must not contain NUL characters" if "\0" in value else None


def _length_problem(value: Sequence[Any], rules: options_pb2.FieldRules, unit: str, *, required: bool) -> str | None:
    size = len(value)
    if required and size == 0:
        return "is required"
    if rules.HasField("min_len") and size < rules.min_len:
        return f"must have at least {rules.min_len} {unit}, has {size}"
    if rules.HasField("max_len") and size > rules.max_len:
        return f"must have at most {rules.max_len} {unit}, has {size}"
    return None


def _is_date(value: str) -> bool:
    try:
        datetime.date.fromisoformat(value)
    except ValueError:
        return False
    return True


def _enum_problem(value: int, kind: EnumDescriptor | None, *, required: bool) -> str | None:
    assert kind is not None  # the caller has seen that the field is an enum
    if required and value == 0:
        return "is required"
    if value not in kind.values_by_number:
        return f"{value} is not a value of {kind.name}"
    return None


def _float_problem(value: float, rules: options_pb2.FieldRules) -> str | None:
    if math.isnan(value):
        return "must not be NaN"
    if math.isinf(value) and not rules.allow_infinite:
        return "must be finite"
    return _bound_problem(value, rules)


def _bound_problem(value: float, rules: options_pb2.FieldRules) -> str | None:
    if rules.HasField("gt") and not value > rules.gt:
        return f"must be greater than {rules.gt:g}, is {value}"
    if rules.HasField("gte") and not value >= rules.gte:
        return f"must be at least {rules.gte:g}, is {value}"
    if rules.HasField("lt") and not value < rules.lt:
        return f"must be less than {rules.lt:g}, is {value}"
    if rules.HasField("lte") and not value <= rules.lte:
        return f"must be at most {rules.lte:g}, is {value}"
    return None
