"""Time-ordered identifiers made on the client side, so that every supported Postgres can store them."""

from __future__ import annotations

import secrets
import time
import uuid


def uuid7() -> uuid.UUID:
    """A UUID of version 7 (RFC 9562 §5.7) whose 12 bits after the milliseconds count the fraction (§6.2 method 3)."""
    milliseconds, rest = divmod(time.time_ns(), 1_000_000)
    fraction = (rest << 12) // 1_000_000
    value = (milliseconds & ((1 << 48) - 1)) << 80
    value |= 0x7 << 76 | fraction << 64 | 0b10 << 62 | secrets.randbits(62)
    return uuid.UUID(int=value)


def parse_uuid(text: str) -> uuid.UUID | None:
    """The UUID that `text` spells in the canonical form or as 32 hexadecimal digits; None for anything else."""
    try:
        value = uuid.UUID(text)
    except ValueError:
        return None
    return value if text.lower() in (str(value), value.hex) else None
