"""The base of the errors that storage raises on purpose; each concrete error stands beside the code that raises it."""

from __future__ import annotations


class StorageError(Exception):
    """Base of all errors raised on purpose by persistence."""
