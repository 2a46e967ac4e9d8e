"""Messages at rest and on the wire: canonical JSON, fingerprints, arrays and timestamps."""

from __future__ import annotations

import datetime
import hashlib
import json
import re
from typing import Any, TypeVar, overload

import numpy as np
import numpy.typing as npt
from google.protobuf import json_format, timestamp_pb2
from google.protobuf.message import Message
from liftos.bayes.v1 import (
    common_pb2,
)

M = TypeVar("M", bound=Message)

_DTYPES: dict[int, str] = {
    common_pb2.ELEMENT_TYPE_FLOAT64: "<f8",
    common_pb2.ELEMENT_TYPE_INT32: "<i4",
    common_pb2.ELEMENT_TYPE_INT64: "<i8",
    common_pb2.ELEMENT_TYPE_DATE32: "<i4",
    common_pb2.ELEMENT_TYPE_UINT8: "|u1",
}


def dtype_of(element_type: int) -> np.dtype[Any]:
    """NumPy's type of an element type, always little-endian."""
    return np.dtype(_DTYPES[element_type])


def _prefix(enum: Any) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", enum.DESCRIPTOR.name).upper() + "_"


def label(enum: Any, value: int) -> str:
    """Name of an enum value without its prefix, as it is stored and shown: `WEEKLY`, not `TIME_GRAIN_WEEKLY`."""
    return str(enum.Name(value)).removeprefix(_prefix(enum))


def value_of(enum: Any, name: str | None) -> Any:
    """Enum value of a stored label; the value for "not given" when there is none."""
    return enum.Value(_prefix(enum) + (name or "UNSPECIFIED"))


def to_json(message: Message) -> dict[str, Any]:
    """The message as a JSON object with the contract's own field names; doubles keep all digits."""
    return json_format.MessageToDict(message, preserving_proto_field_name=True)


def from_json(stored: dict[str, Any], into: M) -> M:
    """Fill `into` from a stored JSON object; fields that a newer version wrote are skipped."""
    return json_format.ParseDict(stored, into, ignore_unknown_fields=True)


def digest(*parts: object) -> str:
    """SHA-256 of a sequence of JSON-able parts, hexadecimal; independent of the order of keys."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def method_of(request: Message | type[Message]) -> str:
    """Name of the method that takes this request, as it is stored: `RegisterModel` for a RegisterModelRequest."""
    return request.DESCRIPTOR.name.removesuffix("Request")


def fingerprint(request: Message) -> str:
    """Digest of a request without its `request_id`: two calls with one id must agree in everything else."""
    content = to_json(request)
    content.pop("request_id", None)
    return digest(type(request).__name__, content)


def to_array(values: npt.ArrayLike) -> common_pb2.NumericArray:
    """An array as a message, integers as int64 and all else as float64; any shape of one to four dimensions."""
    whole = np.issubdtype(np.asarray(values).dtype, np.integer)
    array = np.ascontiguousarray(values, dtype="<i8" if whole else "<f8")
    kind = common_pb2.ELEMENT_TYPE_INT64 if whole else common_pb2.ELEMENT_TYPE_FLOAT64
    return common_pb2.NumericArray(data=array.tobytes(), element_type=kind, shape=list(array.shape))


def from_array(message: common_pb2.NumericArray) -> npt.NDArray[Any]:
    """The array of a message; ValueError if its bytes do not match its shape."""
    return np.frombuffer(message.data, dtype=dtype_of(message.element_type)).reshape(tuple(message.shape))


@overload
def timestamp(moment: datetime.datetime) -> timestamp_pb2.Timestamp: ...
@overload
def timestamp(moment: None) -> None: ...
@overload
def timestamp(moment: datetime.datetime | None) -> timestamp_pb2.Timestamp | None: ...
def timestamp(moment: datetime.datetime | None) -> timestamp_pb2.Timestamp | None:
    """A point in time as a message; None stays None, which leaves the field absent."""
    if moment is None:
        return None
    message = timestamp_pb2.Timestamp()
    message.FromDatetime(moment.astimezone(datetime.UTC))
    return message


def quantity_name(estimand: common_pb2.Estimand) -> str:
    """Name of an estimand in the engine and in the ledger, for example `share_of_outcome[x1]`.

    An estimand without a channel is called as its quantity, for example `total_media_share_of_outcome`.
    """
    name = label(common_pb2.Quantity, estimand.quantity).lower()
    return f"{name}[{estimand.channel}]" if estimand.channel else name


def date_range(first: datetime.date | None, last: datetime.date | None) -> common_pb2.DateRange | None:
    """An inclusive range, None while the dates are not known."""
    if first is None or last is None:
        return None
    return common_pb2.DateRange(first_date=first.isoformat(), last_date=last.isoformat())
