"""What all tables share: naming of constraints, column types and the CHECK expressions for numbers and states."""

from __future__ import annotations

import datetime
import uuid
from typing import Annotated, Any, ClassVar

from sqlalchemy import BigInteger, CheckConstraint, Date, ForeignKey, LargeBinary, MetaData, Text, Uuid, func
from sqlalchemy.dialects.postgresql import DOUBLE_PRECISION, JSONB, TIMESTAMP
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from persistence.identifiers import uuid7

# Values read from jsonb are plain Python; assign a new object to change one, in-place changes are not tracked.
JsonObject = dict[str, Any]
JsonList = list[Any]

BigInt = Annotated[int, mapped_column(BigInteger)]
PrimaryUuid = Annotated[uuid.UUID, mapped_column(primary_key=True, default=uuid7, sort_order=-2)]
ClientId = Annotated[str, mapped_column(ForeignKey("clients.client_id"), sort_order=-1)]
CreateTime = Annotated[datetime.datetime, mapped_column(server_default=func.now(), sort_order=1)]

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    """Declarative base of all tables."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        str: Text(),
        bytes: LargeBinary(),
        float: DOUBLE_PRECISION(),
        uuid.UUID: Uuid(),
        datetime.datetime: TIMESTAMP(timezone=True),
        datetime.date: Date(),
        JsonObject: JSONB(none_as_null=True),
        JsonList: JSONB(none_as_null=True),
    }


class Owned(Base):
    """What belongs to one client, listed by (create_time, pk) descending."""

    __abstract__ = True

    pk: Mapped[PrimaryUuid]
    client_id: Mapped[ClientId]
    create_time: Mapped[CreateTime]


class Resource(Owned):
    """What callers name by an identifier: `PUBLIC_ID` is the column that holds it within the client."""

    __abstract__ = True
    NOUN: ClassVar[str]
    """What it is called in messages to callers."""
    ID_FIELD: ClassVar[str]
    """Field of the contract that names one."""
    PUBLIC_ID: ClassVar[str] = "pk"


# In Postgres NaN equals NaN and is greater than Infinity, so `x > 0` lets NaN pass and an upper bound is what stops it.


def one_of(column: str, values: tuple[str, ...]) -> CheckConstraint:
    """`column` holds one of `values` (or NULL, where the column allows it)."""
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} in ({listed})", name=column)


def finite(column: str) -> CheckConstraint:
    """`column` is a finite number."""
    return CheckConstraint(f"{column} > '-Infinity' and {column} < 'Infinity'", name=column)


def finite_from(column: str, lower: float) -> CheckConstraint:
    """`column` is a finite number not below `lower`."""
    return CheckConstraint(f"{column} >= {lower:g} and {column} < 'Infinity'", name=column)


def positive(column: str) -> CheckConstraint:
    """`column` is a finite number above zero."""
    return CheckConstraint(f"{column} > 0 and {column} < 'Infinity'", name=column)


def extended_from(column: str, lower: float) -> CheckConstraint:
    """`column` is a number not below `lower`; infinity is allowed, NaN is not."""
    return CheckConstraint(f"{column} >= {lower:g} and {column} <= 'Infinity'", name=column)


def between(column: str, lower: float, upper: float) -> CheckConstraint:
    """`column` lies in the closed interval from `lower` to `upper`."""
    return CheckConstraint(f"{column} >= {lower:g} and {column} <= {upper:g}", name=column)


def all_finite(column: str) -> CheckConstraint:
    """Every element of the array `column` is finite or NULL."""
    return CheckConstraint(f"'-Infinity' < all({column}) and 'Infinity' > all({column})", name=column)


def at_least(column: str, lower: int) -> CheckConstraint:
    """The whole number `column` is not below `lower`."""
    return CheckConstraint(f"{column} >= {lower}", name=column)
