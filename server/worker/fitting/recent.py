"""The values that were used most recently, kept in memory."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

T = TypeVar("T")


class Recent(Generic[T]):
    """At most `kept` values by key; the one that nobody has asked for longest goes first."""

    def __init__(self, kept: int) -> None:
        self._kept: OrderedDict[str, T] = OrderedDict()
        self._most = kept

    def get(self, key: str) -> T | None:
        """The value of a key, None if it is not here (any more)."""
        if key in self._kept:
            self._kept.move_to_end(key)
        return self._kept.get(key)

    def put(self, key: str, value: T) -> T:
        """Keep a value and return it."""
        self._kept[key] = value
        self._kept.move_to_end(key)
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)
        return value
